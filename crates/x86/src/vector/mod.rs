//! MMX, SSE and AVX: executed by the host's own vector unit on the guest's values.
//!
//! [`select`] chooses the code of an instruction. Most go through a *thunk*: the instruction itself
//! with its operands renamed ([`thunk`]), in executable memory ([`code_buffer`]), with checks, memory
//! accesses and exceptions done around it ([`run`], [`float`]). Plain moves ([`moves`]), what touches
//! memory by mask or index ([`masked`], [`gather`]), the approximations ([`approximate`]) and what
//! computes nothing ([`control`]) are written out.

mod approximate;
mod code_buffer;
mod control;
mod features;
mod float;
mod gather;
mod masked;
mod moves;
mod operand;
mod run;
mod shape;
pub mod state;
#[cfg(test)]
mod tests;
mod thunk;
mod unit;

pub use features::HostFeatures;

use crate::model::CpuModel;
use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// Why this host cannot execute the guest's vector instructions.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The host's CPU lacks an extension that the CPU model offers.
    #[error("the host's CPU lacks {0}, which the CPU model of this machine has; choose a lower model")]
    Lacks(&'static str),
    /// No executable memory.
    #[error("cannot map executable memory for vector instructions: {0}")]
    Memory(#[from] std::io::Error),
}

/// Checks, before a machine starts, that the host can execute the vector instructions of `model`.
///
/// # Errors
/// If it cannot.
pub fn prepare(model: CpuModel) -> Result<(), HostError> {
    if let Some(name) = HostFeatures::detect().lacks(model).first() {
        return Err(HostError::Lacks(name));
    }
    Ok(code_buffer::prepare()?)
}

/// The address bits of the memory operand of `insn`, a legacy SSE instruction, that must be zero.
pub fn sse_alignment(insn: &Instruction) -> u8 {
    shape::alignment(insn, insn.memory_size().size(), false)
}

/// The code of a vector instruction, with the fields of `op` filled in; `None` if `insn`
/// is not one.
///
/// # Panics
/// If the host lacks the extension; [`prepare`] tells that before a machine starts.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    if let Some(exec) = control::select(insn, op) {
        return Some(exec);
    }
    if !shape::is_vector(insn) {
        return None;
    }
    float::select(insn)
        .or_else(|| moves::select(insn, op))
        .or_else(|| masked::select(insn, op))
        .or_else(|| gather::select(insn, op))
        .or_else(|| approximate::select(insn, op))
        .or_else(|| run::select(insn, op))
}
