//! LAR, LSL, VERR, VERW, ARPL: asking about a selector without loading it.

use super::descriptor::{Descriptor, is_null, kind, rpl};
use super::segments::{gpr, select_rm16};
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::op::{Env, Exec, Op};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction};

/// The code of an instruction of this family; `None` if `insn` is none.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    Some(match insn.code() {
        Lar_r16_rm16 => query_form(insn, op, 2, lar_register, lar_memory),
        Lar_r32_r32m16 => query_form(insn, op, 4, lar_register, lar_memory),
        Lar_r64_r64m16 => query_form(insn, op, 8, lar_register, lar_memory),
        Lsl_r16_rm16 => query_form(insn, op, 2, lsl_register, lsl_memory),
        Lsl_r32_r32m16 => query_form(insn, op, 4, lsl_register, lsl_memory),
        Lsl_r64_r64m16 => query_form(insn, op, 8, lsl_register, lsl_memory),
        Verr_rm16 | Verr_r32m16 | Verr_r64m16 => select_rm16(insn, op, 0, verr_register, verr_memory),
        Verw_rm16 | Verw_r32m16 | Verw_r64m16 => select_rm16(insn, op, 0, verw_register, verw_memory),
        Arpl_rm16_r16 | Arpl_r32m16_r32 => {
            op.r1 = gpr(insn.op1_register());
            select_rm16(insn, op, 0, arpl_register, arpl_memory)
        }
        _ => return None,
    })
}

fn query_form(insn: &Instruction, op: &mut Op, size: u8, register: Exec, memory: Exec) -> Exec {
    op.r1 = gpr(insn.op0_register());
    op.osize = size;
    select_rm16(insn, op, 1, register, memory)
}

fn check_mode(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.mode.real || cpu.mode.v86 { Err(cpu.ud()) } else { Ok(()) }
}

fn from_register(cpu: &mut Vcpu, op: &Op) -> Result<u16, Trap> {
    check_mode(cpu)?;
    Ok(cpu.gpr[usize::from(op.r2 & 15)] as u16)
}

fn from_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<u16, Trap> {
    check_mode(cpu)?;
    cpu.load_operand16(env, op)
}

fn lar_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_register(cpu, op)?;
    lar(cpu, env, op, selector)
}

fn lar_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_memory(cpu, env, op)?;
    lar(cpu, env, op, selector)
}

fn lsl_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_register(cpu, op)?;
    lsl(cpu, env, op, selector)
}

fn lsl_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_memory(cpu, env, op)?;
    lsl(cpu, env, op, selector)
}

fn verr_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_register(cpu, op)?;
    verify(cpu, env, selector, Descriptor::is_readable)
}

fn verr_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_memory(cpu, env, op)?;
    verify(cpu, env, selector, Descriptor::is_readable)
}

fn verw_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_register(cpu, op)?;
    verify(cpu, env, selector, Descriptor::is_writable_data)
}

fn verw_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = from_memory(cpu, env, op)?;
    verify(cpu, env, selector, Descriptor::is_writable_data)
}

/// The descriptor of a selector, if the running code may know of it.
fn visible(cpu: &mut Vcpu, env: &mut Env<'_>, selector: u16) -> Result<Option<Descriptor>, Trap> {
    if is_null(selector) {
        return Ok(None);
    }
    let level = cpu.mode.cpl.max(rpl(selector));
    let found = cpu.find_descriptor(env, selector)?;
    Ok(found.filter(|descriptor| descriptor.is_conforming_code() || descriptor.dpl() >= level))
}

fn set_zf(cpu: &mut Vcpu, zf: bool) {
    cpu.lazy.replace(flags::ZF, if zf { flags::ZF } else { 0 });
}

fn lar(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, selector: u16) -> Result<Flow, Trap> {
    let long = cpu.long_mode();
    let known = |descriptor: &Descriptor| {
        !descriptor.is_system()
            || match descriptor.segment.kind() {
                kind::LDT | kind::TSS | kind::TSS_BUSY | kind::CALL_GATE => true,
                kind::TSS16 | kind::TSS16_BUSY | kind::CALL_GATE16 | kind::TASK_GATE => !long,
                _ => false,
            }
    };
    let found = visible(cpu, env, selector)?.filter(known);
    if let Some(descriptor) = found {
        // Bits 19 to 16, undefined by the manual, are those of the limit on processors.
        cpu.write_gpr(op.r1, op.osize, descriptor.raw >> 32 & 0x00ff_ff00);
    }
    set_zf(cpu, found.is_some());
    Ok(Flow::Next)
}

fn lsl(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, selector: u16) -> Result<Flow, Trap> {
    let long = cpu.long_mode();
    let known = |descriptor: &Descriptor| {
        !descriptor.is_system()
            || match descriptor.segment.kind() {
                kind::LDT | kind::TSS | kind::TSS_BUSY => true,
                kind::TSS16 | kind::TSS16_BUSY => !long,
                _ => false,
            }
    };
    let found = visible(cpu, env, selector)?.filter(known);
    if let Some(descriptor) = found {
        cpu.write_gpr(op.r1, op.osize, u64::from(descriptor.segment.limit));
    }
    set_zf(cpu, found.is_some());
    Ok(Flow::Next)
}

fn verify(cpu: &mut Vcpu, env: &mut Env<'_>, selector: u16, may: fn(&Descriptor) -> bool) -> Result<Flow, Trap> {
    let found = visible(cpu, env, selector)?.filter(may);
    set_zf(cpu, found.is_some());
    Ok(Flow::Next)
}

/// Raises the RPL of `destination` to that of `source`; `None` if it is high enough.
fn adjusted(destination: u16, source: u16) -> Option<u16> {
    (rpl(destination) < rpl(source)).then_some(destination & !3 | source & 3)
}

fn arpl_register(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_mode(cpu)?;
    let source = cpu.gpr[usize::from(op.r1 & 15)] as u16;
    let new = adjusted(cpu.gpr[usize::from(op.r2 & 15)] as u16, source);
    if let Some(value) = new {
        cpu.write_gpr(op.r2, 2, u64::from(value));
    }
    set_zf(cpu, new.is_some());
    Ok(Flow::Next)
}

fn arpl_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_mode(cpu)?;
    let source = cpu.gpr[usize::from(op.r1 & 15)] as u16;
    // Only a selector that changes is written.
    let linear = cpu.operand_address(op, 2, false)?;
    let destination = cpu.load::<u16>(env, op, linear)?;
    let new = adjusted(destination, source);
    if let Some(value) = new {
        let linear = cpu.operand_address(op, 2, true)?;
        cpu.store(env, op, linear, value)?;
    }
    set_zf(cpu, new.is_some());
    Ok(Flow::Next)
}
