//! The x87 registers, shared with MMX, and what every instruction does with them: the
//! register stack, the status word's summary bits, stack faults.

use super::host::Words;

/// Exception flags of the status word and, at the same places, their masks in the control word.
pub mod exception {
    #![allow(missing_docs)]
    pub const INVALID: u16 = 1 << 0;
    pub const DENORMAL: u16 = 1 << 1;
    pub const ZERO_DIVIDE: u16 = 1 << 2;
    pub const OVERFLOW: u16 = 1 << 3;
    pub const UNDERFLOW: u16 = 1 << 4;
    pub const PRECISION: u16 = 1 << 5;
    pub const ALL: u16 = 0x3f;
    /// Those found before the operation: unmasked, they leave the operands alone.
    pub const BEFORE: u16 = INVALID | DENORMAL | ZERO_DIVIDE;
}

/// Bits of the status word.
pub mod status {
    #![allow(missing_docs)]
    pub const STACK_FAULT: u16 = 1 << 6;
    pub const SUMMARY: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const C3: u16 = 1 << 14;
    pub const BUSY: u16 = 1 << 15;
    /// All four condition codes.
    pub const CODES: u16 = C0 | C1 | C2 | C3;
}

/// FCW after FNINIT: all exceptions masked, extended precision, round to nearest.
pub const INITIAL_CONTROL: u16 = 0x37f;

/// Control, status and tag words, last-instruction pointers, and the register stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct X87State {
    /// The physical registers R0 to R7 (MM0 to MM7 are their significands): significand in
    /// the low 64 bits, sign and exponent in the next 16.
    pub regs: [u128; 8],
    /// FCW.
    pub control: u16,
    /// FSW, with TOP in bits 13:11.
    pub status: u16,
    /// One bit a physical register: set when it is not empty (as in FXSAVE's abridged tag).
    pub valid: u8,
    /// FOP: the last opcode, 11 bits.
    pub opcode: u16,
    /// FIP: last instruction pointer.
    pub ip: u64,
    /// FDP: last data pointer.
    pub dp: u64,
    /// FCS: selector of the last instruction (as FSAVE in legacy modes shows it).
    pub cs: u16,
    /// FDS: selector of the last operand.
    pub ds: u16,
    /// With CR0.NE clear: the board has been told of the exception that pends and asserts IGNNE#, so instructions
    /// do not wait for it. Ends with the exception, as FERR# does.
    pub is_ignored: bool,
}

impl X87State {
    /// The state after FNINIT with all registers zero: the initial configuration of XSAVE
    /// (SDM Vol. 1, 13.6).
    pub const INITIAL: X87State = X87State {
        regs: [0; 8],
        control: INITIAL_CONTROL,
        status: 0,
        valid: 0,
        opcode: 0,
        ip: 0,
        dp: 0,
        cs: 0,
        ds: 0,
        is_ignored: false,
    };

    /// TOP: the physical register that ST(0) is.
    #[inline(always)]
    pub fn top(&self) -> usize {
        usize::from(self.status >> 11 & 7)
    }

    /// Sets TOP, modulo 8.
    #[inline(always)]
    pub fn set_top(&mut self, top: usize) {
        self.status = (self.status & !(7 << 11)) | ((top & 7) as u16) << 11;
    }

    /// The physical register that ST(`i`) is.
    #[inline(always)]
    pub fn slot(&self, i: usize) -> usize {
        (self.top() + i) & 7
    }

    /// ST(`i`), empty or not.
    #[inline(always)]
    pub fn st(&self, i: usize) -> u128 {
        self.regs[self.slot(i)]
    }

    /// True if ST(`i`) is tagged empty.
    #[inline(always)]
    pub fn is_empty(&self, i: usize) -> bool {
        self.valid >> self.slot(i) & 1 == 0
    }

    /// Fills ST(`i`).
    #[inline(always)]
    pub fn set_st(&mut self, i: usize, value: u128) {
        let slot = self.slot(i);
        self.regs[slot] = value;
        self.valid |= 1 << slot;
    }

    /// Pushes a value on the register stack, whatever was there.
    #[inline(always)]
    pub fn push(&mut self, value: u128) {
        self.set_top(self.top() + 7);
        self.set_st(0, value);
    }

    /// Empties ST(0) and moves TOP up.
    #[inline(always)]
    pub fn pop(&mut self) {
        self.valid &= !(1 << self.top());
        self.set_top(self.top() + 1);
    }

    /// Replaces the condition codes in `mask`.
    #[inline(always)]
    pub fn set_codes(&mut self, mask: u16, codes: u16) {
        self.status = (self.status & !mask) | (codes & mask);
    }

    /// What the host's unit has to know.
    #[inline(always)]
    pub(super) fn words(&self) -> Words {
        Words { control: self.control, status: self.status }
    }

    /// True if all of the exceptions `flags` are masked.
    #[inline(always)]
    pub fn masks(&self, flags: u16) -> bool {
        flags & !self.control & exception::ALL == 0
    }

    /// Sets exception flags and what follows from them: ES and B.
    #[inline(always)]
    pub fn signal(&mut self, flags: u16) {
        self.status |= flags;
        self.update_summary();
    }

    /// Makes ES and B agree with the exception flags and their masks.
    #[inline(always)]
    pub fn update_summary(&mut self) {
        let pending = !self.masks(self.status);
        let both = status::SUMMARY | status::BUSY;
        self.status = if pending { self.status | both } else { self.status & !both };
        self.is_ignored &= pending;
    }

    /// Signals a stack fault. C1 tells overflow from underflow. Returns true if the invalid
    /// exception is masked, so that the instruction goes on with an indefinite value.
    pub fn stack_fault(&mut self, overflow: bool) -> bool {
        self.set_codes(status::C1, if overflow { status::C1 } else { 0 });
        self.signal(exception::INVALID | status::STACK_FAULT);
        self.masks(exception::INVALID)
    }

    /// Loads FCW: bit 6 is one, bits 7 and 13 to 15 are zero, whatever is written.
    pub fn set_control(&mut self, value: u16) {
        self.control = (value & 0x1f3f) | 0x40;
        self.update_summary();
    }

    /// FNINIT: everything but the register contents.
    pub fn initialise(&mut self) {
        *self = X87State { regs: self.regs, ..X87State::INITIAL };
    }

    /// The full tag word: 0 valid, 1 zero, 2 special, 3 empty, two bits a physical register
    /// (SDM Vol. 1, 8.1.7).
    pub fn tag_word(&self) -> u16 {
        let tag = |slot: usize| match self.valid >> slot & 1 {
            0 => 3,
            _ => tag_of(self.regs[slot]),
        };
        (0..8).fold(0, |word, slot| word | tag(slot) << (2 * slot))
    }

    /// Loads the full tag word, of which only "empty" is kept.
    pub fn set_tag_word(&mut self, word: u16) {
        self.valid = (0..8).fold(0, |valid, slot| valid | u8::from(word >> (2 * slot) & 3 != 3) << slot);
    }
}

/// The tag of a register that is not empty.
fn tag_of(value: u128) -> u16 {
    let (significand, exponent) = (value as u64, (value >> 64) as u16 & 0x7fff);
    match exponent {
        0 if significand == 0 => 1,
        0 | 0x7fff => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}
