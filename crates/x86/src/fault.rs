//! Exceptions, and how an instruction tells the engine what comes next.

/// Exception vectors (SDM Vol. 3A, table 6-1).
pub mod vector {
    #![allow(missing_docs)]
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// A fault that an instruction raised; RIP still points at the instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The vector, 0 to 31.
    pub vector: u8,
    /// The error code, for the vectors that push one.
    pub error_code: Option<u32>,
    /// The faulting linear address (becomes CR2 at delivery), for #PF only.
    pub fault_address: u64,
    /// Bits to OR into DR6 at delivery, for #DB only.
    pub dr6: u64,
}

/// Proof that an exception is waiting in `Vcpu::fault`.
///
/// It has no size, so that `Result<u64, Trap>` travels in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap(pub(crate) ());

/// What the engine does after an instruction that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flow {
    /// Go on with the next instruction in memory.
    Next,
    /// `Vcpu::rip` was set by the instruction: go on there.
    Jump,
    /// Go on behind the instruction, but look at the world first: interrupts, mode,
    /// code pages or deadlines may have changed.
    Leave,
    /// A repeated string instruction did some iterations and stays where it is.
    Repeat,
    /// The vCPU stops running for now (HLT and the like); RIP goes behind the instruction.
    Stop,
}
