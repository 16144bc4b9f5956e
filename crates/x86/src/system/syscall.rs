//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, as Intel processors do them (SDM Vol. 2).

use super::debug::DR6_BS;
use super::descriptor::is_null;
use super::interrupt::jumped;
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::memory::access::is_canonical;
use crate::op::{Env, Exec, Op};
use crate::segment::{ATTR_ACCESSED, ATTR_CODE, ATTR_DB, ATTR_G, ATTR_L, ATTR_P, ATTR_RW, ATTR_S, Segment, seg};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const R11: usize = 11;

/// The code of a fast system call; `None` if `insn` is none.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let (exec, size): (Exec, u8) = match insn.code() {
        Code::Syscall => (syscall, 8),
        Code::Sysretd => (sysret, 4),
        Code::Sysretq => (sysret, 8),
        Code::Sysenter => (sysenter, 4),
        Code::Sysexitd => (sysexit, 4),
        Code::Sysexitq => (sysexit, 8),
        _ => return None,
    };
    op.osize = size;
    Some(exec)
}

/// The fixed flat segments: base 0, limit 4 GiB, read from no table.
fn flat(selector: u16, cpl: u8, attr: u32) -> Segment {
    let fixed = ATTR_P | ATTR_S | ATTR_G | ATTR_RW | ATTR_ACCESSED | u32::from(cpl) << 5;
    Segment { selector, base: 0, limit: u32::MAX, attr: fixed | attr }
}

impl Vcpu {
    /// Loads the flat code segment of `selector` at level `cpl`, and the stack segment behind it.
    fn enter_flat(&mut self, code: u16, stack: u16, cpl: u8, is_64bit: bool, rip: u64) {
        self.seg[seg::SS] = flat(stack, cpl, ATTR_DB);
        let size = if is_64bit { ATTR_L } else { ATTR_DB };
        self.commit_cs(flat(code, cpl, ATTR_CODE | size), rip);
    }

    /// SYSCALL and SYSRET make their single-step trap by the TF that they load, so that a kernel
    /// that masks TF is not stepped, and SYSRET completes the step of the SYSCALL.
    fn step_by_new_flags(&mut self) {
        let trap = if self.rflags_system & flags::TF != 0 { DR6_BS } else { 0 };
        self.debug_pending = self.debug_pending & !DR6_BS | trap;
    }
}

fn syscall(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.efer & cr::EFER_SCE == 0 || !cpu.is_64bit() {
        return Err(cpu.ud());
    }
    cpu.gpr[RCX] = cpu.next_rip(op);
    let flags = cpu.rflags() & !flags::RF;
    cpu.gpr[R11] = flags;
    cpu.set_rflags(flags & !cpu.msrs.fmask);
    cpu.step_by_new_flags();
    let selector = (cpu.msrs.star >> 32) as u16;
    cpu.enter_flat(selector & 0xfffc, (selector & 0xfffc).wrapping_add(8), 0, true, cpu.msrs.lstar);
    Ok(jumped(env))
}

fn sysret(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.efer & cr::EFER_SCE == 0 || !cpu.is_64bit() {
        return Err(cpu.ud());
    }
    let to_64bit = op.osize == 8;
    let rcx = cpu.gpr[RCX];
    // A non-canonical target faults here, in ring 0, before anything has changed.
    if cpu.mode.cpl != 0 || (to_64bit && !is_canonical(rcx)) {
        return Err(cpu.gp0());
    }
    cpu.set_rflags(cpu.gpr[R11] & flags::ALL & !(flags::RF | flags::VM));
    cpu.step_by_new_flags();
    let selector = (cpu.msrs.star >> 48) as u16;
    let (code, rip) = if to_64bit { (selector.wrapping_add(16), rcx) } else { (selector, rcx & 0xffff_ffff) };
    cpu.enter_flat(code | 3, selector.wrapping_add(8) | 3, 3, to_64bit, rip);
    Ok(jumped(env))
}

fn sysenter(cpu: &mut Vcpu, env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let selector = cpu.msrs.sysenter_cs as u16 & 0xfffc;
    if cpu.mode.real || is_null(selector) {
        return Err(cpu.gp0());
    }
    cpu.rflags_system &= !(flags::VM | flags::IF | flags::RF);
    let long = cpu.long_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cpu.gpr[RSP] = cpu.msrs.sysenter_esp & mask;
    let rip = cpu.msrs.sysenter_eip & mask;
    cpu.enter_flat(selector, selector.wrapping_add(8), 0, long, rip);
    Ok(jumped(env))
}

fn sysexit(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let selector = cpu.msrs.sysenter_cs as u16 & 0xfffc;
    if cpu.mode.real || is_null(selector) || cpu.mode.cpl != 0 {
        return Err(cpu.gp0());
    }
    let to_64bit = op.osize == 8;
    let (rsp, rip) = (cpu.gpr[RCX], cpu.gpr[RDX]);
    if to_64bit && !(is_canonical(rsp) && is_canonical(rip)) {
        return Err(cpu.gp0());
    }
    let mask = if to_64bit { u64::MAX } else { 0xffff_ffff };
    cpu.gpr[RSP] = rsp & mask;
    let code = selector.wrapping_add(if to_64bit { 32 } else { 16 });
    cpu.enter_flat(code | 3, code.wrapping_add(8) | 3, 3, to_64bit, rip & mask);
    Ok(jumped(env))
}
