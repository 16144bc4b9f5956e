//! Moves under a mask: VMASKMOVPS and its like by elements, MASKMOVDQU and MASKMOVQ by bytes.
//! What the mask leaves out is not accessed and cannot fault.

use super::operand::without_alignment;
use super::unit::{self, MMX, SSE, VEX};
use crate::fault::{Flow, Trap};
use crate::memory::paging::Intent;
use crate::op::{AddressMode, Env, Exec, Op};
use crate::segment::seg;
use crate::vcpu::{GPR_ZERO, Vcpu};
use iced_x86::{CodeSize, Instruction, Mnemonic, OpKind, Register};

const RDI: u8 = 7;

/// The code of these moves.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Mnemonic::*;
    let load = insn.op0_kind() == OpKind::Register;
    match insn.mnemonic() {
        Vmaskmovps | Vpmaskmovd => Some(by_element::<4>(insn, op, load)),
        Vmaskmovpd | Vpmaskmovq => Some(by_element::<8>(insn, op, load)),
        Maskmovq | Maskmovdqu | Vmaskmovdqu => {
            op.r1 = insn.op1_register().number() as u8;
            op.r2 = insn.op2_register().number() as u8;
            address_by_rdi(insn, op);
            Some(match insn.mnemonic() {
                Maskmovq => store_bytes_mmx,
                Maskmovdqu => store_bytes::<SSE>,
                _ => store_bytes::<VEX>,
            })
        }
        _ => None,
    }
}

/// `op.r1` is the data register, `op.r2` the mask, `op.r3` the vector's size in bytes.
fn by_element<const BYTES: usize>(insn: &Instruction, op: &mut Op, load: bool) -> Exec {
    let data = if load { insn.op0_register() } else { insn.op2_register() };
    op.r1 = data.number() as u8;
    op.r2 = insn.op1_register().number() as u8;
    op.r3 = if data.is_ymm() { 32 } else { 16 };
    if load { load_elements::<BYTES> } else { store_elements::<BYTES> }
}

/// Makes (E)DI or RDI the memory operand, in the segment that a prefix chose, or DS.
fn address_by_rdi(insn: &Instruction, op: &mut Op) {
    (op.base, op.index, op.scale, op.disp) = (RDI, GPR_ZERO as u8, 0, 0);
    let segment = insn.memory_segment();
    op.seg = (segment as u32).wrapping_sub(Register::ES as u32) as u8 & 7;
    let based = usize::from(op.seg) == seg::FS || usize::from(op.seg) == seg::GS;
    op.amode = match insn.op0_kind() {
        OpKind::MemorySegRDI if based => AddressMode::Based64,
        OpKind::MemorySegRDI => AddressMode::Flat64,
        OpKind::MemorySegEDI if insn.code_size() == CodeSize::Code64 => AddressMode::Truncated64,
        OpKind::MemorySegEDI => AddressMode::Segment32,
        _ => AddressMode::Segment16,
    };
}

/// The linear address of `bytes` bytes `offset` behind the start of the memory operand.
pub(super) fn piece(cpu: &mut Vcpu, op: &Op, offset: u64, bytes: usize, write: bool) -> Result<u64, Trap> {
    let ea = cpu.effective_address(op).wrapping_add(offset);
    let ea = match op.amode {
        AddressMode::Flat64 => return Ok(ea),
        AddressMode::Based64 => ea,
        AddressMode::Truncated64 | AddressMode::Segment32 => ea & 0xffff_ffff,
        AddressMode::Segment16 => ea & 0xffff,
    };
    cpu.linear(usize::from(op.seg), ea, bytes as u64, write)
}

/// Bit i is set when element i of `mask` has its sign set.
fn chosen<const BYTES: usize>(mask: [u64; 4], vector_bytes: u8) -> u32 {
    let count = usize::from(vector_bytes) / BYTES;
    (0..count).fold(0, |bits, i| bits | ((element::<BYTES>(&mask, i) >> (8 * BYTES - 1)) as u32 & 1) << i)
}

/// Element `i` of a vector.
pub(super) fn element<const BYTES: usize>(vector: &[u64; 4], i: usize) -> u64 {
    let at = i * BYTES;
    vector[at / 8] >> (8 * (at % 8)) & (u64::MAX >> (64 - 8 * BYTES))
}

/// Replaces element `i` of a vector.
pub(super) fn set_element<const BYTES: usize>(vector: &mut [u64; 4], i: usize, value: u64) {
    let at = i * BYTES;
    let ones = u64::MAX >> (64 - 8 * BYTES);
    let word = &mut vector[at / 8];
    *word = *word & !(ones << (8 * (at % 8))) | (value & ones) << (8 * (at % 8));
}

/// Loads an element of 4 or 8 bytes.
pub(super) fn load_element<const BYTES: usize>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    linear: u64,
) -> Result<u64, Trap> {
    match BYTES {
        4 => Ok(u64::from(cpu.load::<u32>(env, op, linear)?)),
        _ => cpu.load(env, op, linear),
    }
}

fn load_elements<const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<VEX>(cpu)?;
    let chosen = chosen::<BYTES>(cpu.vector.ymm[usize::from(op.r2 & 15)], op.r3);
    let mut result = [0; 4];
    for i in (0..32 / BYTES).filter(|i| chosen >> i & 1 != 0) {
        let linear = piece(cpu, op, (i * BYTES) as u64, BYTES, false)?;
        let value = without_alignment(cpu, |cpu| load_element::<BYTES>(cpu, env, op, linear))?;
        set_element::<BYTES>(&mut result, i, value);
    }
    cpu.vector.ymm[usize::from(op.r1 & 15)] = result;
    Ok(Flow::Next)
}

fn store_elements<const BYTES: usize>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<VEX>(cpu)?;
    let chosen = chosen::<BYTES>(cpu.vector.ymm[usize::from(op.r2 & 15)], op.r3);
    let data = cpu.vector.ymm[usize::from(op.r1 & 15)];
    store_chosen::<BYTES>(cpu, env, op, chosen, data)
}

fn store_bytes<const UNIT: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let chosen = chosen::<1>(cpu.vector.ymm[usize::from(op.r2 & 15)], 16);
    let data = cpu.vector.ymm[usize::from(op.r1 & 15)];
    store_chosen::<1>(cpu, env, op, chosen, data)
}

fn store_bytes_mmx(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    unit::check::<MMX>(cpu)?;
    let register = |cpu: &Vcpu, i: u8| [cpu.x87.regs[usize::from(i & 7)] as u64, 0, 0, 0];
    let chosen = chosen::<1>(register(cpu, op.r2), 8);
    let data = register(cpu, op.r1);
    store_chosen::<1>(cpu, env, op, chosen, data)?;
    unit::enter_mmx(cpu);
    Ok(Flow::Next)
}

/// Stores the elements of `data` whose bit is set in `chosen`, all or none.
fn store_chosen<const BYTES: usize>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
    chosen: u32,
    data: [u64; 4],
) -> Result<Flow, Trap> {
    let elements = || (0..32 / BYTES).filter(move |i| chosen >> i & 1 != 0);
    for i in elements() {
        let linear = piece(cpu, op, (i * BYTES) as u64, BYTES, true)?;
        cpu.probe(env, op, linear, BYTES, Intent::Write)?;
    }
    for i in elements() {
        let linear = piece(cpu, op, (i * BYTES) as u64, BYTES, true)?;
        let value = element::<BYTES>(&data, i);
        without_alignment(cpu, |cpu| match BYTES {
            1 => cpu.store(env, op, linear, value as u8),
            4 => cpu.store(env, op, linear, value as u32),
            _ => cpu.store(env, op, linear, value),
        })?;
    }
    Ok(Flow::Next)
}
