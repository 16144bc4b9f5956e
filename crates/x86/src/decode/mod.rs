//! From instruction bytes to [`Op`]s: iced-x86 finds the form and the operands, this module
//! fills in what all forms share and asks the families of [`crate::exec`], [`crate::system`],
//! [`crate::vector`] and [`crate::x87`] for the code.

pub mod operands;
mod prefixes;

use crate::exec;
use crate::model::CpuModel;
use crate::op::{AddressMode, Exec, Op, Repeat};
use crate::segment::seg;
use crate::vcpu::{CodeSize, GPR_PAGE_RIP, GPR_ZERO};
use crate::{system, vector, x87};
use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use prefixes::Prefixes;

/// The longest instruction, in bytes; a longer one is #GP(0).
pub const MAX_LEN: usize = 15;
/// The bases whose default segment is SS: RSP and RBP.
const STACK_BASES: [u8; 2] = [4, 5];

/// What became of some instruction bytes.
pub enum Decoded {
    /// An instruction, and where it may stand in a block.
    Op {
        /// The instruction.
        op: Op,
        /// True for system instructions: their accesses to tables and stacks, which may lie where
        /// the board answers, happen at the count at which the block began.
        starts_block: bool,
        /// True behind jumps, calls, returns.
        ends_block: bool,
    },
    /// The bytes end before the instruction does.
    Truncated,
}

/// Decodes the instruction at the start of `bytes` (at most [`MAX_LEN`] count), whose first byte
/// is at offset `off` of its page.
pub fn decode(bytes: &[u8], off: u16, code: CodeSize, model: CpuModel) -> Decoded {
    decode_both(bytes, off, code, model).0
}

/// The same, and the instruction as iced-x86 sees it.
pub fn decode_both(bytes: &[u8], off: u16, code: CodeSize, model: CpuModel) -> (Decoded, Instruction) {
    let bitness = match code {
        CodeSize::B16 => 16,
        CodeSize::B32 => 32,
        CodeSize::B64 => 64,
    };
    let window = &bytes[..bytes.len().min(MAX_LEN)];
    let options = match model {
        // Without the extensions, the prefix of TZCNT and LZCNT means nothing: BSF and BSR.
        CpuModel::V2 => DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD,
        CpuModel::V3 => DecoderOptions::NONE,
    };
    let mut decoder = Decoder::with_ip(bitness, window, u64::from(off), options);
    let insn = decoder.decode();
    let mut op = blank(off, insn.len() as u8);
    match decoder.last_error() {
        DecoderError::None => {}
        DecoderError::NoMoreBytes => return (Decoded::Truncated, insn),
        _ if window.len() == MAX_LEN && is_too_long(bitness, window, options) => {
            op.exec = exec::misc::too_long;
            return (Decoded::Op { op, starts_block: false, ends_block: true }, insn);
        }
        _ => return (Decoded::Op { op, starts_block: false, ends_block: true }, insn),
    }
    let prefixes = Prefixes::scan(window, code);
    fill(&mut op, &insn, &prefixes, code);
    let system;
    (op.exec, system) = select(&insn, &mut op, model).unwrap_or((exec::misc::undefined, false));
    let falls_through = matches!(insn.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
    (Decoded::Op { op, starts_block: system, ends_block: !falls_through }, insn)
}

/// True if the invalid instruction that fills `window` goes on behind it, in which case it is not
/// undefined but too long: iced-x86 does not tell one from the other.
fn is_too_long(bitness: u32, window: &[u8], options: u32) -> bool {
    let error = |bytes: &[u8]| {
        let mut insn = Instruction::default();
        let mut decoder = Decoder::new(bitness, bytes, options);
        decoder.decode_out(&mut insn);
        decoder.last_error()
    };
    // A forbidden LOCK is found out at the end, so look without it.
    let mut unlocked = window.to_vec();
    let prefixes = unlocked.iter_mut().take_while(|byte| prefixes::is_prefix(**byte, bitness));
    prefixes.filter(|byte| **byte == 0xf0).for_each(|byte| *byte = 0x2e);
    error(&unlocked) != DecoderError::None && error(&unlocked[..MAX_LEN - 1]) == DecoderError::NoMoreBytes
}

/// An instruction that is #UD until more is known.
fn blank(off: u16, len: u8) -> Op {
    Op {
        exec: exec::misc::undefined,
        imm: 0,
        disp: 0,
        base: GPR_ZERO as u8,
        index: GPR_ZERO as u8,
        scale: 0,
        seg: seg::SS as u8,
        amode: AddressMode::Flat64,
        r1: 0,
        r2: 0,
        r3: 0,
        off,
        len: len.max(1),
        idx: 0,
        osize: 4,
        rep: Repeat::None,
        extra: 0,
    }
}

/// Fills in what every form has: sizes, prefixes, memory operand, first immediate.
fn fill(op: &mut Op, insn: &Instruction, prefixes: &Prefixes, code: CodeSize) {
    op.osize = prefixes.operand_bytes(code);
    op.rep = prefixes.repeat;
    op.amode = match (code, prefixes.address_size) {
        (CodeSize::B64, false) => AddressMode::Flat64,
        (CodeSize::B64, true) => AddressMode::Truncated64,
        (CodeSize::B32, false) | (CodeSize::B16, true) => AddressMode::Segment32,
        (CodeSize::B32, true) | (CodeSize::B16, false) => AddressMode::Segment16,
    };
    for i in 0..insn.op_count() {
        match insn.op_kind(i) {
            OpKind::Memory => memory_operand(op, insn),
            OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI => set_segment(op, insn.memory_segment()),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                op.imm = insn.near_branch_target();
            }
            _ => {}
        }
    }
    if let Some(i) = (0..insn.op_count()).find(|&i| operands::is_immediate(insn.op_kind(i))) {
        op.imm = insn.immediate(i);
    }
}

fn memory_operand(op: &mut Op, insn: &Instruction) {
    op.disp = insn.memory_displacement64() as i64;
    op.base = match insn.memory_base() {
        Register::None => GPR_ZERO as u8,
        Register::RIP | Register::EIP => GPR_PAGE_RIP as u8,
        base => base.number() as u8,
    };
    op.index = match insn.memory_index() {
        Register::None => GPR_ZERO as u8,
        index if index.is_gpr() => index.number() as u8,
        // VSIB: the vector family reads the register itself.
        _ => GPR_ZERO as u8,
    };
    op.scale = insn.memory_index_scale().trailing_zeros() as u8;
    set_segment(op, insn.memory_segment());
}

fn set_segment(op: &mut Op, segment: Register) {
    let flat = matches!(op.amode, AddressMode::Flat64 | AddressMode::Truncated64);
    let segment = match segment {
        // 64-bit code ignores the other overrides; iced gives them all the same.
        _ if !flat || matches!(segment, Register::FS | Register::GS) => segment,
        _ if STACK_BASES.contains(&op.base) => Register::SS,
        _ => Register::DS,
    };
    op.seg = operands::segment_index(segment);
    if op.amode == AddressMode::Flat64 && matches!(segment, Register::FS | Register::GS) {
        op.amode = AddressMode::Based64;
    }
}

/// The code of a form that the CPU model offers, and whether it is a system instruction.
fn select(insn: &Instruction, op: &mut Op, model: CpuModel) -> Option<(Exec, bool)> {
    if let Some(nop) = exec::misc::select_hint(insn) {
        return Some((nop, false));
    }
    if !insn.cpuid_features().iter().all(|&feature| model.offers(feature)) {
        return None;
    }
    if let Some(exec) = exec::select(insn, op) {
        return Some((exec, false));
    }
    if let Some(exec) = system::select(insn, op) {
        return Some((exec, true));
    }
    vector::select(insn, op).or_else(|| x87::select(insn, op)).map(|exec| (exec, false))
}
