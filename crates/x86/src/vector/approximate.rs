//! RCPPS, RCPSS, RSQRTPS, RSQRTSS: the architecture only bounds their error (1.5 * 2^-12), and
//! processors differ, so they have one definition here.
//!
//! The reciprocal is the correctly rounded one, the reciprocal square root the double-precision one
//! rounded once more. Denormal operands count as zero, denormal results become zero, whatever MXCSR
//! says; no exception is raised (SDM Vol. 2B, RCPPS and RSQRTPS).

use super::operand;
use super::unit::{self, SSE, VEX};
use crate::fault::{Flow, Trap};
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic, OpKind};

const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7f80_0000;
const QUIET: u32 = 1 << 22;
/// The NaN that stands for "no number": negative, quiet, no payload.
const INDEFINITE: u32 = 0xffc0_0000;
const FIRST_NORMAL: u32 = 1 << 23;

/// 1/x.
pub(super) fn reciprocal(x: u32) -> u32 {
    special(x).unwrap_or_else(|| {
        let result = (1.0 / f32::from_bits(x)).to_bits();
        if result & !SIGN < FIRST_NORMAL { result & SIGN } else { result }
    })
}

/// 1/sqrt(x).
pub(super) fn reciprocal_root(x: u32) -> u32 {
    match special(x) {
        Some(result) if x & !SIGN != INFINITY => result,
        _ if x & SIGN != 0 => INDEFINITE,
        Some(result) => result,
        None => ((1.0 / f64::from(f32::from_bits(x)).sqrt()) as f32).to_bits(),
    }
}

/// The results for NaN, infinity, zero and denormals, of both functions at positive operands.
fn special(x: u32) -> Option<u32> {
    let magnitude = x & !SIGN;
    match () {
        () if magnitude > INFINITY => Some(x | QUIET),
        () if magnitude == INFINITY => Some(x & SIGN),
        () if magnitude < FIRST_NORMAL => Some(x & SIGN | INFINITY),
        () => None,
    }
}

/// The code of the approximations. `op.r1` is written, `op.r2` the source unless it is memory,
/// `op.r3` gives the upper part of a scalar result.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Mnemonic::*;
    let last = insn.op_count().checked_sub(1)?;
    op.r1 = insn.op0_register().number() as u8;
    op.r2 = insn.op_register(last).number() as u8;
    op.r3 = insn.op_register(last - last.min(1)).number() as u8;
    let memory = insn.op_kind(last) == OpKind::Memory;
    let wide = insn.op0_register().is_ymm();
    Some(match insn.mnemonic() {
        Rcpps => packed::<SSE, 2, true>(memory),
        Rsqrtps => packed::<SSE, 2, false>(memory),
        Rcpss => scalar::<SSE, true>(memory),
        Rsqrtss => scalar::<SSE, false>(memory),
        Vrcpps if wide => packed::<VEX, 4, true>(memory),
        Vrsqrtps if wide => packed::<VEX, 4, false>(memory),
        Vrcpps => packed::<VEX, 2, true>(memory),
        Vrsqrtps => packed::<VEX, 2, false>(memory),
        Vrcpss => scalar::<VEX, true>(memory),
        Vrsqrtss => scalar::<VEX, false>(memory),
        _ => return None,
    })
}

fn packed<const UNIT: u8, const N: usize, const INVERSE: bool>(memory: bool) -> Exec {
    if memory { run_packed::<UNIT, N, INVERSE, true> } else { run_packed::<UNIT, N, INVERSE, false> }
}

fn scalar<const UNIT: u8, const INVERSE: bool>(memory: bool) -> Exec {
    if memory { run_scalar::<UNIT, INVERSE, true> } else { run_scalar::<UNIT, INVERSE, false> }
}

fn approximate<const INVERSE: bool>(x: u32) -> u64 {
    u64::from(if INVERSE { reciprocal(x) } else { reciprocal_root(x) })
}

fn run_packed<const UNIT: u8, const N: usize, const INVERSE: bool, const MEMORY: bool>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let mut source = cpu.vector.ymm[usize::from(op.r2 & 15)];
    if MEMORY {
        let linear = operand::address(cpu, op, 8 * N, if UNIT == SSE { 15 } else { 0 }, false)?;
        operand::load(cpu, env, op, linear, 8 * N as u8, &mut source)?;
    }
    let target = &mut cpu.vector.ymm[usize::from(op.r1 & 15)];
    for (target, source) in target[..N].iter_mut().zip(source) {
        *target = approximate::<INVERSE>(source as u32) | approximate::<INVERSE>((source >> 32) as u32) << 32;
    }
    if UNIT == VEX {
        target[N..].fill(0);
    }
    Ok(Flow::Next)
}

fn run_scalar<const UNIT: u8, const INVERSE: bool, const MEMORY: bool>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let source = if MEMORY {
        let linear = operand::address(cpu, op, 4, 0, false)?;
        cpu.load::<u32>(env, op, linear)?
    } else {
        cpu.vector.ymm[usize::from(op.r2 & 15)][0] as u32
    };
    let result = approximate::<INVERSE>(source);
    let upper = cpu.vector.ymm[usize::from(op.r3 & 15)];
    let target = &mut cpu.vector.ymm[usize::from(op.r1 & 15)];
    target[..2].copy_from_slice(&[upper[0] & !0xffff_ffff | result, upper[1]]);
    if UNIT == VEX {
        target[2..].fill(0);
    }
    Ok(Flow::Next)
}
