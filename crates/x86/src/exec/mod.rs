//! The integer instructions, a file a family.
//!
//! Each family has a `select`: given a decoded instruction it fills in the registers of the
//! [`Op`] and returns the code, or `None` if the instruction is not of the family. The code of
//! a form is a generic function, instantiated for each operation and operand size, so that
//! nothing is decided again when it runs.

mod alu;
mod bits;
mod bmi;
mod branch;
mod decimal;
mod exchange;
pub mod misc;
mod moves;
mod muldiv;
mod reg;
mod shift;
mod shift_double;
pub mod stack;
mod stack_insn;
mod string;
mod unary;

use crate::op::{Exec, Op};
use iced_x86::Instruction;
pub use reg::Reg;

/// The code of an integer instruction; `None` if `insn` is not one.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    const FAMILIES: [fn(&Instruction, &mut Op) -> Option<Exec>; 14] = [
        moves::select,
        alu::select,
        branch::select,
        stack_insn::select,
        unary::select,
        shift::select,
        shift_double::select,
        bits::select,
        muldiv::select,
        exchange::select,
        string::select,
        bmi::select,
        decimal::select,
        misc::select,
    ];
    FAMILIES.iter().find_map(|family| family(insn, op))
}

/// Picks the instance of a generic function for an operand size in bytes.
macro_rules! by_size {
    ($bytes:expr, $($f:ident)::+ $(::<$($g:ty),*>)?) => {
        match $bytes {
            1 => Some($($f)::+::<$($($g,)*)? u8> as $crate::op::Exec),
            2 => Some($($f)::+::<$($($g,)*)? u16> as $crate::op::Exec),
            4 => Some($($f)::+::<$($($g,)*)? u32> as $crate::op::Exec),
            8 => Some($($f)::+::<$($($g,)*)? u64> as $crate::op::Exec),
            _ => None,
        }
    };
}

/// The same for functions that have no byte form.
macro_rules! by_size_from_word {
    ($bytes:expr, $($f:ident)::+ $(::<$($g:ty),*>)?) => {
        match $bytes {
            2 => Some($($f)::+::<$($($g,)*)? u16> as $crate::op::Exec),
            4 => Some($($f)::+::<$($($g,)*)? u32> as $crate::op::Exec),
            8 => Some($($f)::+::<$($($g,)*)? u64> as $crate::op::Exec),
            _ => None,
        }
    };
}

/// Picks the instance of a function generic over a condition code.
macro_rules! by_condition {
    ($cc:expr, $f:ident $(, $t:ty)?) => {
        match $cc & 15 {
            0 => $f::<$($t,)? 0> as $crate::op::Exec,
            1 => $f::<$($t,)? 1>,
            2 => $f::<$($t,)? 2>,
            3 => $f::<$($t,)? 3>,
            4 => $f::<$($t,)? 4>,
            5 => $f::<$($t,)? 5>,
            6 => $f::<$($t,)? 6>,
            7 => $f::<$($t,)? 7>,
            8 => $f::<$($t,)? 8>,
            9 => $f::<$($t,)? 9>,
            10 => $f::<$($t,)? 10>,
            11 => $f::<$($t,)? 11>,
            12 => $f::<$($t,)? 12>,
            13 => $f::<$($t,)? 13>,
            14 => $f::<$($t,)? 14>,
            _ => $f::<$($t,)? 15>,
        }
    };
}
pub(crate) use {by_condition, by_size, by_size_from_word};
