//! MXCSR: SIMD floating-point exceptions, LDMXCSR and STMXCSR.
//!
//! Every instruction runs with all exceptions masked on the host, and the flags it raises tell what
//! would have happened unmasked. While all are masked in the guest too, that is all. Two things differ when
//! the guest unmasks some: nothing but MXCSR may change if one of them is raised, and an unmasked
//! underflow is any tiny result, exact or not, where a masked one is an inexact tiny result (SDM
//! Vol. 1, 4.9.1.5). Flush-to-zero makes the host report the former.
//!
//! Two corners of unmasked exceptions stay different from hardware: the precision flag beside an
//! overflow or underflow tells whether the *masked* result is inexact, and VCVTPS2PH, which ignores
//! flush-to-zero, raises no underflow for exact tiny results.

use super::operand;
use super::run;
use super::thunk::{Frame, MXCSR_DEFAULT};
use super::unit;
use crate::fault::{Flow, Trap, vector};
use crate::op::{Env, Exec, Op};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The exception flags: invalid, denormal, divide by zero, overflow, underflow, precision.
const FLAGS: u32 = 0x3f;
/// Those found before the computation.
const EARLY: u32 = 0x07;
const UNDERFLOW: u32 = 1 << 4;
const PRECISION: u32 = 1 << 5;
/// The masks; all of them are set by default.
const MASKS: u32 = MXCSR_DEFAULT;
const MASK_SHIFT: u32 = 7;
const FLUSH_TO_ZERO: u32 = 1 << 15;
/// The bits that exist.
pub(super) const MXCSR_MASK: u32 = 0xffff;

/// Calls the thunk of a floating-point instruction; `frame.mxcsr_out` is then the MXCSR to be kept.
///
/// # Errors
/// #XM, or #UD without CR4.OSXMMEXCPT, with the flags set in MXCSR and nothing else changed.
#[inline(always)]
pub(super) fn call(cpu: &mut Vcpu, op: &Op, frame: &mut Frame) -> Result<(), Trap> {
    let mxcsr = cpu.vector.mxcsr;
    if mxcsr & MASKS != MASKS {
        return call_unmasked(cpu, op, frame);
    }
    frame.mxcsr_in = mxcsr;
    run::call(cpu, op, frame);
    Ok(())
}

#[cold]
#[inline(never)]
fn call_unmasked(cpu: &mut Vcpu, op: &Op, frame: &mut Frame) -> Result<(), Trap> {
    let mxcsr = cpu.vector.mxcsr;
    let enabled = !(mxcsr >> MASK_SHIFT) & FLAGS;
    let control = (mxcsr | MASKS) & !(FLAGS | FLUSH_TO_ZERO);
    let before = (cpu.gpr, cpu.vector, cpu.x87.regs, frame.memory);
    // Flush-to-zero counts only while underflow is masked.
    let flush = if enabled & UNDERFLOW != 0 { FLUSH_TO_ZERO } else { mxcsr & FLUSH_TO_ZERO };
    frame.mxcsr_in = control | flush;
    run::call(cpu, op, frame);
    let mut raised = frame.mxcsr_out & FLAGS;
    if raised & enabled == 0 {
        frame.mxcsr_out = mxcsr | raised;
        return Ok(());
    }
    (cpu.gpr, cpu.vector, cpu.x87.regs, frame.memory) = before;
    if raised & enabled & EARLY != 0 {
        // Nothing is computed, so nothing later is found.
        raised &= EARLY;
    } else if raised & enabled & UNDERFLOW != 0 {
        // Flushing is always inexact: ask again whether the result is.
        frame.mxcsr_in = control;
        run::call(cpu, op, frame);
        raised = raised & !PRECISION | frame.mxcsr_out & PRECISION;
        (cpu.gpr, cpu.vector, cpu.x87.regs, frame.memory) = before;
    }
    cpu.vector.mxcsr = mxcsr | raised;
    Err(if cpu.cr4 & cr::CR4_OSXMMEXCPT == 0 { cpu.ud() } else { cpu.raise(vector::XM) })
}

/// LDMXCSR, STMXCSR and their VEX forms.
pub(super) fn select(insn: &Instruction) -> Option<Exec> {
    if insn.op0_kind() != OpKind::Memory {
        return None;
    }
    match insn.mnemonic() {
        Mnemonic::Ldmxcsr => Some(load::<{ unit::SSE }>),
        Mnemonic::Vldmxcsr => Some(load::<{ unit::VEX }>),
        Mnemonic::Stmxcsr => Some(store::<{ unit::SSE }>),
        Mnemonic::Vstmxcsr => Some(store::<{ unit::VEX }>),
        _ => None,
    }
}

fn load<const UNIT: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, 4, 0, false)?;
    let value: u32 = cpu.load(env, op, linear)?;
    if value & !MXCSR_MASK != 0 {
        return Err(cpu.gp0());
    }
    cpu.vector.mxcsr = value;
    Ok(Flow::Next)
}

fn store<const UNIT: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let linear = operand::address(cpu, op, 4, 0, true)?;
    cpu.store(env, op, linear, cpu.vector.mxcsr)?;
    Ok(Flow::Next)
}
