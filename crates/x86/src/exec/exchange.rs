//! XCHG, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B. LOCK changes nothing: the vCPUs take turns.

use super::alu::{Add, Binary, Cmp};
use super::by_size;
use super::reg::Reg;
use crate::decode::operands::{gpr, is_memory, is_register, operand_bytes};
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::memory::paging::Intent;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Instruction, Mnemonic};

const RAX: u8 = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;

fn xchg_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (a, b) = (T::get(cpu, op.r1), T::get(cpu, op.r2));
    T::set(cpu, op.r1, b);
    T::set(cpu, op.r2, a);
    Ok(Flow::Next)
}

/// With memory; the register is `r2`.
fn xchg_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let old: T = cpu.load_for_write(env, op, linear)?;
    cpu.store(env, op, linear, T::get(cpu, op.r2))?;
    T::set(cpu, op.r2, old);
    Ok(Flow::Next)
}

fn xadd_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (a, b) = (T::get(cpu, op.r1), T::get(cpu, op.r2));
    let sum = Add::apply(&mut cpu.lazy, a, b);
    T::set(cpu, op.r2, a);
    T::set(cpu, op.r1, sum);
    Ok(Flow::Next)
}

fn xadd_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let old: T = cpu.load_for_write(env, op, linear)?;
    let mut lazy = cpu.lazy;
    let sum = Add::apply(&mut lazy, old, T::get(cpu, op.r2));
    cpu.store(env, op, linear, sum)?;
    T::set(cpu, op.r2, old);
    cpu.lazy = lazy;
    Ok(Flow::Next)
}

fn cmpxchg_reg<T: Reg>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (accumulator, old) = (T::get(cpu, RAX), T::get(cpu, op.r1));
    Cmp::apply(&mut cpu.lazy, accumulator, old);
    if cpu.lazy.zf() {
        let new = T::get(cpu, op.r2);
        T::set(cpu, op.r1, new);
    } else {
        T::set(cpu, RAX, old);
    }
    Ok(Flow::Next)
}

/// The destination is always written, with its old value if they differ (SDM Vol. 2A, CMPXCHG).
fn cmpxchg_mem<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, T::BYTES, true)?;
    let old: T = cpu.load_for_write(env, op, linear)?;
    let mut lazy = cpu.lazy;
    Cmp::apply(&mut lazy, T::get(cpu, RAX), old);
    let equal = lazy.zf();
    let new = if equal { T::get(cpu, op.r2) } else { old };
    cpu.store(env, op, linear, new)?;
    if !equal {
        T::set(cpu, RAX, old);
    }
    cpu.lazy = lazy;
    Ok(Flow::Next)
}

fn cmpxchg8b(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, 8, true)?;
    let old: u64 = cpu.load_for_write(env, op, linear)?;
    let expected = cpu.gpr[RDX] << 32 | cpu.gpr[usize::from(RAX)] & 0xffff_ffff;
    let equal = old == expected;
    let new = if equal { cpu.gpr[RCX] << 32 | cpu.gpr[RBX] & 0xffff_ffff } else { old };
    cpu.store(env, op, linear, new)?;
    if !equal {
        cpu.gpr[usize::from(RAX)] = old & 0xffff_ffff;
        cpu.gpr[RDX] = old >> 32;
    }
    cpu.lazy.replace(flags::ZF, if equal { flags::ZF } else { 0 });
    Ok(Flow::Next)
}

fn cmpxchg16b(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let linear = cpu.operand_address(op, 16, true)?;
    if !linear.is_multiple_of(16) {
        return Err(cpu.gp0());
    }
    cpu.probe(env, op, linear, 16, Intent::Write)?;
    let low: u64 = cpu.load_for_write(env, op, linear)?;
    let high: u64 = cpu.load_for_write(env, op, linear.wrapping_add(8))?;
    let equal = low == cpu.gpr[usize::from(RAX)] && high == cpu.gpr[RDX];
    let (new_low, new_high) = if equal { (cpu.gpr[RBX], cpu.gpr[RCX]) } else { (low, high) };
    cpu.store(env, op, linear, new_low)?;
    cpu.store(env, op, linear.wrapping_add(8), new_high)?;
    if !equal {
        cpu.gpr[usize::from(RAX)] = low;
        cpu.gpr[RDX] = high;
    }
    cpu.lazy.replace(flags::ZF, if equal { flags::ZF } else { 0 });
    Ok(Flow::Next)
}

/// See [`super::select`].
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let bytes = operand_bytes(insn, 0);
    let memory = is_memory(insn, 0);
    match insn.mnemonic() {
        Mnemonic::Cmpxchg8b => return Some(cmpxchg8b),
        Mnemonic::Cmpxchg16b => return Some(cmpxchg16b),
        Mnemonic::Xchg | Mnemonic::Xadd | Mnemonic::Cmpxchg => {}
        _ => return None,
    }
    if is_register(insn, 0) {
        op.r1 = gpr(insn.op0_register());
    }
    op.r2 = gpr(insn.op1_register());
    match (insn.mnemonic(), memory) {
        (Mnemonic::Xchg, false) => by_size!(bytes, xchg_reg),
        (Mnemonic::Xchg, true) => by_size!(bytes, xchg_mem),
        (Mnemonic::Xadd, false) => by_size!(bytes, xadd_reg),
        (Mnemonic::Xadd, true) => by_size!(bytes, xadd_mem),
        (_, false) => by_size!(bytes, cmpxchg_reg),
        (_, true) => by_size!(bytes, cmpxchg_mem),
    }
}
