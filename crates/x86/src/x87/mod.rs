//! The x87 floating-point unit.

pub mod state;

use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// The code of an x87 instruction, with the fields of `op` filled in; `None` if `insn`
/// is not one.
pub fn select(_insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    None
}
