//! The x87 registers, shared with MMX.

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
}
