//! Arithmetic by the host's own x87 unit on the guest's values and under the guest's
//! control word: what IEEE 754 and the manuals define to the last bit.
//!
//! Clearing exception flags takes many times longer than an operation. So flags stay set in
//! the host's unit as long as they are set in the guest's too, where they are sticky: then
//! they cannot be told from those of the operation, and need not be. Unmasked exceptions
//! are cleared before any instruction that would trap on them, and so stay in the guest.
//! Registers, tags and pointers of the guest are never in the unit.
#![allow(unsafe_code)]

use super::state::{INITIAL_CONTROL, exception, status};
use core::arch::asm;

/// What an operation finds in the unit.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The control word.
    pub control: u16,
    /// The guest's status word: exception flags that are set in it, none of them unmasked,
    /// may be set in an outcome for no other reason. Zero makes an outcome exact.
    pub status: u16,
}

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

/// What of the status word tells something about an operation.
const STATUS: u16 = exception::ALL | status::CODES;

#[repr(C, align(16))]
struct Scratch {
    a: u128,
    b: u128,
    memory: u64,
    memory_high: u64,
    // Read back in the pieces that the unit wrote, which is faster.
    significand: u64,
    exponent: u16,
    control: u16,
    initial: u16,
}

/// Loads `b` and `a` (to ST(0)), runs the instruction, which may pop, and stores what is then
/// in ST(0); what is left, if anything, is freed.
macro_rules! run {
    ($scratch:expr, $words:expr, $instruction:literal) => {{
        let status: u16;
        // SAFETY: the block reads and writes only `Scratch`, whose offsets are those used
        // here. It is entered with the empty register stack and the control word that the
        // ABI promises and leaves them so: both registers are popped or freed and FLDCW
        // restores the word. No flag is set at the first FLDCW but those of a guest that has
        // them masked, and FNCLEX follows an unmasked one before any waiting instruction:
        // nothing traps.
        unsafe {
            asm!(
                "fnstsw ax",
                "test al, {new}",
                "jz 21f",
                "fnclex",
                "21:",
                "fldcw word ptr [{s} + 58]",
                "fld tbyte ptr [{s} + 16]",
                "fld tbyte ptr [{s}]",
                $instruction,
                "fnstsw ax",
                "test al, al",
                "jns 22f",
                "fnclex",
                "22:",
                "fstp tbyte ptr [{s} + 48]",
                "ffree st(0)",
                "fldcw word ptr [{s} + 60]",
                s = in(reg) $scratch,
                new = in(reg_byte) !$words.status as u8 & 0x3f,
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
        Scratch { a, b, memory: 0, memory_high: 0, significand: 0, exponent: 0, control, initial: INITIAL_CONTROL }
    }

    fn outcome(&self, status: u16) -> Outcome {
        let value = u128::from(self.significand) | u128::from(self.exponent) << 64;
        Outcome { value, status: status & STATUS }
    }
}

/// An operation on `a`, as ST(0), and `b`, as ST(1); see [`operation`].
pub fn arithmetic(code: u8, words: Words, a: u128, b: u128) -> Outcome {
    let mut scratch = Scratch::new(words.control, a, b);
    let s = &raw mut scratch;
    let status = match code {
        operation::ADD => run!(s, words, "fadd st(0), st(1)"),
        operation::MULTIPLY => run!(s, words, "fmul st(0), st(1)"),
        operation::COMPARE => run!(s, words, "fcom st(1)"),
        operation::SUBTRACT => run!(s, words, "fsub st(0), st(1)"),
        operation::SUBTRACT_REVERSED => run!(s, words, "fsubr st(0), st(1)"),
        operation::DIVIDE => run!(s, words, "fdiv st(0), st(1)"),
        operation::DIVIDE_REVERSED => run!(s, words, "fdivr st(0), st(1)"),
        operation::REMAINDER => run!(s, words, "fprem"),
        operation::REMAINDER_NEAREST => run!(s, words, "fprem1"),
        operation::SCALE => run!(s, words, "fscale"),
        operation::COMPARE_UNORDERED => run!(s, words, "fucom st(1)"),
        operation::SQUARE_ROOT => run!(s, words, "fsqrt"),
        operation::ROUND => run!(s, words, "frndint"),
        operation::TEST => run!(s, words, "ftst"),
        _ => unreachable!("an operation of the table in `select`"),
    };
    scratch.outcome(status)
}

/// An operation on `a`, as ST(0), and a memory operand.
pub fn with_memory(code: u8, kind: u8, words: Words, a: u128, memory: u64) -> Outcome {
    use operation::{ADD, COMPARE, DIVIDE, DIVIDE_REVERSED, MULTIPLY, SUBTRACT, SUBTRACT_REVERSED};
    let mut scratch = Scratch::new(words.control, a, 0);
    scratch.memory = memory;
    let s = &raw mut scratch;
    let status = match (kind, code) {
        (format::BINARY32, ADD) => run!(s, words, "fadd dword ptr [{s} + 32]"),
        (format::BINARY32, MULTIPLY) => run!(s, words, "fmul dword ptr [{s} + 32]"),
        (format::BINARY32, COMPARE) => run!(s, words, "fcom dword ptr [{s} + 32]"),
        (format::BINARY32, SUBTRACT) => run!(s, words, "fsub dword ptr [{s} + 32]"),
        (format::BINARY32, SUBTRACT_REVERSED) => run!(s, words, "fsubr dword ptr [{s} + 32]"),
        (format::BINARY32, DIVIDE) => run!(s, words, "fdiv dword ptr [{s} + 32]"),
        (format::BINARY32, DIVIDE_REVERSED) => run!(s, words, "fdivr dword ptr [{s} + 32]"),
        (format::INT32, ADD) => run!(s, words, "fiadd dword ptr [{s} + 32]"),
        (format::INT32, MULTIPLY) => run!(s, words, "fimul dword ptr [{s} + 32]"),
        (format::INT32, COMPARE) => run!(s, words, "ficom dword ptr [{s} + 32]"),
        (format::INT32, SUBTRACT) => run!(s, words, "fisub dword ptr [{s} + 32]"),
        (format::INT32, SUBTRACT_REVERSED) => run!(s, words, "fisubr dword ptr [{s} + 32]"),
        (format::INT32, DIVIDE) => run!(s, words, "fidiv dword ptr [{s} + 32]"),
        (format::INT32, DIVIDE_REVERSED) => run!(s, words, "fidivr dword ptr [{s} + 32]"),
        (format::BINARY64, ADD) => run!(s, words, "fadd qword ptr [{s} + 32]"),
        (format::BINARY64, MULTIPLY) => run!(s, words, "fmul qword ptr [{s} + 32]"),
        (format::BINARY64, COMPARE) => run!(s, words, "fcom qword ptr [{s} + 32]"),
        (format::BINARY64, SUBTRACT) => run!(s, words, "fsub qword ptr [{s} + 32]"),
        (format::BINARY64, SUBTRACT_REVERSED) => run!(s, words, "fsubr qword ptr [{s} + 32]"),
        (format::BINARY64, DIVIDE) => run!(s, words, "fdiv qword ptr [{s} + 32]"),
        (format::BINARY64, DIVIDE_REVERSED) => run!(s, words, "fdivr qword ptr [{s} + 32]"),
        (format::INT16, ADD) => run!(s, words, "fiadd word ptr [{s} + 32]"),
        (format::INT16, MULTIPLY) => run!(s, words, "fimul word ptr [{s} + 32]"),
        (format::INT16, COMPARE) => run!(s, words, "ficom word ptr [{s} + 32]"),
        (format::INT16, SUBTRACT) => run!(s, words, "fisub word ptr [{s} + 32]"),
        (format::INT16, SUBTRACT_REVERSED) => run!(s, words, "fisubr word ptr [{s} + 32]"),
        (format::INT16, DIVIDE) => run!(s, words, "fidiv word ptr [{s} + 32]"),
        (format::INT16, DIVIDE_REVERSED) => run!(s, words, "fidivr word ptr [{s} + 32]"),
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
pub fn store(kind: u8, words: Words, a: u128) -> Outcome {
    let mut scratch = Scratch::new(words.control, a, a);
    let s = &raw mut scratch;
    let status = match kind {
        conversion::BINARY32 => run!(s, words, "fst dword ptr [{s} + 32]"),
        conversion::BINARY64 => run!(s, words, "fst qword ptr [{s} + 32]"),
        conversion::INT16 => run!(s, words, "fist word ptr [{s} + 32]"),
        conversion::INT32 => run!(s, words, "fist dword ptr [{s} + 32]"),
        conversion::INT64 => run!(s, words, "fistp qword ptr [{s} + 32]"),
        conversion::TRUNCATED16 => run!(s, words, "fisttp word ptr [{s} + 32]"),
        conversion::TRUNCATED32 => run!(s, words, "fisttp dword ptr [{s} + 32]"),
        conversion::TRUNCATED64 => run!(s, words, "fisttp qword ptr [{s} + 32]"),
        conversion::BCD => run!(s, words, "fbstp tbyte ptr [{s} + 32]"),
        _ => unreachable!("a conversion of the table in `select`"),
    };
    let high = if kind == conversion::BCD { scratch.memory_high } else { 0 };
    Outcome { value: u128::from(scratch.memory) | u128::from(high) << 64, status: status & STATUS }
}

/// The constant of the opcode D9 E8+`code`, rounded as the control word says.
pub fn constant(code: u8, words: Words) -> u128 {
    let mut scratch = Scratch::new(words.control, 0, 0);
    let s = &raw mut scratch;
    // Each frees a register first, so that two are in use afterwards as elsewhere.
    let status = match code {
        0 => run!(s, words, "fstp st(0)\nfld1"),
        1 => run!(s, words, "fstp st(0)\nfldl2t"),
        2 => run!(s, words, "fstp st(0)\nfldl2e"),
        3 => run!(s, words, "fstp st(0)\nfldpi"),
        4 => run!(s, words, "fstp st(0)\nfldlg2"),
        5 => run!(s, words, "fstp st(0)\nfldln2"),
        6 => run!(s, words, "fstp st(0)\nfldz"),
        _ => unreachable!("a constant of the table in `select`"),
    };
    scratch.outcome(status).value
}
