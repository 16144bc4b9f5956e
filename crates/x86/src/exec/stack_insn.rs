//! PUSH, POP, PUSHA, POPA, ENTER and LEAVE. Segment registers and flags are the system family's.

use super::by_size_from_word;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_memory, is_register};
use crate::fault::{Flow, Trap};
use crate::memory::paging::Intent;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction, Mnemonic};

const RSP: usize = 4;
const RBP: usize = 5;

fn push_reg<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value = T::get(cpu, op.r1);
    cpu.push(env, op, value)?;
    Ok(Flow::Next)
}

fn push_imm<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.push(env, op, T::from_u64(op.imm))?;
    Ok(Flow::Next)
}

fn push_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let value: T = cpu.load(env, op, linear)?;
    cpu.push(env, op, value)?;
    Ok(Flow::Next)
}

fn pop_reg<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let value: T = cpu.pop(env, op)?;
    T::set(cpu, op.r1, value);
    Ok(Flow::Next)
}

/// POP to memory: an address that uses RSP sees it already incremented (SDM Vol. 2B, POP).
fn pop_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let rsp = cpu.gpr[RSP];
    let value: T = cpu.pop(env, op)?;
    let stored = match cpu.operand_address(op, T::BYTES, true) {
        Ok(linear) => cpu.store(env, op, linear, value),
        Err(trap) => Err(trap),
    };
    if let Err(trap) = stored {
        cpu.gpr[RSP] = rsp;
        return Err(trap);
    }
    Ok(Flow::Next)
}

/// PUSHA and PUSHAD: all or nothing.
fn pusha<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let rsp = cpu.gpr[RSP];
    let values: [T; 8] = std::array::from_fn(|r| T::get(cpu, r as u8));
    for value in values {
        if let Err(trap) = cpu.push(env, op, value) {
            cpu.gpr[RSP] = rsp;
            return Err(trap);
        }
    }
    Ok(Flow::Next)
}

/// POPA and POPAD: the saved stack pointer is skipped.
fn popa<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let rsp = cpu.gpr[RSP];
    let mut values = [T::from_u64(0); 8];
    for value in values.iter_mut().rev() {
        match cpu.pop(env, op) {
            Ok(popped) => *value = popped,
            Err(trap) => {
                cpu.gpr[RSP] = rsp;
                return Err(trap);
            }
        }
    }
    for (r, value) in values.into_iter().enumerate().filter(|&(r, _)| r != RSP) {
        T::set(cpu, r as u8, value);
    }
    Ok(Flow::Next)
}

/// ENTER: `imm` is the frame size, `r3` the nesting level (SDM Vol. 2A, ENTER).
fn enter<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (rsp, rbp) = (cpu.gpr[RSP], cpu.gpr[RBP]);
    let result = enter_frame::<T>(cpu, env, op);
    if result.is_err() {
        cpu.gpr[RSP] = rsp;
        cpu.gpr[RBP] = rbp;
    }
    result
}

fn enter_frame<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let mask = cpu.mode.sp_mask;
    let mut frame_link = cpu.gpr[RBP] & mask;
    cpu.push(env, op, T::get(cpu, RBP as u8))?;
    // All of ESP, also on a 16-bit stack.
    let frame = cpu.gpr[RSP];
    let level = op.r3 & 31;
    for _ in 1..level {
        frame_link = frame_link.wrapping_sub(T::BYTES as u64) & mask;
        let linear = cpu.stack_linear(frame_link, T::BYTES as u64, false)?;
        let link: T = cpu.load(env, op, linear)?;
        cpu.push(env, op, link)?;
    }
    if level > 0 {
        cpu.push(env, op, T::from_u64(frame))?;
    }
    let sp = cpu.stack_pointer().wrapping_sub(op.imm & 0xffff) & mask;
    // The new top must be writable: ENTER probes it.
    let linear = cpu.stack_linear(sp, T::BYTES as u64, true)?;
    cpu.probe(env, op, linear, T::BYTES, Intent::Write)?;
    cpu.set_stack_pointer(sp);
    T::set(cpu, RBP as u8, T::from_u64(frame));
    Ok(Flow::Next)
}

fn leave<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let sp = cpu.gpr[RBP] & cpu.mode.sp_mask;
    let linear = cpu.stack_linear(sp, T::BYTES as u64, false)?;
    let frame: T = cpu.load(env, op, linear)?;
    cpu.set_stack_pointer(sp.wrapping_add(T::BYTES as u64));
    T::set(cpu, RBP as u8, frame);
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = usize::from(stack_operand_bytes(insn));
    match insn.mnemonic() {
        Mnemonic::Push if is_register(insn, 0) => {
            if !insn.op0_register().is_gpr() {
                return None;
            }
            op.r1 = gpr(insn.op0_register());
            by_size_from_word!(bytes, push_reg)
        }
        Mnemonic::Push if is_memory(insn, 0) => by_size_from_word!(bytes, push_mem),
        Mnemonic::Push => by_size_from_word!(bytes, push_imm),
        Mnemonic::Pop if is_register(insn, 0) => {
            if !insn.op0_register().is_gpr() {
                return None;
            }
            op.r1 = gpr(insn.op0_register());
            by_size_from_word!(bytes, pop_reg)
        }
        Mnemonic::Pop => by_size_from_word!(bytes, pop_mem),
        _ => select_frames(insn, op),
    }
}

fn select_frames(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.r3 = match insn.mnemonic() {
        Mnemonic::Enter => insn.immediate8_2nd(),
        _ => op.r3,
    };
    Some(match insn.code() {
        Code::Pushaw => pusha::<u16>,
        Code::Pushad => pusha::<u32>,
        Code::Popaw => popa::<u16>,
        Code::Popad => popa::<u32>,
        Code::Enterw_imm16_imm8 => enter::<u16>,
        Code::Enterd_imm16_imm8 => enter::<u32>,
        Code::Enterq_imm16_imm8 => enter::<u64>,
        Code::Leavew => leave::<u16>,
        Code::Leaved => leave::<u32>,
        Code::Leaveq => leave::<u64>,
        _ => return None,
    })
}

/// How many bytes a PUSH or POP moves: iced knows it as the change of RSP.
fn stack_operand_bytes(insn: &Instruction) -> u8 {
    insn.stack_pointer_increment().unsigned_abs() as u8
}
