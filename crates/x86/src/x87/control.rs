//! Control instructions: the control and status words, clearing, the stack pointer.

use super::operand::{check, check_available, check_pending, note};
use super::state::{exception, status};
use crate::fault::{Flow, Trap, vector};
use crate::op::{Env, Op};
use crate::vcpu::{Vcpu, cr};

/// FWAIT.
pub fn wait(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if cpu.cr0 & (cr::CR0_MP | cr::CR0_TS) == cr::CR0_MP | cr::CR0_TS {
        return Err(cpu.raise(vector::NM));
    }
    check_pending(cpu)?;
    Ok(Flow::Next)
}

/// FNOP.
pub fn nothing(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    note(cpu, op);
    Ok(Flow::Next)
}

/// FNENI, FNDISI, FNSETPM: instructions of the 8087 and 80287 that do nothing any more.
pub fn obsolete(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    Ok(Flow::Next)
}

/// FLDCW. Unmasking an exception that is set makes it pending.
pub fn load_control(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let linear = cpu.operand_address(op, 2, false)?;
    let value = cpu.load(env, op, linear)?;
    cpu.x87.set_control(value);
    Ok(Flow::Next)
}

/// FNSTCW.
pub fn store_control(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    let linear = cpu.operand_address(op, 2, true)?;
    cpu.store(env, op, linear, cpu.x87.control)?;
    Ok(Flow::Next)
}

/// FNSTSW to memory.
pub fn store_status(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    let linear = cpu.operand_address(op, 2, true)?;
    cpu.store(env, op, linear, cpu.x87.status)?;
    Ok(Flow::Next)
}

/// FNSTSW AX.
pub fn store_status_ax(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    cpu.gpr[0] = (cpu.gpr[0] & !0xffff) | u64::from(cpu.x87.status);
    Ok(Flow::Next)
}

/// FNCLEX.
pub fn clear_exceptions(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    cpu.x87.status &= !(exception::ALL | status::STACK_FAULT);
    cpu.x87.update_summary();
    Ok(Flow::Next)
}

/// FNINIT.
pub fn initialise(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    check_available(cpu)?;
    cpu.x87.initialise();
    Ok(Flow::Next)
}

/// FINCSTP and FDECSTP: TOP moves by `Op::r1`, modulo 8.
pub fn move_top(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    fpu.set_top(fpu.top() + usize::from(op.r1));
    fpu.set_codes(status::C1, 0);
    note(cpu, op);
    Ok(Flow::Next)
}

/// FFREE and, with `Op::r3` set, FFREEP.
pub fn free(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check(cpu)?;
    let fpu = &mut cpu.x87;
    fpu.valid &= !(1 << fpu.slot(usize::from(op.r1)));
    fpu.set_codes(status::C1, 0);
    if op.r3 != 0 {
        fpu.pop();
    }
    note(cpu, op);
    Ok(Flow::Next)
}
