//! What computes nothing: prefetches, fences, cache-line flushes, non-temporal stores of general
//! registers, EMMS, VZEROUPPER and VZEROALL.

use super::operand;
use super::unit::{self, MMX, VEX};
use crate::fault::{Flow, Trap};
use crate::memory::paging::Intent;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic};

/// The code of these instructions; the caches and write buffers that they are about do not exist.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Mnemonic::*;
    Some(match insn.mnemonic() {
        Prefetch | Prefetchw | Prefetchwt1 | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Sfence | Lfence
        | Mfence => nothing,
        Clflush | Clflushopt => flush_line,
        Movnti => {
            op.r1 = insn.op1_register().number() as u8;
            if insn.op1_register().is_gpr64() { store_gpr::<8> } else { store_gpr::<4> }
        }
        Emms => empty_mmx,
        Vzeroupper => zero::<2>,
        Vzeroall => zero::<0>,
        _ => return None,
    })
}

fn nothing(_: &mut Vcpu, _: &mut Env<'_>, _: &Op) -> Result<Flow, Trap> {
    Ok(Flow::Next)
}

/// Checked like a load of one byte (SDM Vol. 2A, CLFLUSH).
fn flush_line(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = operand::address(cpu, op, 1, 0, false)?;
    cpu.probe(env, op, linear, 1, Intent::Read)?;
    Ok(Flow::Next)
}

/// MOVNTI: a store of a general register, for which the vector unit need not be available.
fn store_gpr<const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = operand::address(cpu, op, BYTES, 0, true)?;
    let value = cpu.gpr[usize::from(op.r1 & 15)];
    match BYTES {
        4 => cpu.store(env, op, linear, value as u32)?,
        _ => cpu.store(env, op, linear, value)?,
    }
    Ok(Flow::Next)
}

fn empty_mmx(cpu: &mut Vcpu, _: &mut Env<'_>, _: &Op) -> Result<Flow, Trap> {
    unit::check::<MMX>(cpu)?;
    unit::leave_mmx(cpu);
    Ok(Flow::Next)
}

/// Clears the registers that the mode has, from quadword `FROM` up.
fn zero<const FROM: usize>(cpu: &mut Vcpu, _: &mut Env<'_>, _: &Op) -> Result<Flow, Trap> {
    unit::check::<VEX>(cpu)?;
    let count = if cpu.is_64bit() { 16 } else { 8 };
    for register in &mut cpu.vector.ymm[..count] {
        register[FROM..].fill(0);
    }
    Ok(Flow::Next)
}
