//! From iced-x86's registers and operand kinds to the numbers in an [`crate::op::Op`].

use iced_x86::{Instruction, OpKind, Register};

/// True for an operand that is an immediate constant of the instruction.
pub fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// The number of a general register, 0 to 15; for an 8-bit one the byte offset of its place
/// in `Vcpu::gpr`.
pub fn gpr(register: Register) -> u8 {
    if !register.is_gpr8() {
        return register.number() as u8;
    }
    // iced's order: AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8L ...
    match register as u8 - Register::AL as u8 {
        n @ 0..=3 => n * 8,
        n @ 4..=7 => (n - 4) * 8 + 1,
        n => (n - 4) * 8,
    }
}

/// The index of a segment register in `Vcpu::seg`.
pub fn segment_index(register: Register) -> u8 {
    register as u8 - Register::ES as u8
}

/// The size in bytes of operand `i`: a register's or the memory operand's.
pub fn operand_bytes(insn: &Instruction, i: u32) -> usize {
    match insn.op_kind(i) {
        OpKind::Register => insn.op_register(i).size(),
        OpKind::Memory => insn.memory_size().size(),
        _ => 0,
    }
}

/// True if operand `i` is a register.
pub fn is_register(insn: &Instruction, i: u32) -> bool {
    insn.op_kind(i) == OpKind::Register
}

/// True if operand `i` is an explicit memory operand.
pub fn is_memory(insn: &Instruction, i: u32) -> bool {
    insn.op_kind(i) == OpKind::Memory
}
