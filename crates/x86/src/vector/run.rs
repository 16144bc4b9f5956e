//! Execution by thunk: checks and memory around the call of the host's own instruction.
#![allow(unsafe_code)]

use super::code_buffer;
use super::float;
use super::operand;
use super::shape::{Memory, Shape, Slot};
use super::state::VectorState;
use super::thunk::{self, Frame, Thunk};
use super::unit;
use crate::fault::{Flow, Trap};
use crate::flags::LazyFlags;
use crate::model::CpuModel;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::Instruction;
use std::mem::offset_of;

const NONE: u8 = Memory::None as u8;
const LOAD: u8 = Memory::Load as u8;
const STORE: u8 = Memory::Store as u8;

/// Value of [`Op::r3`]: no MMX register is written.
const NO_MMX: u8 = 0xff;

const VECTOR: usize = offset_of!(Vcpu, vector) + offset_of!(VectorState, ymm);
const MMX: usize = offset_of!(Vcpu, x87) + offset_of!(crate::x87::state::X87State, regs);
const GPR: usize = offset_of!(Vcpu, gpr);
const _: () = assert!(size_of::<Vcpu>() < 1 << 16, "offsets in a vCPU fit into 16 bits");

/// Fills `op` for execution by thunk, making the thunk if needed. `None` if the instruction is not
/// of a kind that thunks execute.
///
/// `op.imm` holds the places in [`Vcpu`] of the operands at positions 0 to 3, 16 bits each, `op.extra`
/// the thunk's offset in the code buffer, `op.r1` the size of the memory operand in bytes, `op.r2`
/// its alignment mask and `op.r3` the MMX register that is written.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let shape = Shape::of(insn)?;
    let model = if shape.vex { CpuModel::V3 } else { CpuModel::V2 };
    assert!(super::HostFeatures::detect().lacks(model).is_empty(), "`prepare` has checked the host");
    let core = thunk::rename(insn, &shape)?;
    let key = thunk::encode(&core)?;
    op.extra = code_buffer::offset_of(key, || thunk::assemble(&core, &shape))?;
    op.imm = shape.slots.iter().rev().fold(0, |places, &slot| places << 16 | place(slot));
    op.r1 = shape.bytes;
    op.r2 = shape.align;
    op.r3 = shape.written_mmx().unwrap_or(NO_MMX);
    exec_of(&shape)
}

/// Where in [`Vcpu`] a slot points to.
fn place(slot: Slot) -> u64 {
    let offset = match slot {
        Slot::Vector { register, .. } => VECTOR + 32 * usize::from(register & 15),
        Slot::Mmx(register) => MMX + 16 * usize::from(register & 7),
        Slot::Gpr { register, .. } => GPR + 8 * usize::from(register & 15),
        Slot::ImplicitXmm0 | Slot::ResultXmm0 => VECTOR,
        Slot::Lengths { .. } | Slot::ResultRcx => GPR,
        Slot::Unused => VECTOR,
    };
    offset as u64
}

fn exec_of(shape: &Shape) -> Option<Exec> {
    Some(match shape.unit {
        unit::SSE => with_unit::<{ unit::SSE }>(shape),
        unit::VEX => with_unit::<{ unit::VEX }>(shape),
        unit::MMX => with_unit::<{ unit::MMX }>(shape),
        unit::MMX_SSE => with_unit::<{ unit::MMX_SSE }>(shape),
        _ => return None,
    })
}

fn with_unit<const UNIT: u8>(shape: &Shape) -> Exec {
    match shape.memory {
        Memory::None => with_memory::<UNIT, NONE>(shape),
        Memory::Load => with_memory::<UNIT, LOAD>(shape),
        Memory::Store => with_memory::<UNIT, STORE>(shape),
    }
}

fn with_memory<const UNIT: u8, const MEMORY: u8>(shape: &Shape) -> Exec {
    match (shape.float, shape.flags) {
        (false, false) => run::<UNIT, MEMORY, false, false>,
        (false, true) => run::<UNIT, MEMORY, false, true>,
        (true, false) => run::<UNIT, MEMORY, true, false>,
        (true, true) => run::<UNIT, MEMORY, true, true>,
    }
}

fn run<const UNIT: u8, const MEMORY: u8, const FLOAT: bool, const FLAGS: bool>(
    cpu: &mut Vcpu,
    env: &mut Env<'_>,
    op: &Op,
) -> Result<Flow, Trap> {
    unit::check::<UNIT>(cpu)?;
    let mut frame = Frame::new();
    let mut linear = 0;
    if MEMORY != NONE {
        linear = operand::address(cpu, op, usize::from(op.r1), u64::from(op.r2), MEMORY == STORE)?;
    }
    if MEMORY == LOAD {
        operand::load(cpu, env, op, linear, op.r1, &mut frame.memory)?;
    }
    if FLOAT {
        float::call(cpu, op, &mut frame)?;
    } else {
        call(cpu, op, &mut frame);
    }
    if MEMORY == STORE {
        // Such a thunk writes no register.
        operand::store(cpu, env, op, linear, op.r1, frame.memory)?;
    }
    if FLOAT {
        cpu.vector.mxcsr = frame.mxcsr_out;
    }
    if FLAGS {
        cpu.lazy = LazyFlags::from_bits(frame.flags);
    }
    if UNIT == unit::MMX || UNIT == unit::MMX_SSE {
        unit::enter_mmx(cpu);
        if op.r3 != NO_MMX {
            unit::mark_mmx(cpu, op.r3);
        }
    }
    Ok(Flow::Next)
}

/// Calls the thunk of `op`.
#[inline(always)]
pub(super) fn call(cpu: &mut Vcpu, op: &Op, frame: &mut Frame) {
    let vcpu: *mut u8 = std::ptr::from_mut(cpu).cast();
    let at = |position: u32| vcpu.wrapping_add(usize::from((op.imm >> (16 * position)) as u16));
    // SAFETY: `select` stored the offset of a whole thunk of this type, and places of registers of
    // the kinds that it loads and stores, all inside the vCPU, which is borrowed mutably. Its memory
    // operand lies within the frame. It keeps the registers that the callee must keep, and leaves
    // MXCSR at the default, the MMX state empty and the upper halves of the YMM registers clean.
    unsafe {
        let thunk: Thunk = std::mem::transmute(code_buffer::address_of(op.extra));
        thunk(frame, at(0), at(1), at(2), at(3));
    }
}
