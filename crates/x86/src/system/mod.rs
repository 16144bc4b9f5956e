//! What an operating system uses: segments, far transfers, exceptions and interrupts, task
//! switches, control, debug and model-specific registers, CPUID, ports.

pub mod debug;
pub mod msr;

use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// The code of a system instruction, with the register fields of `op` filled in; `None`
/// if `insn` is not one.
pub fn select(_insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    None
}
