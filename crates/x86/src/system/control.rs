//! Control registers: MOV CR, LMSW, SMSW, CLTS, XGETBV, XSETBV, STAC and CLAC
//! (SDM Vol. 3A, 2.5 and 2.6).
//!
//! The checks come first and change nothing; then the new value is committed with all that
//! follows from it: EFER.LMA, the cached PDPTEs, the TLB, the mode.

use crate::fault::{Flow, Trap};
use crate::flags;
use crate::memory::access::Value;
use crate::memory::paging::PHYS_BITS;
use crate::model::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use crate::op::{Env, Exec, Op};
use crate::segment::{ATTR_L, seg};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction, OpKind, Register};

const CR0_DEFINED: u64 = cr::CR0_PE
    | cr::CR0_MP
    | cr::CR0_EM
    | cr::CR0_TS
    | cr::CR0_ET
    | cr::CR0_NE
    | cr::CR0_WP
    | cr::CR0_AM
    | cr::CR0_NW
    | cr::CR0_CD
    | cr::CR0_PG;
const CR4_DEFINED: u64 = cr::CR4_VME
    | cr::CR4_PVI
    | cr::CR4_TSD
    | cr::CR4_DE
    | cr::CR4_PSE
    | cr::CR4_PAE
    | cr::CR4_MCE
    | cr::CR4_PGE
    | cr::CR4_PCE
    | cr::CR4_OSFXSR
    | cr::CR4_OSXMMEXCPT
    | cr::CR4_UMIP
    | cr::CR4_FSGSBASE
    | cr::CR4_PCIDE
    | cr::CR4_OSXSAVE
    | cr::CR4_SMEP
    | cr::CR4_SMAP;
/// CR3 bit 63 of the source: with CR4.PCIDE, the TLB's entries of the PCID stay.
const CR3_NO_FLUSH: u64 = 1 << 63;
const LMSW_BITS: u64 = cr::CR0_PE | cr::CR0_MP | cr::CR0_EM | cr::CR0_TS;

impl Vcpu {
    /// #GP(0) unless the privilege level is 0.
    pub(super) fn require_cpl0(&mut self) -> Result<(), Trap> {
        if self.mode.cpl != 0 { Err(self.gp0()) } else { Ok(()) }
    }

    /// #GP(0) if CR4.UMIP forbids user code to see descriptor-table registers and CR0.
    pub(super) fn require_umip(&mut self) -> Result<(), Trap> {
        if self.cr4 & cr::CR4_UMIP != 0 && self.mode.cpl != 0 { Err(self.gp0()) } else { Ok(()) }
    }

    /// Loads CR0, as MOV to CR0 does at privilege level 0.
    ///
    /// # Errors
    /// #GP(0) for combinations that the architecture forbids; nothing is changed then.
    pub fn write_cr0(&mut self, env: &mut Env<'_>, value: u64) -> Result<(), Trap> {
        if value >> 32 != 0 {
            return Err(self.gp0());
        }
        let new = value & CR0_DEFINED | cr::CR0_ET;
        let changed = new ^ self.cr0;
        let switches = changed & cr::CR0_PG != 0;
        if !Self::is_valid_cr0(new) || switches && !self.may_switch_paging(new & cr::CR0_PG != 0) {
            return Err(self.gp0());
        }
        let paging = new & cr::CR0_PG != 0;
        let long = paging && self.efer & cr::EFER_LME != 0;
        let reload = changed & (cr::CR0_PG | cr::CR0_CD | cr::CR0_NW) != 0;
        if paging && !long && reload && self.cr4 & cr::CR4_PAE != 0 {
            self.load_pdptes(env.mem, self.cr3)?;
        }
        self.cr0 = new;
        self.efer = self.efer & !cr::EFER_LMA | if long { cr::EFER_LMA } else { 0 };
        if changed & (cr::CR0_PG | cr::CR0_WP | cr::CR0_PE) != 0 {
            self.tlb.flush();
        }
        self.update_mode();
        Ok(())
    }

    /// The checks of entering and leaving IA-32e mode (SDM Vol. 3A, 9.8.5).
    fn may_switch_paging(&self, on: bool) -> bool {
        let code_64 = self.seg[seg::CS].has(ATTR_L);
        if !on {
            let in_64bit_mode = self.long_mode() && code_64;
            return !in_64bit_mode && self.cr4 & cr::CR4_PCIDE == 0;
        }
        if self.efer & cr::EFER_LME == 0 {
            return true;
        }
        let tss_16 = matches!(self.seg[seg::TR].kind(), 1 | 3);
        self.cr4 & cr::CR4_PAE != 0 && !code_64 && !tss_16
    }

    /// True if CR0 can have this value, whatever it was before.
    pub(crate) fn is_valid_cr0(value: u64) -> bool {
        value & !CR0_DEFINED == 0
            && value & cr::CR0_ET != 0
            && (value & cr::CR0_PG == 0 || value & cr::CR0_PE != 0)
            && (value & cr::CR0_NW == 0 || value & cr::CR0_CD != 0)
    }

    /// True if CR4 can have this value in or outside IA-32e mode.
    pub(crate) fn is_valid_cr4(value: u64, long: bool) -> bool {
        value & !CR4_DEFINED == 0 && (!long || value & cr::CR4_PAE != 0) && (value & cr::CR4_PCIDE == 0 || long)
    }

    /// True if XCR0 can have this value.
    pub(crate) fn is_valid_xcr0(&self, value: u64) -> bool {
        value & XCR0_X87 != 0
            && value & !self.model.xcr0_supported() == 0
            && (value & XCR0_AVX == 0 || value & XCR0_SSE != 0)
    }

    /// Loads CR3, as MOV to CR3 does at privilege level 0, with its effects on the TLB.
    ///
    /// # Errors
    /// #GP(0) for reserved bits, in CR3 or in the PDPTEs.
    pub fn write_cr3(&mut self, env: &mut Env<'_>, value: u64) -> Result<(), Trap> {
        let no_flush = if self.cr4 & cr::CR4_PCIDE != 0 { CR3_NO_FLUSH } else { 0 };
        let new = value & !no_flush;
        if new >> PHYS_BITS != 0 {
            return Err(self.gp0());
        }
        if self.cr0 & cr::CR0_PG != 0 && self.cr4 & cr::CR4_PAE != 0 && !self.long_mode() {
            self.load_pdptes(env.mem, new)?;
        }
        let before = self.pcid();
        self.cr3 = new;
        self.switch_context(env.mem, before, value & no_flush == 0);
        Ok(())
    }

    /// Loads CR4, as MOV to CR4 does at privilege level 0.
    ///
    /// # Errors
    /// #GP(0) for reserved bits and forbidden combinations; nothing is changed then.
    pub fn write_cr4(&mut self, env: &mut Env<'_>, new: u64) -> Result<(), Trap> {
        const PDPTE_BITS: u64 = cr::CR4_PAE | cr::CR4_PGE | cr::CR4_PSE | cr::CR4_SMEP;
        const FLUSH_BITS: u64 = PDPTE_BITS | cr::CR4_SMAP | cr::CR4_PCIDE;
        let changed = new ^ self.cr4;
        let pcide_on = changed & new & cr::CR4_PCIDE != 0;
        if !Self::is_valid_cr4(new, self.long_mode()) || pcide_on && self.cr3 & 0xfff != 0 {
            return Err(self.gp0());
        }
        let pae_paging = self.cr0 & cr::CR0_PG != 0 && new & cr::CR4_PAE != 0 && !self.long_mode();
        if pae_paging && changed & PDPTE_BITS != 0 {
            self.load_pdptes(env.mem, self.cr3)?;
        }
        self.cr4 = new;
        if changed & FLUSH_BITS != 0 {
            self.tlb.flush();
        }
        if changed & cr::CR4_DE != 0 {
            // What the debug registers watch depends on it.
            self.tlb.forbid_fast();
        }
        self.update_mode();
        Ok(())
    }
}

/// The code of the instructions of this file. `r1` is the general register, `r2` the
/// control register.
pub(super) fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    let to_register = insn.op0_kind() == OpKind::Register;
    Some(match insn.code() {
        Code::Mov_r32_cr | Code::Mov_r64_cr => {
            op.r1 = insn.op0_register().number() as u8;
            op.osize = if insn.code() == Code::Mov_r64_cr { 8 } else { 4 };
            match insn.op1_register() {
                Register::CR0 => mov_from::<0>,
                Register::CR2 => mov_from::<2>,
                Register::CR3 => mov_from::<3>,
                Register::CR4 => mov_from::<4>,
                Register::CR8 => mov_from_cr8,
                _ => undefined,
            }
        }
        Code::Mov_cr_r32 | Code::Mov_cr_r64 => {
            op.r1 = insn.op1_register().number() as u8;
            op.osize = if insn.code() == Code::Mov_cr_r64 { 8 } else { 4 };
            match insn.op0_register() {
                Register::CR0 => mov_to::<0>,
                Register::CR2 => mov_to::<2>,
                Register::CR3 => mov_to::<3>,
                Register::CR4 => mov_to::<4>,
                Register::CR8 => mov_to_cr8,
                _ => undefined,
            }
        }
        Code::Smsw_rm16 | Code::Smsw_r32m16 | Code::Smsw_r64m16 if to_register => {
            op.r1 = insn.op0_register().number() as u8;
            match insn.code() {
                Code::Smsw_rm16 => smsw_register::<2>,
                Code::Smsw_r32m16 => smsw_register::<4>,
                _ => smsw_register::<8>,
            }
        }
        Code::Smsw_rm16 | Code::Smsw_r32m16 | Code::Smsw_r64m16 => smsw_memory,
        Code::Lmsw_rm16 | Code::Lmsw_r32m16 | Code::Lmsw_r64m16 if to_register => {
            op.r1 = insn.op0_register().number() as u8;
            lmsw_register
        }
        Code::Lmsw_rm16 | Code::Lmsw_r32m16 | Code::Lmsw_r64m16 => lmsw_memory,
        Code::Clts => clts,
        Code::Xgetbv => xgetbv,
        Code::Xsetbv => xsetbv,
        Code::Stac => set_ac::<true>,
        Code::Clac => set_ac::<false>,
        _ => return None,
    })
}

/// A control register that does not exist.
fn undefined(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    Err(cpu.ud())
}

fn register(cpu: &Vcpu, op: &Op) -> u64 {
    let value = cpu.gpr[usize::from(op.r1 & 15)];
    if op.osize == 8 { value } else { value & 0xffff_ffff }
}

fn mov_from<const CR: u8>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let value = match CR {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        _ => cpu.cr4,
    };
    cpu.gpr[usize::from(op.r1 & 15)] = if op.osize == 8 { value } else { value & 0xffff_ffff };
    Ok(Flow::Next)
}

fn mov_from_cr8(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    cpu.gpr[usize::from(op.r1 & 15)] = u64::from(env.bus.cr8());
    Ok(Flow::Next)
}

fn mov_to<const CR: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let value = register(cpu, op);
    match CR {
        0 => cpu.write_cr0(env, value)?,
        2 => cpu.cr2 = value,
        3 => cpu.write_cr3(env, value)?,
        _ => cpu.write_cr4(env, value)?,
    }
    Ok(Flow::Leave)
}

fn mov_to_cr8(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let value = register(cpu, op);
    if value > 15 {
        return Err(cpu.gp0());
    }
    let at = env.count_at(cpu, op);
    env.touch_bus();
    env.bus.set_cr8(value as u8, at);
    Ok(Flow::Leave)
}

fn smsw_register<const BYTES: u8>(cpu: &mut Vcpu, _env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_umip()?;
    let slot = usize::from(op.r1 & 15);
    cpu.gpr[slot] = match BYTES {
        2 => cpu.gpr[slot] & !0xffff | cpu.cr0 & 0xffff,
        _ => cpu.cr0,
    };
    Ok(Flow::Next)
}

fn smsw_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_umip()?;
    let linear = cpu.operand_address(op, 2, true)?;
    cpu.store(env, op, linear, cpu.cr0 as u16)?;
    Ok(Flow::Next)
}

fn lmsw_register(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    lmsw(cpu, env, cpu.gpr[usize::from(op.r1 & 15)])
}

fn lmsw_memory(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    let linear = cpu.operand_address(op, 2, false)?;
    let value: u16 = cpu.load(env, op, linear)?;
    lmsw(cpu, env, value.to_u64())
}

/// LMSW can set PE but not clear it.
fn lmsw(cpu: &mut Vcpu, env: &mut Env<'_>, value: u64) -> Result<Flow, Trap> {
    let kept = cpu.cr0 & !(LMSW_BITS & !cr::CR0_PE);
    cpu.write_cr0(env, kept | value & LMSW_BITS)?;
    Ok(Flow::Leave)
}

fn clts(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.require_cpl0()?;
    cpu.cr0 &= !cr::CR0_TS;
    Ok(Flow::Leave)
}

fn xgetbv(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return Err(cpu.ud());
    }
    let value = match cpu.gpr[1] as u32 {
        0 => cpu.xcr0,
        1 => cpu.xcr0 & crate::xsave::xinuse(cpu),
        _ => return Err(cpu.gp0()),
    };
    cpu.gpr[0] = value & 0xffff_ffff;
    cpu.gpr[2] = value >> 32;
    Ok(Flow::Next)
}

fn xsetbv(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if cpu.cr4 & cr::CR4_OSXSAVE == 0 {
        return Err(cpu.ud());
    }
    cpu.require_cpl0()?;
    if cpu.gpr[1] as u32 != 0 {
        return Err(cpu.gp0());
    }
    let value = cpu.gpr[2] << 32 | cpu.gpr[0] & 0xffff_ffff;
    if !cpu.is_valid_xcr0(value) {
        return Err(cpu.gp0());
    }
    cpu.xcr0 = value;
    Ok(Flow::Leave)
}

/// STAC and CLAC: #UD, not #GP, outside privilege level 0.
fn set_ac<const ON: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if cpu.mode.cpl != 0 {
        return Err(cpu.ud());
    }
    if ON {
        cpu.rflags_system |= flags::AC;
    } else {
        cpu.rflags_system &= !flags::AC;
    }
    cpu.update_mode();
    Ok(Flow::Next)
}
