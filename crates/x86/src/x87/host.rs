//! Arithmetic by the host's own x87 unit on the guest's values and under the guest's
//! control word: what IEEE 754 and the manuals define to the last bit.
//!
//! An operation starts from clear exception flags, and its flags are read and cleared before
//! any instruction that would trap on them, so that unmasked guest exceptions stay in the
//! guest. Registers, tags and pointers of the guest are never in the unit.
#![allow(unsafe_code)]

use super::state::INITIAL_CONTROL;
use core::arch::asm;

/// What an operation gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result; the first operand if an unmasked exception stopped the operation.
    pub value: u128,
    /// Exception flags and condition codes, as in the status word.
    pub status: u16,
}

/// Operations that take the place of the three bits of the opcode in [`arithmetic`].
pub mod operation {
    #![allow(missing_docs)]
    pub const ADD: u8 = 0;
    pub const MULTIPLY: u8 = 1;
    pub const COMPARE: u8 = 2;
    pub const SUBTRACT: u8 = 4;
    pub const SUBTRACT_REVERSED: u8 = 5;
    pub const DIVIDE: u8 = 6;
    pub const DIVIDE_REVERSED: u8 = 7;
    pub const REMAINDER: u8 = 8;
    pub const REMAINDER_NEAREST: u8 = 9;
    pub const SCALE: u8 = 10;
    pub const COMPARE_UNORDERED: u8 = 11;
    pub const SQUARE_ROOT: u8 = 12;
    pub const ROUND: u8 = 13;
    pub const TEST: u8 = 14;
}

/// Formats of memory operands, in the order of the opcodes D8, DA, DC, DE.
pub mod format {
    #![allow(missing_docs)]
    pub const BINARY32: u8 = 0;
    pub const INT32: u8 = 1;
    pub const BINARY64: u8 = 2;
    pub const INT16: u8 = 3;
}

#[repr(C, align(16))]
struct Scratch {
    a: u128,
    b: u128,
    memory: u128,
    result: u128,
    control: u16,
    initial: u16,
}

/// Loads `b` and `a` (to ST(0)), runs the instruction, which may pop, and stores what is then
/// in ST(0); what is left, if anything, is freed.
macro_rules! run {
    ($scratch:expr, $instruction:literal) => {{
        let status: u16;
        // SAFETY: the block reads and writes only `Scratch`, whose offsets are those used
        // here. It is entered with the empty register stack and the control word that the
        // ABI promises and leaves them so: both registers are popped or freed and FLDCW
        // restores the word. FNCLEX follows before any waiting instruction, so nothing traps.
        unsafe {
            asm!(
                "fldcw word ptr [{s} + 64]",
                "fld tbyte ptr [{s} + 16]",
                "fld tbyte ptr [{s}]",
                $instruction,
                "fnstsw ax",
                "fnclex",
                "fstp tbyte ptr [{s} + 48]",
                "ffree st(0)",
                "fldcw word ptr [{s} + 66]",
                s = in(reg) $scratch,
                out("ax") status,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack),
            );
        }
        status
    }};
}

impl Scratch {
    fn new(control: u16, a: u128, b: u128) -> Self {
        Scratch { a, b, memory: 0, result: 0, control, initial: INITIAL_CONTROL }
    }

    fn outcome(&self, status: u16) -> Outcome {
        Outcome { value: self.result & (u128::MAX >> 48), status: status & 0x473f }
    }
}

/// An operation on `a`, as ST(0), and `b`, as ST(1); see [`operation`].
pub fn arithmetic(code: u8, control: u16, a: u128, b: u128) -> Outcome {
    let mut scratch = Scratch::new(control, a, b);
    let s = &raw mut scratch;
    let status = match code {
        operation::ADD => run!(s, "fadd st(0), st(1)"),
        operation::MULTIPLY => run!(s, "fmul st(0), st(1)"),
        operation::COMPARE => run!(s, "fcom st(1)"),
        operation::SUBTRACT => run!(s, "fsub st(0), st(1)"),
        operation::SUBTRACT_REVERSED => run!(s, "fsubr st(0), st(1)"),
        operation::DIVIDE => run!(s, "fdiv st(0), st(1)"),
        operation::DIVIDE_REVERSED => run!(s, "fdivr st(0), st(1)"),
        operation::REMAINDER => run!(s, "fprem"),
        operation::REMAINDER_NEAREST => run!(s, "fprem1"),
        operation::SCALE => run!(s, "fscale"),
        operation::COMPARE_UNORDERED => run!(s, "fucom st(1)"),
        operation::SQUARE_ROOT => run!(s, "fsqrt"),
        operation::ROUND => run!(s, "frndint"),
        operation::TEST => run!(s, "ftst"),
        _ => unreachable!("an operation of the table in `select`"),
    };
    scratch.outcome(status)
}

/// An operation on `a`, as ST(0), and a memory operand.
pub fn with_memory(code: u8, kind: u8, control: u16, a: u128, memory: u64) -> Outcome {
    use operation::{ADD, COMPARE, DIVIDE, DIVIDE_REVERSED, MULTIPLY, SUBTRACT, SUBTRACT_REVERSED};
    let mut scratch = Scratch::new(control, a, 0);
    scratch.memory = u128::from(memory);
    let s = &raw mut scratch;
    let status = match (kind, code) {
        (format::BINARY32, ADD) => run!(s, "fadd dword ptr [{s} + 32]"),
        (format::BINARY32, MULTIPLY) => run!(s, "fmul dword ptr [{s} + 32]"),
        (format::BINARY32, COMPARE) => run!(s, "fcom dword ptr [{s} + 32]"),
        (format::BINARY32, SUBTRACT) => run!(s, "fsub dword ptr [{s} + 32]"),
        (format::BINARY32, SUBTRACT_REVERSED) => run!(s, "fsubr dword ptr [{s} + 32]"),
        (format::BINARY32, DIVIDE) => run!(s, "fdiv dword ptr [{s} + 32]"),
        (format::BINARY32, DIVIDE_REVERSED) => run!(s, "fdivr dword ptr [{s} + 32]"),
        (format::INT32, ADD) => run!(s, "fiadd dword ptr [{s} + 32]"),
        (format::INT32, MULTIPLY) => run!(s, "fimul dword ptr [{s} + 32]"),
        (format::INT32, COMPARE) => run!(s, "ficom dword ptr [{s} + 32]"),
        (format::INT32, SUBTRACT) => run!(s, "fisub dword ptr [{s} + 32]"),
        (format::INT32, SUBTRACT_REVERSED) => run!(s, "fisubr dword ptr [{s} + 32]"),
        (format::INT32, DIVIDE) => run!(s, "fidiv dword ptr [{s} + 32]"),
        (format::INT32, DIVIDE_REVERSED) => run!(s, "fidivr dword ptr [{s} + 32]"),
        (format::BINARY64, ADD) => run!(s, "fadd qword ptr [{s} + 32]"),
        (format::BINARY64, MULTIPLY) => run!(s, "fmul qword ptr [{s} + 32]"),
        (format::BINARY64, COMPARE) => run!(s, "fcom qword ptr [{s} + 32]"),
        (format::BINARY64, SUBTRACT) => run!(s, "fsub qword ptr [{s} + 32]"),
        (format::BINARY64, SUBTRACT_REVERSED) => run!(s, "fsubr qword ptr [{s} + 32]"),
        (format::BINARY64, DIVIDE) => run!(s, "fdiv qword ptr [{s} + 32]"),
        (format::BINARY64, DIVIDE_REVERSED) => run!(s, "fdivr qword ptr [{s} + 32]"),
        (format::INT16, ADD) => run!(s, "fiadd word ptr [{s} + 32]"),
        (format::INT16, MULTIPLY) => run!(s, "fimul word ptr [{s} + 32]"),
        (format::INT16, COMPARE) => run!(s, "ficom word ptr [{s} + 32]"),
        (format::INT16, SUBTRACT) => run!(s, "fisub word ptr [{s} + 32]"),
        (format::INT16, SUBTRACT_REVERSED) => run!(s, "fisubr word ptr [{s} + 32]"),
        (format::INT16, DIVIDE) => run!(s, "fidiv word ptr [{s} + 32]"),
        (format::INT16, DIVIDE_REVERSED) => run!(s, "fidivr word ptr [{s} + 32]"),
        _ => unreachable!("an operation of the table in `select`"),
    };
    scratch.outcome(status)
}

/// Conversions of ST(0) for a store: what the numbers of [`store`] mean.
pub mod conversion {
    #![allow(missing_docs)]
    pub const BINARY32: u8 = 0;
    pub const BINARY64: u8 = 1;
    pub const INT16: u8 = 2;
    pub const INT32: u8 = 3;
    pub const INT64: u8 = 4;
    pub const TRUNCATED16: u8 = 5;
    pub const TRUNCATED32: u8 = 6;
    pub const TRUNCATED64: u8 = 7;
    pub const BCD: u8 = 8;
}

/// Converts `a` for a store to memory; the value is what memory would hold.
pub fn store(kind: u8, control: u16, a: u128) -> Outcome {
    let mut scratch = Scratch::new(control, a, a);
    let s = &raw mut scratch;
    let status = match kind {
        conversion::BINARY32 => run!(s, "fst dword ptr [{s} + 32]"),
        conversion::BINARY64 => run!(s, "fst qword ptr [{s} + 32]"),
        conversion::INT16 => run!(s, "fist word ptr [{s} + 32]"),
        conversion::INT32 => run!(s, "fist dword ptr [{s} + 32]"),
        conversion::INT64 => run!(s, "fistp qword ptr [{s} + 32]"),
        conversion::TRUNCATED16 => run!(s, "fisttp word ptr [{s} + 32]"),
        conversion::TRUNCATED32 => run!(s, "fisttp dword ptr [{s} + 32]"),
        conversion::TRUNCATED64 => run!(s, "fisttp qword ptr [{s} + 32]"),
        conversion::BCD => run!(s, "fbstp tbyte ptr [{s} + 32]"),
        _ => unreachable!("a conversion of the table in `select`"),
    };
    Outcome { value: scratch.memory, status: status & 0x473f }
}

/// The constant of the opcode D9 E8+`code`, rounded as the control word says.
pub fn constant(code: u8, control: u16) -> u128 {
    let mut scratch = Scratch::new(control, 0, 0);
    let s = &raw mut scratch;
    // Each frees a register first, so that two are in use afterwards as elsewhere.
    let status = match code {
        0 => run!(s, "fstp st(0)\nfld1"),
        1 => run!(s, "fstp st(0)\nfldl2t"),
        2 => run!(s, "fstp st(0)\nfldl2e"),
        3 => run!(s, "fstp st(0)\nfldpi"),
        4 => run!(s, "fstp st(0)\nfldlg2"),
        5 => run!(s, "fstp st(0)\nfldln2"),
        6 => run!(s, "fstp st(0)\nfldz"),
        _ => unreachable!("a constant of the table in `select`"),
    };
    scratch.outcome(status).value
}
