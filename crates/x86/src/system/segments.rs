//! Instructions that move segment registers: MOV, PUSH, POP, LDS and its kin, and the
//! instructions that reach the FS and GS bases.

use super::{descriptor_query, descriptor_tables, far, interrupt, iret, syscall};
use crate::fault::{Flow, Trap};
use crate::memory::access::is_canonical;
use crate::op::{Env, Exec, Op};
use crate::segment::seg;
use crate::vcpu::{Shadow, Vcpu, cr};
use iced_x86::{Code, Instruction, OpKind, Register};

/// The code of an instruction of this family or of the far transfers, interrupts and fast
/// system calls; `None` if `insn` is none of them.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    select_moves(insn, op)
        .or_else(|| select_bases(insn, op))
        .or_else(|| interrupt::select(insn, op))
        .or_else(|| far::select(insn, op))
        .or_else(|| iret::select(insn, op))
        .or_else(|| syscall::select(insn, op))
        .or_else(|| descriptor_tables::select(insn, op))
        .or_else(|| descriptor_query::select(insn, op))
}

/// The slot in `Vcpu::gpr` of a 16-, 32- or 64-bit register.
pub(crate) fn gpr(register: Register) -> u8 {
    register.number() as u8
}

fn select_moves(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    Some(match insn.code() {
        Mov_Sreg_rm16 | Mov_Sreg_r32m16 | Mov_Sreg_r64m16 => {
            op.r1 = gpr(insn.op0_register());
            select_rm16(insn, op, 1, mov_to_segment, mov_to_segment_from_memory)
        }
        Mov_rm16_Sreg => select_store(insn, op, 2),
        Mov_r32m16_Sreg => select_store(insn, op, 4),
        Mov_r64m16_Sreg => select_store(insn, op, 8),
        Pushw_ES | Pushw_CS | Pushw_SS | Pushw_DS | Pushw_FS | Pushw_GS => stack_form(insn, op, 2, push),
        Pushd_ES | Pushd_CS | Pushd_SS | Pushd_DS | Pushd_FS | Pushd_GS => stack_form(insn, op, 4, push),
        Pushq_FS | Pushq_GS => stack_form(insn, op, 8, push),
        Popw_ES | Popw_SS | Popw_DS | Popw_FS | Popw_GS => stack_form(insn, op, 2, pop),
        Popd_ES | Popd_SS | Popd_DS | Popd_FS | Popd_GS => stack_form(insn, op, 4, pop),
        Popq_FS | Popq_GS => stack_form(insn, op, 8, pop),
        Les_r16_m1616 => far_load(insn, op, seg::ES, 2),
        Les_r32_m1632 => far_load(insn, op, seg::ES, 4),
        Lds_r16_m1616 => far_load(insn, op, seg::DS, 2),
        Lds_r32_m1632 => far_load(insn, op, seg::DS, 4),
        Lss_r16_m1616 => far_load(insn, op, seg::SS, 2),
        Lss_r32_m1632 => far_load(insn, op, seg::SS, 4),
        Lss_r64_m1664 => far_load(insn, op, seg::SS, 8),
        Lfs_r16_m1616 => far_load(insn, op, seg::FS, 2),
        Lfs_r32_m1632 => far_load(insn, op, seg::FS, 4),
        Lfs_r64_m1664 => far_load(insn, op, seg::FS, 8),
        Lgs_r16_m1616 => far_load(insn, op, seg::GS, 2),
        Lgs_r32_m1632 => far_load(insn, op, seg::GS, 4),
        Lgs_r64_m1664 => far_load(insn, op, seg::GS, 8),
        _ => return None,
    })
}

/// Fills `r2` from operand `n` if it is a register; chooses between the register and memory forms.
pub(crate) fn select_rm16(insn: &Instruction, op: &mut Op, n: u32, register: Exec, memory: Exec) -> Exec {
    if insn.op_kind(n) == OpKind::Register {
        op.r2 = gpr(insn.op_register(n));
        register
    } else {
        memory
    }
}

fn select_store(insn: &Instruction, op: &mut Op, size: u8) -> Exec {
    op.osize = size;
    op.r1 = gpr(insn.op1_register());
    select_rm16(insn, op, 0, mov_from_segment, mov_from_segment_to_memory)
}

fn stack_form(insn: &Instruction, op: &mut Op, size: u8, exec: Exec) -> Exec {
    op.osize = size;
    op.r1 = gpr(insn.op0_register());
    op.seg = seg::SS as u8;
    exec
}

fn far_load(insn: &Instruction, op: &mut Op, segment: usize, size: u8) -> Exec {
    op.osize = size;
    op.r1 = gpr(insn.op0_register());
    op.r3 = segment as u8;
    load_far_pointer
}

impl Vcpu {
    /// Writes a general register in an operand size of 2, 4 (clearing the upper half) or 8 bytes.
    pub(crate) fn write_gpr(&mut self, slot: u8, size: u8, value: u64) {
        let register = &mut self.gpr[usize::from(slot & 15)];
        *register = match size {
            2 => *register & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// Reads the 16-bit memory operand of `op`.
    pub(crate) fn load_operand16(&mut self, env: &mut Env<'_>, op: &Op) -> Result<u16, Trap> {
        let linear = self.operand_address(op, 2, false)?;
        self.load(env, op, linear)
    }

    /// Reads a far pointer: the offset of `size` bytes, then the selector.
    pub(crate) fn load_far_operand(&mut self, env: &mut Env<'_>, op: &Op, size: u8) -> Result<(u16, u64), Trap> {
        let linear = self.operand_address(op, usize::from(size) + 2, false)?;
        let offset = match size {
            2 => u64::from(self.load::<u16>(env, op, linear)?),
            4 => u64::from(self.load::<u32>(env, op, linear)?),
            _ => self.load::<u64>(env, op, linear)?,
        };
        let behind = linear.wrapping_add(u64::from(size));
        let behind = if self.is_64bit() { behind } else { behind & 0xffff_ffff };
        Ok((self.load::<u16>(env, op, behind)?, offset))
    }

    /// The end of MOV or POP to a segment register.
    fn loaded_segment(&mut self, index: usize) -> Flow {
        if index == seg::SS {
            self.shadow = Shadow::MovSs;
            Flow::Leave
        } else {
            Flow::Next
        }
    }
}

fn mov_to_segment(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let index = usize::from(op.r1);
    cpu.load_segment(env, index, cpu.gpr[usize::from(op.r2 & 15)] as u16)?;
    Ok(cpu.loaded_segment(index))
}

fn mov_to_segment_from_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let index = usize::from(op.r1);
    let selector = cpu.load_operand16(env, op)?;
    cpu.load_segment(env, index, selector)?;
    Ok(cpu.loaded_segment(index))
}

fn mov_from_segment(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = u64::from(cpu.seg[usize::from(op.r1)].selector);
    cpu.write_gpr(op.r2, op.osize, selector);
    Ok(Flow::Next)
}

fn mov_from_segment_to_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = cpu.seg[usize::from(op.r1)].selector;
    let linear = cpu.operand_address(op, 2, true)?;
    cpu.store(env, op, linear, selector)?;
    Ok(Flow::Next)
}

/// Slots are 2, 4 or 8 bytes; only the selector's two are written, as processors do.
fn push(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let slot = u64::from(op.osize);
    let selector = cpu.seg[usize::from(op.r1)].selector;
    let sp = cpu.stack_pointer().wrapping_sub(slot) & cpu.mode.sp_mask;
    let linear = cpu.stack_linear(sp, slot, true)?;
    if op.osize == 8 {
        cpu.store(env, op, linear, u64::from(selector))?;
    } else {
        cpu.store(env, op, linear, selector)?;
    }
    cpu.set_stack_pointer(sp);
    Ok(Flow::Next)
}

fn pop(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let index = usize::from(op.r1);
    let sp = cpu.stack_pointer();
    let linear = cpu.stack_linear(sp, 2, false)?;
    let selector = cpu.load::<u16>(env, op, linear)?;
    // The pointer moves in the width of the old stack, whatever POP SS loads.
    let mask = cpu.mode.sp_mask;
    cpu.load_segment(env, index, selector)?;
    cpu.gpr[4] = cpu.gpr[4] & !mask | sp.wrapping_add(u64::from(op.osize)) & mask;
    Ok(cpu.loaded_segment(index))
}

/// LDS, LES, LFS, LGS, LSS.
fn load_far_pointer(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (selector, offset) = cpu.load_far_operand(env, op, op.osize)?;
    let index = usize::from(op.r3);
    cpu.load_segment(env, index, selector)?;
    cpu.write_gpr(op.r1, op.osize, offset);
    Ok(if index == seg::SS { Flow::Leave } else { Flow::Next })
}

fn select_bases(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    let (exec, segment, size): (Exec, usize, u8) = match insn.code() {
        Rdfsbase_r32 => (read_base, seg::FS, 4),
        Rdfsbase_r64 => (read_base, seg::FS, 8),
        Rdgsbase_r32 => (read_base, seg::GS, 4),
        Rdgsbase_r64 => (read_base, seg::GS, 8),
        Wrfsbase_r32 => (write_base, seg::FS, 4),
        Wrfsbase_r64 => (write_base, seg::FS, 8),
        Wrgsbase_r32 => (write_base, seg::GS, 4),
        Wrgsbase_r64 => (write_base, seg::GS, 8),
        Swapgs => return Some(swapgs),
        _ => return None,
    };
    op.r1 = gpr(insn.op0_register());
    op.r3 = segment as u8;
    op.osize = size;
    Some(exec)
}

fn check_base_access(cpu: &mut Vcpu) -> Result<(), Trap> {
    if !cpu.is_64bit() || cpu.cr4 & cr::CR4_FSGSBASE == 0 { Err(cpu.ud()) } else { Ok(()) }
}

fn read_base(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_base_access(cpu)?;
    let base = cpu.seg[usize::from(op.r3)].base;
    cpu.write_gpr(op.r1, op.osize, base);
    Ok(Flow::Next)
}

fn write_base(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    check_base_access(cpu)?;
    let value = cpu.gpr[usize::from(op.r1 & 15)];
    let base = if op.osize == 4 { value & 0xffff_ffff } else { value };
    if !is_canonical(base) {
        return Err(cpu.gp0());
    }
    cpu.seg[usize::from(op.r3)].base = base;
    Ok(Flow::Next)
}

fn swapgs(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if !cpu.is_64bit() {
        return Err(cpu.ud());
    }
    if cpu.mode.cpl != 0 {
        return Err(cpu.gp0());
    }
    std::mem::swap(&mut cpu.seg[seg::GS].base, &mut cpu.msrs.kernel_gs_base);
    Ok(Flow::Next)
}
