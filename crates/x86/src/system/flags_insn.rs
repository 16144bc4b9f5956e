//! Instructions on RFLAGS as a whole and on its control bits: PUSHF, POPF, CLI, STI, CLD,
//! STD, CLC, STC, CMC, LAHF and SAHF (SDM Vol. 2; virtual interrupts: Vol. 3B, 20.3 and 20.4).

use crate::fault::{Flow, Trap};
use crate::flags;
use crate::op::{Env, Exec, Op};
use crate::vcpu::{Shadow, Vcpu, cr};
use iced_x86::{Code, Instruction};

/// What POPF can change at privilege level 0; IOPL and IF go away as privilege does.
const POPF_MASK: u64 =
    flags::ARITHMETIC | flags::TF | flags::IF | flags::DF | flags::IOPL | flags::NT | flags::AC | flags::ID;
/// The flags that LAHF and SAHF move.
const AH_MASK: u64 = flags::SF | flags::ZF | flags::AF | flags::PF | flags::CF;

/// Who rules over interrupts at the current privilege.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// IF itself.
    Real,
    /// VIF stands for it (CR4.VME or CR4.PVI).
    Virtual,
    /// #GP(0).
    Forbidden,
}

impl Vcpu {
    /// The I/O privilege level.
    pub(super) fn iopl(&self) -> u8 {
        (self.rflags_system >> 12 & 3) as u8
    }

    /// What CLI and STI act on.
    fn interrupt_rule(&self) -> Rule {
        let virtual_allowed = if self.mode.v86 { cr::CR4_VME } else { cr::CR4_PVI };
        if self.iopl() >= self.mode.cpl {
            Rule::Real
        } else if self.mode.cpl == 3 && self.cr4 & virtual_allowed != 0 {
            Rule::Virtual
        } else {
            Rule::Forbidden
        }
    }

    /// True if PUSHF and POPF act on VIF in place of IF, which only 16-bit ones in v8086 mode
    /// can do.
    ///
    /// # Errors
    /// #GP(0) if they may not be executed.
    fn flags_are_virtual(&mut self, bytes: u8) -> Result<bool, Trap> {
        if !self.mode.v86 || self.iopl() == 3 {
            return Ok(false);
        }
        if bytes == 2 && self.cr4 & cr::CR4_VME != 0 { Ok(true) } else { Err(self.gp0()) }
    }
}

/// The code of the instructions of this file.
pub(super) fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    Some(match insn.code() {
        Code::Pushfw => pushf::<2>,
        Code::Pushfd => pushf::<4>,
        Code::Pushfq => pushf::<8>,
        Code::Popfw => popf::<2>,
        Code::Popfd => popf::<4>,
        Code::Popfq => popf::<8>,
        Code::Cli => cli,
        Code::Sti => sti,
        Code::Cld => set_df::<false>,
        Code::Std => set_df::<true>,
        Code::Clc => clc,
        Code::Stc => stc,
        Code::Cmc => cmc,
        Code::Lahf => lahf,
        Code::Sahf => sahf,
        _ => return None,
    })
}

fn pushf<const BYTES: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let mut image = cpu.rflags() & !(flags::RF | flags::VM);
    if cpu.flags_are_virtual(BYTES)? {
        let vif = if image & flags::VIF != 0 { flags::IF } else { 0 };
        image = image & !flags::IF | vif | flags::IOPL;
    }
    match BYTES {
        2 => cpu.push(env, op, image as u16)?,
        4 => cpu.push(env, op, image as u32)?,
        _ => cpu.push(env, op, image)?,
    }
    Ok(Flow::Next)
}

fn popf<const BYTES: u8>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let is_virtual = cpu.flags_are_virtual(BYTES)?;
    let sp = cpu.gpr[4];
    let image = match BYTES {
        2 => u64::from(cpu.pop::<u16>(env, op)?),
        4 => u64::from(cpu.pop::<u32>(env, op)?),
        _ => cpu.pop::<u64>(env, op)?,
    };
    let mut mask = POPF_MASK;
    if BYTES == 2 {
        mask &= 0xffff;
    }
    if cpu.mode.cpl != 0 {
        mask &= !flags::IOPL;
    }
    let mut old = cpu.rflags();
    if is_virtual {
        let pending = image & flags::IF != 0 && old & flags::VIP != 0;
        if pending || image & flags::TF != 0 {
            cpu.gpr[4] = sp;
            return Err(cpu.gp0());
        }
        mask &= !flags::IF;
        old = old & !flags::VIF | if image & flags::IF != 0 { flags::VIF } else { 0 };
    } else if cpu.mode.cpl > cpu.iopl() {
        mask &= !flags::IF;
    }
    cpu.set_rflags((old & !mask | image & mask) & !flags::RF);
    Ok(Flow::Leave)
}

/// After CLI nothing new can interrupt, so that the block may go on.
fn cli(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    match cpu.interrupt_rule() {
        Rule::Real => cpu.rflags_system &= !flags::IF,
        Rule::Virtual => cpu.rflags_system &= !flags::VIF,
        Rule::Forbidden => return Err(cpu.gp0()),
    }
    Ok(Flow::Next)
}

fn sti(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    match cpu.interrupt_rule() {
        Rule::Real => {
            if cpu.rflags_system & flags::IF == 0 {
                cpu.shadow = Shadow::Sti;
            }
            cpu.rflags_system |= flags::IF;
        }
        Rule::Virtual if cpu.rflags_system & flags::VIP == 0 => cpu.rflags_system |= flags::VIF,
        Rule::Virtual | Rule::Forbidden => return Err(cpu.gp0()),
    }
    Ok(Flow::Leave)
}

fn set_df<const ON: bool>(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    if ON {
        cpu.rflags_system |= flags::DF;
    } else {
        cpu.rflags_system &= !flags::DF;
    }
    Ok(Flow::Next)
}

fn clc(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.lazy.set_cf(false);
    Ok(Flow::Next)
}

fn stc(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.lazy.set_cf(true);
    Ok(Flow::Next)
}

fn cmc(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let cf = cpu.lazy.cf();
    cpu.lazy.set_cf(!cf);
    Ok(Flow::Next)
}

fn lahf(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    let ah = cpu.lazy.to_bits() & AH_MASK | flags::FIXED;
    cpu.gpr[0] = cpu.gpr[0] & !0xff00 | ah << 8;
    Ok(Flow::Next)
}

fn sahf(cpu: &mut Vcpu, _env: &mut Env<'_>, _op: &Op) -> Result<Flow, Trap> {
    cpu.lazy.replace(AH_MASK, cpu.gpr[0] >> 8);
    Ok(Flow::Next)
}
