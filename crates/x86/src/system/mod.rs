//! What an operating system uses: segments, far transfers, exceptions and interrupts, task
//! switches, control, debug and model-specific registers, CPUID, ports.

pub mod caches;
pub mod control;
pub mod cpuid;
pub mod debug;
mod descriptor;
mod descriptor_query;
mod descriptor_tables;
pub mod events;
mod far;
mod far_return;
pub mod flags_insn;
mod gates;
mod implicit;
mod interrupt;
mod iret;
pub mod mca;
pub mod msr;
pub mod mtrr;
pub mod ports;
pub mod reset;
mod segment_load;
pub mod segments;
mod stack_cursor;
mod syscall;
pub mod tables;
mod task;
pub mod time;
mod tss;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;

use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// The code of a system instruction, with the register fields of `op` filled in; `None`
/// if `insn` is not one.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    segments::select(insn, op)
        .or_else(|| flags_insn::select(insn, op))
        .or_else(|| control::select(insn, op))
        .or_else(|| caches::select(insn, op))
        .or_else(|| tables::select(insn, op))
        .or_else(|| time::select(insn, op))
        .or_else(|| cpuid::select(insn, op))
        .or_else(|| msr::select(insn, op))
        .or_else(|| ports::select(insn, op))
        .or_else(|| debug::select(insn, op))
}
