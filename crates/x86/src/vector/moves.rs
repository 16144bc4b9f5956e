//! Whole-register moves, without the detour through a thunk: they are most of what vector code does
//! that is not arithmetic.

use super::operand;
use super::shape;
use super::unit::{self, SSE, VEX};
use crate::fault::{Flow, Trap};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// The code of a plain move of 4, 8, 16 or 32 bytes between vector registers, memory and general
/// registers; `None` for everything else.
///
/// `op.r1` is the register written (or stored), `op.r2` the register read, `op.r3` the alignment mask.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    if insn.op_count() != 2 || insn.op0_register().is_mm() || insn.op1_register().is_mm() {
        return None;
    }
    let vex = insn.code().encoding() == EncodingKind::VEX;
    op.r1 = insn.op0_register().number() as u8;
    op.r2 = insn.op1_register().number() as u8;
    op.r3 = shape::alignment(insn, insn.memory_size().size(), vex);
    if insn.op0_kind() == OpKind::Memory {
        op.r1 = op.r2;
    }
    use Mnemonic::*;
    match insn.mnemonic() {
        Movups | Movupd | Movaps | Movapd | Movdqu | Movdqa | Movntps | Movntpd | Movntdq | Movntdqa | Lddqu
        | Vmovups | Vmovupd | Vmovaps | Vmovapd | Vmovdqu | Vmovdqa | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa
        | Vlddqu => whole(insn, vex),
        Movd | Movq | Vmovd | Vmovq => element(insn, vex),
        _ => None,
    }
}

fn whole(insn: &Instruction, vex: bool) -> Option<Exec> {
    let wide = insn.op0_register().is_ymm() || insn.op1_register().is_ymm();
    Some(match (insn.op0_kind() == OpKind::Memory, insn.op1_kind() == OpKind::Memory, vex, wide) {
        (true, _, false, _) => store::<SSE, 2>,
        (true, _, true, false) => store::<VEX, 2>,
        (true, _, true, true) => store::<VEX, 4>,
        (_, true, false, _) => load::<SSE, 2>,
        (_, true, true, false) => load::<VEX, 2>,
        (_, true, true, true) => load::<VEX, 4>,
        (_, _, false, _) => copy::<SSE, 2>,
        (_, _, true, false) => copy::<VEX, 2>,
        (_, _, true, true) => copy::<VEX, 4>,
    })
}

/// Puts `words` into a vector register: with VEX the rest of it becomes zero.
#[inline(always)]
fn set<const UNIT: u8, const N: usize>(cpu: &mut Vcpu, register: u8, words: [u64; N]) {
    let target = &mut cpu.vector.ymm[usize::from(register & 15)];
    target[..N].copy_from_slice(&words);
    if UNIT == VEX {
        target[N..].fill(0);
    }
}

#[inline(always)]
fn get<const N: usize>(cpu: &Vcpu, register: u8) -> [u64; N] {
    let source = &cpu.vector.ymm[usize::from(register & 15)];
    std::array::from_fn(|i| source[i])
}

fn load<const UNIT: u8, const N: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, 8 * N, u64::from(op.r3), false)?;
    let words = operand::load_words::<N>(cpu, env, op, linear)?;
    set::<UNIT, N>(cpu, op.r1, words);
    Ok(Flow::Next)
}

fn store<const UNIT: u8, const N: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, 8 * N, u64::from(op.r3), true)?;
    let words = get::<N>(cpu, op.r1);
    operand::store_words(cpu, env, op, linear, words)?;
    Ok(Flow::Next)
}

fn copy<const UNIT: u8, const N: usize>(cpu: &mut Vcpu, _: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let words = get::<N>(cpu, op.r2);
    set::<UNIT, N>(cpu, op.r1, words);
    Ok(Flow::Next)
}

/// MOVD and MOVQ.
fn element(insn: &Instruction, vex: bool) -> Option<Exec> {
    let is_vector = |register: Register| register.is_xmm();
    let (to, from) = (insn.op0_register(), insn.op1_register());
    let wide = matches!(insn.mnemonic(), Mnemonic::Movq | Mnemonic::Vmovq);
    Some(match (insn.op0_kind(), insn.op1_kind()) {
        (OpKind::Memory, _) => {
            by_unit(vex, wide, [store_low::<SSE, 4>, store_low::<SSE, 8>, store_low::<VEX, 4>, store_low::<VEX, 8>])
        }
        (_, OpKind::Memory) => {
            by_unit(vex, wide, [load_low::<SSE, 4>, load_low::<SSE, 8>, load_low::<VEX, 4>, load_low::<VEX, 8>])
        }
        _ if is_vector(to) && is_vector(from) => {
            if vex {
                copy_low::<VEX>
            } else {
                copy_low::<SSE>
            }
        }
        _ if is_vector(to) => {
            by_unit(vex, wide, [from_gpr::<SSE, 4>, from_gpr::<SSE, 8>, from_gpr::<VEX, 4>, from_gpr::<VEX, 8>])
        }
        _ => by_unit(vex, wide, [to_gpr::<SSE, 4>, to_gpr::<SSE, 8>, to_gpr::<VEX, 4>, to_gpr::<VEX, 8>]),
    })
}

/// Picks among SSE 4 and 8 bytes, VEX 4 and 8 bytes.
fn by_unit(vex: bool, wide: bool, choice: [Exec; 4]) -> Exec {
    choice[2 * usize::from(vex) + usize::from(wide)]
}

/// The low `BYTES` (4 or 8) bytes.
#[inline(always)]
const fn low<const BYTES: usize>(value: u64) -> u64 {
    if BYTES == 4 { value & 0xffff_ffff } else { value }
}

fn load_low<const UNIT: u8, const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, BYTES, 0, false)?;
    let value = match BYTES {
        4 => u64::from(cpu.load::<u32>(env, op, linear)?),
        _ => cpu.load::<u64>(env, op, linear)?,
    };
    set::<UNIT, 2>(cpu, op.r1, [value, 0]);
    Ok(Flow::Next)
}

fn store_low<const UNIT: u8, const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, BYTES, 0, true)?;
    let [value] = get::<1>(cpu, op.r1);
    match BYTES {
        4 => cpu.store(env, op, linear, value as u32)?,
        _ => cpu.store(env, op, linear, value)?,
    }
    Ok(Flow::Next)
}

fn copy_low<const UNIT: u8>(cpu: &mut Vcpu, _: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let [value] = get::<1>(cpu, op.r2);
    set::<UNIT, 2>(cpu, op.r1, [value, 0]);
    Ok(Flow::Next)
}

fn from_gpr<const UNIT: u8, const BYTES: usize>(cpu: &mut Vcpu, _: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let value = low::<BYTES>(cpu.gpr[usize::from(op.r2 & 15)]);
    set::<UNIT, 2>(cpu, op.r1, [value, 0]);
    Ok(Flow::Next)
}

fn to_gpr<const UNIT: u8, const BYTES: usize>(cpu: &mut Vcpu, _: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let [value] = get::<1>(cpu, op.r2);
    cpu.gpr[usize::from(op.r1 & 15)] = low::<BYTES>(value);
    Ok(Flow::Next)
}
