//! The x87 floating-point unit.
//!
//! An instruction checks that the unit is there and no exception pends (`operand`), deals
//! with empty and full registers itself (`state`), and has its arithmetic done by the
//! host's unit (`host`), or, where processors differ, in software (`transcendental`).
//! `select` maps iced's codes to the functions here.
//!
//! # What the manuals leave open
//!
//! Every case has one result here, that of Intel's current processors:
//!
//! | what | here |
//! |---|---|
//! | C0, C2, C3 after arithmetic, loads, stores, FXCH, FABS, ... | unchanged |
//! | C1 after FFREE, FINCSTP, FDECSTP, FABS, FCHS, FXCH, FLD, FST | 0 |
//! | C1 after FNOP, FCMOVcc, FCOMI, FUCOMI without stack fault | unchanged |
//! | C0, C3 after FPREM, FPREM1 of a NaN or with an invalid operand | unchanged, C1 and C2 are 0 |
//! | FSTPNCE (D9 D8+i) of an empty register | pops and does nothing else |
//! | C0, C1, C2, C3 after FNINIT | 0; after FNCLEX, FNSTENV unchanged |
//! | C0, C2, C3 of a comparison with an empty register | unordered, also unmasked |
//! | OF, SF, AF after FCOMI and FUCOMI | 0; ZF, PF, CF are set even if unmasked #I stops the pop |
//! | C2 after FSIN, FCOS, FSINCOS, FPTAN with a stack fault or NaN | 0 |
//! | FLD m32/m64 of a denormal with #D unmasked | the value is pushed and the exception pends |
//! | digits above 9 in FBLD | count with their value, modulo 2^64 |
//! | FPREM, FPREM1 over an exponent distance D ≥ 64 | reduces by 32 + D mod 32 bits; C0, C1, C3 are 0 |
//! | F2XM1 and FYL2XP1 outside their range | see `transcendental` |
//! | FCW bits 7, 13-15; bit 6 | always 0; always 1 |
//! | ES and B after FLDENV, FRSTOR, FXRSTOR, XRSTOR, FLDCW | follow from the flags and masks |
//! | FOP | changes only with an unmasked exception ("fopcode compatibility mode" off) |
//! | FDP, FDS of instructions without memory operand | unchanged |
//! | FCS, FDS | kept in legacy modes (CPUID.7:EBX\[13\] is not reported), 0 in 64-bit mode |
//! | reserved halves of FNSTENV's wide layout | all ones |
//! | FERR# with CR0.NE clear | asserted by the next instruction that waits, which is tried again, step by step, until an interrupt comes |
//! | IGNNE# | asserted by the board until no exception pends; a state that FXRSTOR or XRSTOR loads is reported anew |

mod arith;
mod control;
mod environment;
mod host;
pub mod number;
pub(crate) mod operand;
mod select;
pub mod state;
mod transcendental;
mod transfer;

#[cfg(test)]
pub(crate) mod tests;

use crate::op::{Exec, Op};
use iced_x86::Instruction;

/// The code of an x87 instruction, or of one that saves or restores its state, with the fields
/// of `op` filled in; `None` if `insn` is neither.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    select::select(insn, op).or_else(|| crate::xsave::select(insn, op))
}
