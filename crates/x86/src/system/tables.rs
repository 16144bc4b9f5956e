//! SGDT, SIDT, LGDT and LIDT.

use crate::fault::{Flow, Trap};
use crate::memory::access::is_canonical;
use crate::op::{Env, Exec, Op};
use crate::segment::TableRegister;
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction};

/// The code of the instructions of this file. `r3` is 1 where a load takes 24 bits of base.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    op.r3 = u8::from(matches!(insn.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16));
    Some(match insn.code() {
        Code::Sgdt_m1632_16 | Code::Sgdt_m1632 | Code::Sgdt_m1664 => sgdt,
        Code::Sidt_m1632_16 | Code::Sidt_m1632 | Code::Sidt_m1664 => sidt,
        Code::Lgdt_m1632_16 | Code::Lgdt_m1632 | Code::Lgdt_m1664 => lgdt,
        Code::Lidt_m1632_16 | Code::Lidt_m1632 | Code::Lidt_m1664 => lidt,
        _ => return None,
    })
}

/// Bytes of the memory operand: limit and base.
fn operand_bytes(cpu: &Vcpu) -> usize {
    if cpu.is_64bit() { 10 } else { 6 }
}

/// Processors since the 386 store all 32 bits of the base with a 16-bit operand size too.
fn store(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, table: TableRegister) -> Result<Flow, Trap> {
    cpu.require_umip()?;
    let bytes = operand_bytes(cpu);
    let image = u128::from(table.limit) | u128::from(table.base) << 16;
    let linear = cpu.operand_address(op, bytes, true)?;
    cpu.store_bytes(env, op, linear, &image.to_le_bytes()[..bytes])?;
    Ok(Flow::Next)
}

fn load(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<TableRegister, Trap> {
    cpu.require_cpl0()?;
    let bytes = operand_bytes(cpu);
    let linear = cpu.operand_address(op, bytes, false)?;
    let mut image = [0; 16];
    cpu.load_bytes(env, op, linear, &mut image[..bytes])?;
    let image = u128::from_le_bytes(image);
    let mut base = (image >> 16) as u64;
    if cpu.is_64bit() {
        if !is_canonical(base) {
            return Err(cpu.gp0());
        }
    } else if op.r3 != 0 {
        base &= 0xff_ffff;
    }
    Ok(TableRegister { base, limit: image as u16 })
}

fn sgdt(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    store(cpu, env, op, cpu.gdtr)
}

fn sidt(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    store(cpu, env, op, cpu.idtr)
}

fn lgdt(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.gdtr = load(cpu, env, op)?;
    Ok(Flow::Next)
}

fn lidt(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.idtr = load(cpu, env, op)?;
    Ok(Flow::Next)
}
