//! INC, DEC, NEG, NOT, and the sign extensions of the accumulator.

use super::alu::flags_of;
use super::by_size;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags::{LazyFlags, sign_extend};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction, Mnemonic};

trait Unary {
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T) -> T;
}

struct Inc;
impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T) -> T {
        let cf = flags.cf();
        let a = a.to_u64();
        let r = a.wrapping_add(1);
        *flags = flags_of::<T>(r, (a & 1) | ((a | 1) & !r));
        flags.set_cf(cf);
        T::from_u64(r)
    }
}

struct Dec;
impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T) -> T {
        let cf = flags.cf();
        let a = a.to_u64();
        let r = a.wrapping_sub(1);
        *flags = flags_of::<T>(r, (!a & 1) | ((!a | 1) & r));
        flags.set_cf(cf);
        T::from_u64(r)
    }
}

struct Neg;
impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Reg>(flags: &mut LazyFlags, a: T) -> T {
        let a = a.to_u64();
        let r = 0u64.wrapping_sub(a);
        *flags = flags_of::<T>(r, a | r);
        T::from_u64(r)
    }
}

struct Not;
impl Unary for Not {
    #[inline(always)]
    fn apply<T: Reg>(_flags: &mut LazyFlags, a: T) -> T {
        T::from_u64(!a.to_u64())
    }
}

fn on_reg<O: Unary, T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let a = T::get(cpu, op.r1);
    let r = O::apply(&mut cpu.lazy, a);
    T::set(cpu, op.r1, r);
    Ok(Flow::Next)
}

fn on_mem<O: Unary, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let a: T = cpu.load_for_write(env, op, linear)?;
    let mut flags = cpu.lazy;
    let r = O::apply(&mut flags, a);
    cpu.store(env, op, linear, r)?;
    cpu.lazy = flags;
    Ok(Flow::Next)
}

fn form<O: Unary>(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
        by_size!(bytes, on_reg::<O>)
    } else {
        by_size!(bytes, on_mem::<O>)
    }
}

const RAX: u8 = 0;
const RDX: u8 = 2;

fn cbw(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    u16::set(cpu, RAX, sign_extend::<8>(cpu.gpr[0]) as u16);
    Ok(Flow::Next)
}

fn cwde(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    u32::set(cpu, RAX, sign_extend::<16>(cpu.gpr[0]) as u32);
    Ok(Flow::Next)
}

fn cdqe(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.gpr[0] = sign_extend::<32>(cpu.gpr[0]);
    Ok(Flow::Next)
}

/// CWD, CDQ, CQO: the sign of the accumulator fills the data register.
fn spread_sign<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let fill = if T::get(cpu, RAX).msb() { u64::MAX } else { 0 };
    T::set(cpu, RDX, T::from_u64(fill));
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    match insn.mnemonic() {
        Mnemonic::Inc => return form::<Inc>(insn, op),
        Mnemonic::Dec => return form::<Dec>(insn, op),
        Mnemonic::Neg => return form::<Neg>(insn, op),
        Mnemonic::Not => return form::<Not>(insn, op),
        _ => {}
    }
    Some(match insn.code() {
        Code::Cbw => cbw,
        Code::Cwde => cwde,
        Code::Cdqe => cdqe,
        Code::Cwd => spread_sign::<u16>,
        Code::Cdq => spread_sign::<u32>,
        Code::Cqo => spread_sign::<u64>,
        _ => return None,
    })
}
