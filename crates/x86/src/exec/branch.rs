//! Near jumps, calls and returns, Jcc, LOOP and JCXZ.

use super::reg::Reg;
use super::{by_condition, by_size_from_word};
use crate::decode::operands::{gpr, is_memory, is_register};
use crate::fault::{Flow, Trap};
use crate::memory::access::is_canonical;
use crate::op::{AddressMode, Env, Exec, Op};
use crate::segment::seg;
use crate::vcpu::{GPR_PAGE_RIP, Vcpu};
use iced_x86::{Code, Instruction, Mnemonic};

const RCX: usize = 1;

impl Vcpu {
    /// Jumps within the code segment.
    ///
    /// # Errors
    /// #GP(0) if `target` is not canonical or beyond the segment's limit; RIP is unchanged then.
    #[inline(always)]
    pub fn jump_near(&mut self, target: u64) -> Result<Flow, Trap> {
        let valid = if self.is_64bit() { is_canonical(target) } else { target <= u64::from(self.seg[seg::CS].limit) };
        if !valid {
            return Err(self.gp0());
        }
        self.rip = target;
        Ok(Flow::Jump)
    }

    /// The target of a relative branch whose operand size is that of `T`.
    #[inline(always)]
    fn relative_target<T: Reg>(&self, op: &Op) -> u64 {
        T::from_u64(self.gpr[GPR_PAGE_RIP].wrapping_add(op.imm)).to_u64()
    }
}

fn jmp<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let target = cpu.relative_target::<T>(op);
    cpu.jump_near(target)
}

fn jmp_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let target = T::get(cpu, op.r1).to_u64();
    cpu.jump_near(target)
}

fn jmp_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let target: T = cpu.load(env, op, linear)?;
    cpu.jump_near(target.to_u64())
}

/// Pushes the return address and jumps.
#[inline(always)]
fn call_to<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, target: u64) -> Result<Flow, Trap> {
    let back = cpu.next_rip(op);
    let rip = cpu.rip;
    let flow = match cpu.jump_near(target) {
        Ok(flow) => flow,
        Err(trap) if !cpu.is_64bit() => return Err(trap),
        Err(_) => return Err(call_to_nowhere(cpu, env, op, back)),
    };
    if let Err(trap) = cpu.push(env, op, T::from_u64(back)) {
        cpu.rip = rip;
        return Err(trap);
    }
    Ok(flow)
}

/// A call to an address that is not canonical: the processor writes the return address to the
/// stack before it finds out, and leaves RSP alone.
#[cold]
fn call_to_nowhere(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, back: u64) -> Trap {
    let sp = cpu.stack_pointer();
    if let Err(trap) = cpu.push(env, op, back) {
        return trap;
    }
    cpu.set_stack_pointer(sp);
    cpu.gp0()
}

fn call<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let target = cpu.relative_target::<T>(op);
    call_to::<T>(cpu, env, op, target)
}

fn call_reg<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let target = T::get(cpu, op.r1).to_u64();
    call_to::<T>(cpu, env, op, target)
}

fn call_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, false)?;
    let target: T = cpu.load(env, op, linear)?;
    call_to::<T>(cpu, env, op, target.to_u64())
}

/// RET and RET n: `op.imm` bytes are released behind the return address.
fn ret<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let sp = cpu.stack_pointer();
    let target: T = cpu.pop(env, op)?;
    match cpu.jump_near(target.to_u64()) {
        Ok(flow) => {
            cpu.set_stack_pointer(sp.wrapping_add(T::BYTES as u64).wrapping_add(op.imm & 0xffff));
            Ok(flow)
        }
        Err(trap) => {
            cpu.set_stack_pointer(sp);
            Err(trap)
        }
    }
}

fn jcc<T: Reg, const CC: u8>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if !cpu.lazy.condition::<CC>() {
        return Ok(Flow::Next);
    }
    let target = cpu.relative_target::<T>(op);
    cpu.jump_near(target)
}

/// The count register in the width of the address size.
fn count_mask(op: &Op) -> u64 {
    match op.amode {
        AddressMode::Flat64 | AddressMode::Based64 => u64::MAX,
        AddressMode::Truncated64 | AddressMode::Segment32 => 0xffff_ffff,
        AddressMode::Segment16 => 0xffff,
    }
}

fn jcxz<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.gpr[RCX] & count_mask(op) != 0 {
        return Ok(Flow::Next);
    }
    let target = cpu.relative_target::<T>(op);
    cpu.jump_near(target)
}

/// LOOP (`r3` 0), LOOPE (1), LOOPNE (2).
fn loop_count<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let mask = count_mask(op);
    let count = cpu.gpr[RCX].wrapping_sub(1) & mask;
    let again = match op.r3 {
        0 => true,
        1 => cpu.lazy.zf(),
        _ => !cpu.lazy.zf(),
    };
    let flow = if count != 0 && again {
        let target = cpu.relative_target::<T>(op);
        cpu.jump_near(target)?
    } else {
        Flow::Next
    };
    cpu.gpr[RCX] = match mask {
        0xffff => cpu.gpr[RCX] & !0xffff | count,
        _ => count,
    };
    Ok(flow)
}

/// The size of a near branch's instruction pointer, in bytes.
fn target_bytes(insn: &Instruction) -> usize {
    use iced_x86::OpKind;
    match insn.op0_kind() {
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        OpKind::NearBranch64 => 8,
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = target_bytes(insn);
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    if insn.is_jcc_short_or_near() {
        let cc = super::moves::condition(insn)?;
        return Some(match bytes {
            2 => by_condition!(cc, jcc, u16),
            4 => by_condition!(cc, jcc, u32),
            _ => by_condition!(cc, jcc, u64),
        });
    }
    let near_indirect = insn.is_jmp_near_indirect() || insn.is_call_near_indirect();
    match insn.mnemonic() {
        Mnemonic::Jmp if insn.is_jmp_short_or_near() => by_size_from_word!(bytes, jmp),
        Mnemonic::Jmp if near_indirect && is_memory(insn, 0) => by_size_from_word!(bytes, jmp_mem),
        Mnemonic::Jmp if near_indirect => by_size_from_word!(bytes, jmp_reg),
        Mnemonic::Call if insn.is_call_near() => by_size_from_word!(bytes, call),
        Mnemonic::Call if near_indirect && is_memory(insn, 0) => by_size_from_word!(bytes, call_mem),
        Mnemonic::Call if near_indirect => by_size_from_word!(bytes, call_reg),
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => by_size_from_word!(bytes, jcxz),
        Mnemonic::Loop => by_size_from_word!(bytes, loop_count),
        Mnemonic::Loope => {
            op.r3 = 1;
            by_size_from_word!(bytes, loop_count)
        }
        Mnemonic::Loopne => {
            op.r3 = 2;
            by_size_from_word!(bytes, loop_count)
        }
        _ => match insn.code() {
            Code::Retnw | Code::Retnw_imm16 => Some(ret::<u16>),
            Code::Retnd | Code::Retnd_imm16 => Some(ret::<u32>),
            Code::Retnq | Code::Retnq_imm16 => Some(ret::<u64>),
            _ => None,
        },
    }
}
