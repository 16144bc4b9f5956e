//! TLB, cache and monitor instructions: INVLPG, INVPCID, INVD, WBINVD, MONITOR, MWAIT.

use super::msr;
use crate::fault::{Flow, Trap};
use crate::memory::access::is_canonical;
use crate::memory::contexts::PCID_MASK;
use crate::op::{AddressMode, Env, Exec, Op};
use crate::segment::seg;
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction, Register};

/// The code of the instructions of this file.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    Some(match insn.code() {
        Code::Invlpg_m => invlpg,
        Code::Invpcid_r32_m128 | Code::Invpcid_r64_m128 => {
            op.r1 = insn.op0_register().number() as u8;
            invpcid
        }
        Code::Invd | Code::Wbinvd | Code::Wbnoinvd => write_back,
        Code::Monitorw | Code::Monitord | Code::Monitorq => {
            op.seg = match insn.segment_prefix() {
                Register::None => seg::DS as u8,
                prefix => prefix.number() as u8,
            };
            op.amode = match insn.code() {
                Code::Monitorw => AddressMode::Segment16,
                Code::Monitord => AddressMode::Segment32,
                _ => AddressMode::Flat64,
            };
            monitor
        }
        Code::Mwait => mwait,
        _ => return None,
    })
}

/// INVLPG checks neither limit nor canonical form: an address that cannot be mapped has no
/// entry to drop.
fn invlpg(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let ea = cpu.effective_address(op);
    let segment = usize::from(op.seg & 7);
    let linear = if !cpu.is_64bit() {
        cpu.seg[segment].base.wrapping_add(ea) & 0xffff_ffff
    } else if segment == seg::FS || segment == seg::GS {
        cpu.seg[segment].base.wrapping_add(ea)
    } else {
        ea
    };
    if !cpu.long_mode() || is_canonical(linear) {
        cpu.tlb.flush_page(linear);
    }
    Ok(Flow::Leave)
}

/// INVPCID.
fn invpcid(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let raw = cpu.gpr[usize::from(op.r1 & 15)];
    let kind = if cpu.is_64bit() { raw } else { raw & 0xffff_ffff };
    let at = cpu.operand_address(op, 16, false)?;
    let mut descriptor = [0; 16];
    cpu.load_bytes(env, op, at, &mut descriptor)?;
    let descriptor = u128::from_le_bytes(descriptor);
    let (tag, linear) = (descriptor as u64, (descriptor >> 64) as u64);
    let one_pcid = kind <= 1;
    let bad = kind > 3
        || tag & !PCID_MASK != 0
        || one_pcid && tag != 0 && cpu.cr4 & cr::CR4_PCIDE == 0
        || kind == 0 && !is_canonical(linear);
    if bad {
        return Err(cpu.gp0());
    }
    let pcid = tag as u16;
    let current = pcid == cpu.pcid();
    match kind {
        0 if current => cpu.tlb.flush_page(linear),
        0 => cpu.tlb.flush_page_elsewhere(pcid, linear),
        1 if current => cpu.tlb.flush_local(),
        1 => cpu.tlb.flush_elsewhere(pcid),
        2 => cpu.tlb.flush(),
        _ => cpu.tlb.flush_all_local(),
    }
    Ok(Flow::Leave)
}

/// INVD, WBINVD and WBNOINVD: there is no cache.
fn write_back(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    Ok(Flow::Next)
}

/// #UD for MONITOR and MWAIT outside privilege level 0 or switched off.
fn require_monitor(cpu: &mut Vcpu) -> Result<(), Trap> {
    if cpu.mode.cpl != 0 || cpu.msrs.misc_enable & msr::MISC_MONITOR == 0 {
        return Err(cpu.ud());
    }
    Ok(())
}

/// MONITOR checks its address as a byte load does.
fn monitor(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    require_monitor(cpu)?;
    if cpu.gpr[1] as u32 != 0 {
        return Err(cpu.gp0());
    }
    let ea = match op.amode {
        AddressMode::Segment16 => cpu.gpr[0] & 0xffff,
        AddressMode::Segment32 => cpu.gpr[0] & 0xffff_ffff,
        _ => cpu.gpr[0],
    };
    let linear = cpu.linear(usize::from(op.seg), ea, 1, false)?;
    let _monitored: u8 = cpu.load(env, op, linear)?;
    cpu.monitor = Some(linear);
    Ok(Flow::Next)
}

/// MWAIT may wake for any reason (SDM Vol. 2B): here it does when the other vCPUs had their turn.
fn mwait(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    require_monitor(cpu)?;
    // Only "interrupts break it with IF clear" is offered.
    if cpu.gpr[1] as u32 & !1 != 0 {
        return Err(cpu.gp0());
    }
    cpu.monitor = None;
    Ok(Flow::Stop)
}
