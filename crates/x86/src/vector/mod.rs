//! MMX, SSE and AVX: executed by the host's own vector unit on the guest's values.

pub mod state;

use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// The code of a vector instruction, with the fields of `op` filled in; `None` if `insn`
/// is not one.
pub fn select(_insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    None
}
