//! Port input and output: IN, OUT, INS, OUTS.
//!
//! A port access cannot be taken back, so everything that may fault is checked before it.
//! INS and OUTS do one iteration a step, with or without REP.

use crate::fault::{Flow, Trap};
use crate::flags;
use crate::memory::paging::Intent;
use crate::op::{Env, Exec, Op, Repeat};
use crate::segment::seg;
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction, OpKind};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSI: usize = 6;
const RDI: usize = 7;

/// The code of the instructions of this file. For INS and OUTS `r1` is the address size in
/// bytes and `seg` the segment.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    Some(match insn.code() {
        Code::In_AL_imm8 => input::<1, true>,
        Code::In_AX_imm8 => input::<2, true>,
        Code::In_EAX_imm8 => input::<4, true>,
        Code::In_AL_DX => input::<1, false>,
        Code::In_AX_DX => input::<2, false>,
        Code::In_EAX_DX => input::<4, false>,
        Code::Out_imm8_AL => output::<1, true>,
        Code::Out_imm8_AX => output::<2, true>,
        Code::Out_imm8_EAX => output::<4, true>,
        Code::Out_DX_AL => output::<1, false>,
        Code::Out_DX_AX => output::<2, false>,
        Code::Out_DX_EAX => output::<4, false>,
        Code::Insb_m8_DX | Code::Insw_m16_DX | Code::Insd_m32_DX => {
            op.r1 = match insn.op0_kind() {
                OpKind::MemoryESDI => 2,
                OpKind::MemoryESEDI => 4,
                _ => 8,
            };
            op.seg = seg::ES as u8;
            match insn.code() {
                Code::Insb_m8_DX => input_string::<1>,
                Code::Insw_m16_DX => input_string::<2>,
                _ => input_string::<4>,
            }
        }
        Code::Outsb_DX_m8 | Code::Outsw_DX_m16 | Code::Outsd_DX_m32 => {
            op.r1 = match insn.op1_kind() {
                OpKind::MemorySegSI => 2,
                OpKind::MemorySegESI => 4,
                _ => 8,
            };
            op.seg = insn.memory_segment().number() as u8;
            match insn.code() {
                Code::Outsb_DX_m8 => output_string::<1>,
                Code::Outsw_DX_m16 => output_string::<2>,
                _ => output_string::<4>,
            }
        }
        _ => return None,
    })
}

impl Vcpu {
    fn port_in(&mut self, env: &mut Env<'_>, op: &Op, port: u16, bytes: u8) -> u32 {
        let at = env.count_at(self, op);
        env.touch_bus();
        self.watch_port(port, bytes);
        env.bus.port_read(port, bytes, at) & (u32::MAX >> (32 - 8 * u32::from(bytes)))
    }

    fn port_out(&mut self, env: &mut Env<'_>, op: &Op, port: u16, bytes: u8, value: u32) {
        let at = env.count_at(self, op);
        env.touch_bus();
        self.watch_port(port, bytes);
        env.bus.port_write(port, bytes, value & (u32::MAX >> (32 - 8 * u32::from(bytes))), at);
    }

    /// The bits of a string instruction's registers that its address size uses.
    fn string_mask(op: &Op) -> u64 {
        match op.r1 {
            2 => 0xffff,
            4 => 0xffff_ffff,
            _ => u64::MAX,
        }
    }

    /// Writes the part of a register that the address size uses; 32 bits clear the rest.
    fn set_string_register(&mut self, slot: usize, value: u64, op: &Op) {
        self.gpr[slot] = match op.r1 {
            2 => self.gpr[slot] & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// Moves the pointer on and counts the iteration.
    fn end_iteration(&mut self, op: &Op, slot: usize, bytes: u8) -> Flow {
        let step = u64::from(bytes);
        let pointer = self.gpr[slot];
        let moved = match self.rflags_system & flags::DF {
            0 => pointer.wrapping_add(step),
            _ => pointer.wrapping_sub(step),
        };
        self.set_string_register(slot, moved, op);
        if op.rep == Repeat::None {
            return Flow::Next;
        }
        let left = self.gpr[RCX].wrapping_sub(1) & Self::string_mask(op);
        self.set_string_register(RCX, left, op);
        if left == 0 { Flow::Next } else { Flow::Repeat }
    }

    fn iterations_left(&self, op: &Op) -> bool {
        op.rep == Repeat::None || self.gpr[RCX] & Self::string_mask(op) != 0
    }
}

fn port_of<const IMMEDIATE: bool>(cpu: &Vcpu, op: &Op) -> u16 {
    if IMMEDIATE { op.imm as u16 & 0xff } else { cpu.gpr[RDX] as u16 }
}

fn input<const BYTES: u8, const IMMEDIATE: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let port = port_of::<IMMEDIATE>(cpu, op);
    cpu.io_allowed(env, port, BYTES)?;
    let value = u64::from(cpu.port_in(env, op, port, BYTES));
    cpu.gpr[RAX] = match BYTES {
        1 => cpu.gpr[RAX] & !0xff | value,
        2 => cpu.gpr[RAX] & !0xffff | value,
        _ => value,
    };
    Ok(Flow::Next)
}

fn output<const BYTES: u8, const IMMEDIATE: bool>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let port = port_of::<IMMEDIATE>(cpu, op);
    cpu.io_allowed(env, port, BYTES)?;
    cpu.port_out(env, op, port, BYTES, cpu.gpr[RAX] as u32);
    Ok(Flow::Next)
}

fn input_string<const BYTES: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let port = cpu.gpr[RDX] as u16;
    cpu.io_allowed(env, port, BYTES)?; // asked even for a count of zero
    if !cpu.iterations_left(op) {
        return Ok(Flow::Next);
    }
    let offset = cpu.gpr[RDI] & Vcpu::string_mask(op);
    let linear = cpu.linear(seg::ES, offset, u64::from(BYTES), true)?;
    // Whatever can fault must do so before the port is read: a device gives its byte only once.
    cpu.probe(env, op, linear, usize::from(BYTES), Intent::Write)?;
    let view = cpu.mode.view;
    cpu.check_alignment(linear, usize::from(BYTES), view)?;
    let value = cpu.port_in(env, op, port, BYTES);
    match BYTES {
        1 => cpu.store(env, op, linear, value as u8)?,
        2 => cpu.store(env, op, linear, value as u16)?,
        _ => cpu.store(env, op, linear, value)?,
    }
    Ok(cpu.end_iteration(op, RDI, BYTES))
}

fn output_string<const BYTES: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let port = cpu.gpr[RDX] as u16;
    cpu.io_allowed(env, port, BYTES)?; // asked even for a count of zero
    if !cpu.iterations_left(op) {
        return Ok(Flow::Next);
    }
    let offset = cpu.gpr[RSI] & Vcpu::string_mask(op);
    let linear = cpu.linear(usize::from(op.seg), offset, u64::from(BYTES), false)?;
    let value = match BYTES {
        1 => u32::from(cpu.load::<u8>(env, op, linear)?),
        2 => u32::from(cpu.load::<u16>(env, op, linear)?),
        _ => cpu.load::<u32>(env, op, linear)?,
    };
    cpu.port_out(env, op, port, BYTES, value);
    Ok(cpu.end_iteration(op, RSI, BYTES))
}
