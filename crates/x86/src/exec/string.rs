//! MOVS, STOS, LODS, SCAS and CMPS, with and without repeat prefixes.
//!
//! Each iteration is one step. A repeated instruction runs as many iterations as the run's bound
//! allows in one go and stays where it is while iterations remain; between any two of them an
//! interrupt can come. Whole pages are moved at once where nobody can tell the difference.

use super::by_size;
use super::reg::Reg;
use crate::fault::{Flow, Trap};
use crate::flags;
use crate::op::{AddressMode, Env, Exec, Op, Repeat};
use crate::segment::seg;
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction};

use super::alu::{Binary, Cmp};

const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;

impl Vcpu {
    /// A general register in the width of the address size.
    #[inline(always)]
    pub(crate) fn address_register(&self, op: &Op, r: usize) -> u64 {
        self.gpr[r & 31] & address_mask(op)
    }

    /// Sets it, as an instruction of that address size does.
    #[inline(always)]
    pub(crate) fn set_address_register(&mut self, op: &Op, r: usize, value: u64) {
        let mask = address_mask(op);
        self.gpr[r & 31] = if mask == 0xffff { self.gpr[r & 31] & !mask | value & mask } else { value & mask };
    }

    /// Moves an address register by one element, forwards or backwards by DF.
    #[inline(always)]
    pub(crate) fn step_address(&mut self, op: &Op, r: usize, bytes: u64) {
        let step = if self.rflags_system & flags::DF == 0 { bytes } else { bytes.wrapping_neg() };
        let value = self.gpr[r & 31].wrapping_add(step);
        self.set_address_register(op, r, value);
    }
}

/// The bits of an address register that the address size uses.
#[inline(always)]
pub(crate) fn address_mask(op: &Op) -> u64 {
    match op.amode {
        AddressMode::Flat64 | AddressMode::Based64 => u64::MAX,
        AddressMode::Truncated64 | AddressMode::Segment32 => 0xffff_ffff,
        AddressMode::Segment16 => 0xffff,
    }
}

/// One string instruction.
trait StringOp {
    /// A repeat prefix also looks at ZF.
    const COMPARES: bool;
    /// One iteration, address registers moved at its end.
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap>;
    /// Up to `limit` iterations at once; how many were done, perhaps none.
    fn bulk<T: Reg>(_cpu: &mut Vcpu, _op: &Op, _limit: u64) -> u64 {
        0
    }
}

/// Runs a string instruction under its repeat prefix.
fn string<S: StringOp, T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if op.rep == Repeat::None {
        S::once::<T>(cpu, env, op)?;
        return Ok(Flow::Next);
    }
    repeat(cpu, env, op, |cpu, env| S::once::<T>(cpu, env, op), |cpu, limit| S::bulk::<T>(cpu, op, limit), S::COMPARES)
}

/// Runs the iterations of a repeated instruction: `once` does one, `bulk` as many as it can.
///
/// # Errors
/// The fault of an iteration; those before it stay done.
pub(crate) fn repeat<'a>(
    cpu: &mut Vcpu,
    env: &mut Env<'a>,
    op: &Op,
    mut once: impl FnMut(&mut Vcpu, &mut Env<'a>) -> Result<(), Trap>,
    mut bulk: impl FnMut(&mut Vcpu, u64) -> u64,
    compares: bool,
) -> Result<Flow, Trap> {
    let mut left = cpu.address_register(op, RCX);
    if left == 0 {
        return Ok(Flow::Next);
    }
    // Flags are those from before the instruction until its last iteration is done, so that a
    // fault in between shows them (SDM Vol. 2, REP) wherever the run was cut before.
    let flags_before = cpu.lazy;
    let budget = env.until.0.saturating_sub(env.count_at(cpu, op).0).max(1);
    let mut done = 0;
    loop {
        // An iteration that reaches the board is at its own step, see `Env::count_at`.
        env.extra_steps = done;
        let at_once = bulk(cpu, left.min(budget - done));
        if at_once == 0
            && let Err(trap) = once(cpu, env)
        {
            cpu.lazy = flags_before;
            return Err(trap);
        }
        let steps = at_once.max(1);
        done += steps;
        left -= steps;
        cpu.set_address_register(op, RCX, left);
        let wanted = op.rep == Repeat::WhileEqual;
        if left == 0 || (compares && cpu.lazy.zf() != wanted) {
            env.extra_steps = done - 1;
            return Ok(if done > 1 { Flow::Leave } else { Flow::Next });
        }
        if done >= budget || env.leave {
            env.extra_steps = done - 1;
            cpu.lazy = flags_before;
            return Ok(Flow::Repeat);
        }
    }
}

/// The linear address of the element at DS:(R/E)SI (or another segment).
#[inline(always)]
fn source_address<T: Reg>(cpu: &mut Vcpu, op: &Op) -> Result<u64, Trap> {
    let address = cpu.address_register(op, RSI);
    cpu.linear(usize::from(op.seg), address, T::BYTES as u64, false)
}

/// The linear address of the element at ES:(R/E)DI.
#[inline(always)]
fn target_address<T: Reg>(cpu: &mut Vcpu, op: &Op, write: bool) -> Result<u64, Trap> {
    let address = cpu.address_register(op, RDI);
    cpu.linear(seg::ES, address, T::BYTES as u64, write)
}

/// How many elements lie between an address and the end of its page, going forwards.
fn elements_in_page<T: Reg>(linear: u64) -> u64 {
    (4096 - linear % 4096) / T::BYTES as u64
}

/// True if plain forward bulk work is possible at all: 64-bit addresses, DF clear.
fn bulk_possible(cpu: &Vcpu, op: &Op) -> bool {
    cpu.rflags_system & flags::DF == 0 && matches!(op.amode, AddressMode::Flat64 | AddressMode::Based64)
}

struct Movs;
impl StringOp for Movs {
    const COMPARES: bool = false;
    #[inline(always)]
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap> {
        let source = source_address::<T>(cpu, op)?;
        let value: T = cpu.load(env, op, source)?;
        let target = target_address::<T>(cpu, op, true)?;
        cpu.store(env, op, target, value)?;
        cpu.step_address(op, RSI, T::BYTES as u64);
        cpu.step_address(op, RDI, T::BYTES as u64);
        Ok(())
    }

    fn bulk<T: Reg>(cpu: &mut Vcpu, op: &Op, limit: u64) -> u64 {
        if limit < 2 || !bulk_possible(cpu, op) {
            return 0;
        }
        let (Ok(source), Ok(target)) = (source_address::<T>(cpu, op), target_address::<T>(cpu, op, true)) else {
            return 0;
        };
        let elements = limit.min(elements_in_page::<T>(source)).min(elements_in_page::<T>(target));
        let bytes = elements * T::BYTES as u64;
        if elements == 0 || !cpu.bulk_copy::<T>(source, target, bytes) {
            return 0;
        }
        cpu.step_address(op, RSI, bytes);
        cpu.step_address(op, RDI, bytes);
        elements
    }
}

struct Stos;
impl StringOp for Stos {
    const COMPARES: bool = false;
    #[inline(always)]
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap> {
        let target = target_address::<T>(cpu, op, true)?;
        cpu.store(env, &in_es(op), target, T::get(cpu, 0))?;
        cpu.step_address(op, RDI, T::BYTES as u64);
        Ok(())
    }

    fn bulk<T: Reg>(cpu: &mut Vcpu, op: &Op, limit: u64) -> u64 {
        if limit < 2 || !bulk_possible(cpu, op) {
            return 0;
        }
        let Ok(target) = target_address::<T>(cpu, op, true) else { return 0 };
        let elements = limit.min(elements_in_page::<T>(target));
        let bytes = elements * T::BYTES as u64;
        if elements == 0 || !cpu.bulk_fill(target, bytes, T::get(cpu, 0)) {
            return 0;
        }
        cpu.step_address(op, RDI, bytes);
        elements
    }
}

struct Lods;
impl StringOp for Lods {
    const COMPARES: bool = false;
    #[inline(always)]
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap> {
        let source = source_address::<T>(cpu, op)?;
        let value = cpu.load(env, op, source)?;
        T::set(cpu, 0, value);
        cpu.step_address(op, RSI, T::BYTES as u64);
        Ok(())
    }
}

struct Scas;
impl StringOp for Scas {
    const COMPARES: bool = true;
    #[inline(always)]
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap> {
        let target = target_address::<T>(cpu, op, false)?;
        let value: T = cpu.load(env, &in_es(op), target)?;
        let a = T::get(cpu, 0);
        Cmp::apply(&mut cpu.lazy, a, value);
        cpu.step_address(op, RDI, T::BYTES as u64);
        Ok(())
    }
}

struct Cmps;
impl StringOp for Cmps {
    const COMPARES: bool = true;
    #[inline(always)]
    fn once<T: Reg>(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<(), Trap> {
        // The element at ES:DI is read first: its fault wins.
        let target = target_address::<T>(cpu, op, false)?;
        let b: T = cpu.load(env, &in_es(op), target)?;
        let source = source_address::<T>(cpu, op)?;
        let a: T = cpu.load(env, op, source)?;
        Cmp::apply(&mut cpu.lazy, a, b);
        cpu.step_address(op, RSI, T::BYTES as u64);
        cpu.step_address(op, RDI, T::BYTES as u64);
        Ok(())
    }
}

/// The same instruction with ES as its segment, for the right fault at a bad address.
fn in_es(op: &Op) -> Op {
    Op { seg: seg::ES as u8, ..*op }
}

/// See [`super::select`].
pub fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    match insn.code() {
        Code::Movsb_m8_m8 => by_size!(1, string::<Movs>),
        Code::Movsw_m16_m16 => by_size!(2, string::<Movs>),
        Code::Movsd_m32_m32 => by_size!(4, string::<Movs>),
        Code::Movsq_m64_m64 => by_size!(8, string::<Movs>),
        Code::Stosb_m8_AL => by_size!(1, string::<Stos>),
        Code::Stosw_m16_AX => by_size!(2, string::<Stos>),
        Code::Stosd_m32_EAX => by_size!(4, string::<Stos>),
        Code::Stosq_m64_RAX => by_size!(8, string::<Stos>),
        Code::Lodsb_AL_m8 => by_size!(1, string::<Lods>),
        Code::Lodsw_AX_m16 => by_size!(2, string::<Lods>),
        Code::Lodsd_EAX_m32 => by_size!(4, string::<Lods>),
        Code::Lodsq_RAX_m64 => by_size!(8, string::<Lods>),
        Code::Scasb_AL_m8 => by_size!(1, string::<Scas>),
        Code::Scasw_AX_m16 => by_size!(2, string::<Scas>),
        Code::Scasd_EAX_m32 => by_size!(4, string::<Scas>),
        Code::Scasq_RAX_m64 => by_size!(8, string::<Scas>),
        Code::Cmpsb_m8_m8 => by_size!(1, string::<Cmps>),
        Code::Cmpsw_m16_m16 => by_size!(2, string::<Cmps>),
        Code::Cmpsd_m32_m32 => by_size!(4, string::<Cmps>),
        Code::Cmpsq_m64_m64 => by_size!(8, string::<Cmps>),
        _ => None,
    }
}
