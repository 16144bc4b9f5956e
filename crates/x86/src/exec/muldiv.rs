//! MUL, IMUL, DIV, IDIV.
//!
//! After a multiplication SF, ZF and PF are undefined; here they follow the low half of the
//! product, and AF is clear. A division leaves all flags as they were.

use super::reg::Reg;
use super::shift::shift_flags;

use crate::decode::operands::{gpr, is_memory, is_register, operand_bytes};
use crate::fault::{Flow, Trap, vector};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic};

const RAX: u8 = 0;
const RDX: u8 = 2;
const AH: u8 = 1;

/// The operand, from register `r1` or memory.
#[inline(always)]
fn source<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<T, Trap> {
    if MEM {
        let linear = cpu.operand_address(op, T::BYTES, false)?;
        cpu.load(env, op, linear)
    } else {
        Ok(T::get(cpu, op.r1))
    }
}

fn signed<T: Reg>(value: T) -> i128 {
    i128::from((value.to_u64() << (64 - T::BITS)) as i64 >> (64 - T::BITS))
}

/// Stores a double-width result: AX, or DX:AX and wider.
fn set_pair<T: Reg>(cpu: &mut Vcpu, low: T, high: T) {
    T::set(cpu, RAX, low);
    T::set(cpu, if T::BITS == 8 { AH } else { RDX }, high);
}

fn mul<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let b: T = source::<T, MEM>(cpu, env, op)?;
    let product = u128::from(T::get(cpu, RAX).to_u64()) * u128::from(b.to_u64());
    let (low, high) = (T::from_u64(product as u64), T::from_u64((product >> T::BITS) as u64));
    set_pair(cpu, low, high);
    let overflow = high.to_u64() != 0;
    shift_flags(&mut cpu.lazy, low, overflow, overflow);
    Ok(Flow::Next)
}

/// One-operand IMUL.
fn imul<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let b: T = source::<T, MEM>(cpu, env, op)?;
    let product = signed(T::get(cpu, RAX)) * signed(b);
    let low = T::from_u64(product as u64);
    set_pair(cpu, low, T::from_u64((product >> T::BITS) as u64));
    let overflow = signed(low) != product;
    shift_flags(&mut cpu.lazy, low, overflow, overflow);
    Ok(Flow::Next)
}

/// Two- and three-operand IMUL: `r2` is the destination; the other factor is the destination or `imm`.
fn imul_into<T: Reg, const MEM: bool, const IMM: bool>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    let b: T = source::<T, MEM>(cpu, env, op)?;
    let a = if IMM { T::from_u64(op.imm) } else { T::get(cpu, op.r2) };
    let product = signed(a) * signed(b);
    let low = T::from_u64(product as u64);
    T::set(cpu, op.r2, low);
    let overflow = signed(low) != product;
    shift_flags(&mut cpu.lazy, low, overflow, overflow);
    Ok(Flow::Next)
}

/// The double-width dividend.
fn dividend<T: Reg>(cpu: &Vcpu) -> u128 {
    let high = T::get(cpu, if T::BITS == 8 { AH } else { RDX });
    u128::from(high.to_u64()) << T::BITS | u128::from(T::get(cpu, RAX).to_u64())
}

fn div<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let divisor = u128::from(source::<T, MEM>(cpu, env, op)?.to_u64());
    let dividend = dividend::<T>(cpu);
    if divisor == 0 || (dividend / divisor) >> T::BITS != 0 {
        return Err(cpu.raise(vector::DE));
    }
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    set_pair(cpu, T::from_u64(quotient as u64), T::from_u64(remainder as u64));
    Ok(Flow::Next)
}

fn idiv<T: Reg, const MEM: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let divisor = signed(source::<T, MEM>(cpu, env, op)?);
    let unused = 128 - 2 * T::BITS;
    let dividend = (dividend::<T>(cpu) << unused) as i128 >> unused;
    let quotient = dividend.checked_div(divisor);
    let Some(quotient) = quotient.filter(|&q| signed(T::from_u64(q as u64)) == q) else {
        return Err(cpu.raise(vector::DE));
    };
    let remainder = dividend.wrapping_rem(divisor);
    set_pair(cpu, T::from_u64(quotient as u64), T::from_u64(remainder as u64));
    Ok(Flow::Next)
}

macro_rules! one_operand {
    ($f:ident, $bytes:expr, $memory:expr) => {
        match ($bytes, $memory) {
            (1, false) => Some($f::<u8, false> as Exec),
            (2, false) => Some($f::<u16, false> as Exec),
            (4, false) => Some($f::<u32, false> as Exec),
            (8, false) => Some($f::<u64, false> as Exec),
            (1, true) => Some($f::<u8, true> as Exec),
            (2, true) => Some($f::<u16, true> as Exec),
            (4, true) => Some($f::<u32, true> as Exec),
            (8, true) => Some($f::<u64, true> as Exec),
            _ => None,
        }
    };
}

fn imul_form(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    let (memory, immediate) = (is_memory(insn, 1), insn.op_count() == 3);
    op.r2 = gpr(insn.op0_register());
    if !memory {
        op.r1 = gpr(insn.op1_register());
    }
    macro_rules! sizes {
        ($mem:literal, $imm:literal) => {
            match bytes {
                2 => Some(imul_into::<u16, $mem, $imm> as Exec),
                4 => Some(imul_into::<u32, $mem, $imm> as Exec),
                _ => Some(imul_into::<u64, $mem, $imm> as Exec),
            }
        };
    }
    match (memory, immediate) {
        (false, false) => sizes!(false, false),
        (false, true) => sizes!(false, true),
        (true, false) => sizes!(true, false),
        (true, true) => sizes!(true, true),
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    if insn.mnemonic() == Mnemonic::Imul && insn.op_count() > 1 {
        return imul_form(insn, op);
    }
    let bytes = operand_bytes(insn, 0);
    let memory = !is_register(insn, 0);
    if !memory && insn.op0_register().is_gpr() {
        op.r1 = gpr(insn.op0_register());
    }
    match insn.mnemonic() {
        Mnemonic::Mul => one_operand!(mul, bytes, memory),
        Mnemonic::Imul => one_operand!(imul, bytes, memory),
        Mnemonic::Div => one_operand!(div, bytes, memory),
        Mnemonic::Idiv => one_operand!(idiv, bytes, memory),
        _ => None,
    }
}
