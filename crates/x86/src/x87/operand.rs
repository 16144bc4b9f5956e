//! What every x87 instruction starts and ends with: the checks, the pointers to the last
//! instruction, and memory operands of ten bytes.

use super::state::status;
use crate::fault::{Trap, vector};
use crate::memory::phys::PAGE_SIZE;
use crate::op::{Env, Op};
use crate::vcpu::{Vcpu, cr};

/// Checks of an instruction that does not wait for pending exceptions.
///
/// # Errors
/// #NM.
#[inline(always)]
pub fn check_available(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.cr0 & (cr::CR0_EM | cr::CR0_TS) != 0 {
        return Err(cpu.raise(vector::NM));
    }
    Ok(())
}

/// Checks of an instruction that waits: the FPU is there, and no unmasked exception pends.
///
/// # Errors
/// #NM, #MF.
#[inline(always)]
pub fn check(cpu: &mut Vcpu) -> Result<(), Trap> {
    check_available(cpu)?;
    check_pending(cpu)
}

/// The second half of [`check`].
///
/// # Errors
/// #MF.
#[inline(always)]
pub fn check_pending(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.x87.status & status::SUMMARY != 0 {
        return report_pending(cpu);
    }
    Ok(())
}

/// An instruction that waits has found an unmasked exception. With CR0.NE clear, the engine tells the board
/// instead of delivering #MF ([`Vcpu::reports_outside`]); while the board asserts IGNNE#, the exception is ignored
/// (SDM Vol. 3A, 2.5, NE).
///
/// # Errors
/// #MF.
#[cold]
pub fn report_pending(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.x87.is_ignored && cpu.cr0 & cr::CR0_NE == 0 { Ok(()) } else { Err(cpu.raise(vector::MF)) }
}

impl Vcpu {
    /// True if the fault that waits is an x87 exception that the board is to be told of (FERR#) and that is not delivered.
    pub(crate) fn reports_outside(&self) -> bool {
        self.fault.vector == vector::MF && self.cr0 & cr::CR0_NE == 0
    }

    /// The board asserts IGNNE#, as an answer to FERR#: no instruction waits any more for the exception that pends.
    pub fn ignore_numeric_error(&mut self) {
        self.x87.is_ignored = self.x87.status & status::SUMMARY != 0 && self.cr0 & cr::CR0_NE == 0;
    }
}

/// Notes a completed instruction without memory operand in FIP, FCS and, if it left an
/// unmasked exception, FOP.
#[inline(always)]
pub fn note(cpu: &mut Vcpu, op: &Op) {
    cpu.x87.ip = cpu.op_rip(op);
    cpu.x87.cs = if cpu.is_64bit() { 0 } else { cpu.seg[crate::segment::seg::CS].selector };
    if cpu.x87.status & status::SUMMARY != 0 {
        cpu.x87.opcode = (op.extra & 0x7ff) as u16;
    }
}

/// Notes one with a memory operand: FDP and FDS too.
#[inline(always)]
pub fn note_memory(cpu: &mut Vcpu, op: &Op) {
    note(cpu, op);
    cpu.x87.dp = cpu.effective_address(op);
    cpu.x87.ds = if cpu.is_64bit() { 0 } else { cpu.seg[usize::from(op.seg & 7)].selector };
}

/// The linear address `offset` bytes behind `linear`.
#[inline(always)]
pub fn behind(cpu: &Vcpu, linear: u64, offset: u64) -> u64 {
    let sum = linear.wrapping_add(offset);
    if cpu.is_64bit() { sum } else { sum & 0xffff_ffff }
}

/// Loads the ten bytes of an extended or packed decimal operand.
///
/// # Errors
/// Those of the memory access.
pub fn load_ten(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<u128, Trap> {
    let linear = cpu.operand_address(op, 10, false)?;
    let low: u64 = cpu.load(env, op, linear)?;
    let rest = behind(cpu, linear, 8);
    let high: u16 = cpu.load(env, op, rest)?;
    Ok(u128::from(low) | u128::from(high) << 64)
}

/// Stores ten bytes; all or nothing.
///
/// # Errors
/// Those of the memory access.
pub fn store_ten(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, value: u128) -> Result<(), Trap> {
    let linear = cpu.operand_address(op, 10, true)?;
    if linear % PAGE_SIZE > PAGE_SIZE - 10 {
        return cpu.store_bytes(env, op, linear, &value.to_le_bytes()[..10]);
    }
    cpu.store(env, op, linear, value as u64)?;
    cpu.store(env, op, linear + 8, (value >> 64) as u16)
}
