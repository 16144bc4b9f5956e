//! LLDT, SLDT, LTR, STR: the registers that hold system descriptors.

use super::descriptor::{is_null, kind};
use super::segments::select_rm16;
use crate::fault::{Flow, Trap, vector};
use crate::memory::access::is_canonical;
use crate::op::{Env, Exec, Op};
use crate::segment::{Segment, seg};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

/// The code of an instruction of this family; `None` if `insn` is none.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    Some(match insn.code() {
        Lldt_rm16 | Lldt_r32m16 | Lldt_r64m16 => load_form(insn, op, seg::LDTR),
        Ltr_rm16 | Ltr_r32m16 | Ltr_r64m16 => load_form(insn, op, seg::TR),
        Sldt_rm16 => store_form(insn, op, seg::LDTR, 2),
        Sldt_r32m16 => store_form(insn, op, seg::LDTR, 4),
        Sldt_r64m16 => store_form(insn, op, seg::LDTR, 8),
        Str_rm16 => store_form(insn, op, seg::TR, 2),
        Str_r32m16 => store_form(insn, op, seg::TR, 4),
        Str_r64m16 => store_form(insn, op, seg::TR, 8),
        _ => return None,
    })
}

fn load_form(insn: &Instruction, op: &mut Op, index: usize) -> Exec {
    op.r1 = index as u8;
    select_rm16(insn, op, 0, load_register, load_memory)
}

fn store_form(insn: &Instruction, op: &mut Op, index: usize, size: u8) -> Exec {
    op.r1 = index as u8;
    op.osize = size;
    select_rm16(insn, op, 0, store_register, store_memory)
}

fn check_protected(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.mode.real || cpu.mode.v86 { Err(cpu.ud()) } else { Ok(()) }
}

fn check_load(cpu: &mut Vcpu) -> Result<(), Trap> {
    check_protected(cpu)?;
    if cpu.mode.cpl != 0 { Err(cpu.gp0()) } else { Ok(()) }
}

fn check_store(cpu: &mut Vcpu) -> Result<(), Trap> {
    check_protected(cpu)?;
    if cpu.mode.cpl != 0 && cpu.cr4 & cr::CR4_UMIP != 0 { Err(cpu.gp0()) } else { Ok(()) }
}

fn load_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_load(cpu)?;
    cpu.load_system_register(env, usize::from(op.r1), cpu.gpr[usize::from(op.r2 & 15)] as u16)
}

fn load_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_load(cpu)?;
    let selector = cpu.load_operand16(env, op)?;
    cpu.load_system_register(env, usize::from(op.r1), selector)
}

fn store_register(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_store(cpu)?;
    let selector = u64::from(cpu.seg[usize::from(op.r1)].selector);
    cpu.write_gpr(op.r2, op.osize, selector);
    Ok(Flow::Next)
}

fn store_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_store(cpu)?;
    let selector = cpu.seg[usize::from(op.r1)].selector;
    let linear = cpu.operand_address(op, 2, true)?;
    cpu.store(env, op, linear, selector)?;
    Ok(Flow::Next)
}

impl Vcpu {
    fn load_system_register(&mut self, env: &mut Env<'_>, index: usize, selector: u16) -> Result<Flow, Trap> {
        let task = index == seg::TR;
        if is_null(selector) {
            if task {
                return Err(self.gp0());
            }
            self.seg[index] = Segment::null(selector);
            return Ok(Flow::Next);
        }
        if selector & 4 != 0 {
            return Err(self.gp_selector(selector));
        }
        let descriptor = self.read_descriptor(env, selector, vector::GP)?;
        let right_kind = match descriptor.segment.kind() {
            kind::LDT => !task,
            kind::TSS => task,
            kind::TSS16 => task && !self.long_mode(),
            _ => false,
        };
        if !descriptor.is_system() || !right_kind {
            return Err(self.gp_selector(selector));
        }
        let mut segment = descriptor.segment;
        if self.long_mode() {
            let upper = self.read_upper_half(env, &descriptor, vector::GP)?;
            segment.base |= upper << 32;
            if !is_canonical(segment.base) {
                return Err(self.gp_selector(selector));
            }
        }
        if !descriptor.present() {
            return Err(self.selector_fault(vector::NP, selector));
        }
        if task {
            self.set_busy(env, &descriptor, true)?;
            segment.attr |= 2;
        }
        self.seg[index] = segment;
        Ok(Flow::Next)
    }
}
