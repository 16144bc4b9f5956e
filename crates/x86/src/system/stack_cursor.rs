//! A stack that is pushed to or popped from before RSP and SS change: far transfers and event
//! delivery go through one, and commit it last, so that a fault leaves the registers alone.

use crate::fault::{Trap, vector};
use crate::memory::access::Value;
use crate::memory::tlb::view;
use crate::op::Env;
use crate::segment::{ATTR_CODE, ATTR_DB, ATTR_DC, ATTR_RW, Segment, seg};
use crate::vcpu::Vcpu;

const RSP: usize = 4;

/// A stack and where in it the next push or pop goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackCursor {
    /// Its segment.
    pub ss: Segment,
    /// The whole of RSP; only the bits in `mask` move.
    pub rsp: u64,
    mask: u64,
    /// Segment base and limit do not count.
    flat: bool,
    /// In real and virtual-8086 mode the type does not count.
    typed: bool,
    view: u8,
    /// Selector named by the error code of #SS: the new one after a stack switch, else 0.
    error_selector: u16,
}

/// Widths of the stack pointer: 16 or 32 bits by the segment.
pub(crate) fn stack_mask(ss: &Segment) -> u64 {
    if ss.has(ATTR_DB) { 0xffff_ffff } else { 0xffff }
}

impl StackCursor {
    /// The running stack.
    pub fn current(cpu: &Vcpu) -> Self {
        StackCursor {
            ss: cpu.seg[seg::SS],
            rsp: cpu.gpr[RSP],
            mask: cpu.mode.sp_mask,
            flat: cpu.is_64bit(),
            typed: !(cpu.mode.real || cpu.mode.v86),
            view: cpu.mode.view,
            error_selector: 0,
        }
    }

    /// The stack of an inner privilege level, in a 16- or 32-bit segment.
    pub fn inner(ss: Segment, esp: u64) -> Self {
        StackCursor {
            mask: stack_mask(&ss),
            error_selector: ss.selector & 0xfffc,
            ss,
            rsp: esp,
            flat: false,
            typed: true,
            view: view::SUPERVISOR,
        }
    }

    /// A stack of 64-bit mode; `view` as of the privilege level that will run on it.
    pub fn flat(ss: Segment, rsp: u64, view: u8) -> Self {
        StackCursor { ss, rsp, mask: u64::MAX, flat: true, typed: true, view, error_selector: 0 }
    }

    /// Leaves out alignment checks: events are delivered without.
    pub fn without_alignment_check(mut self) -> Self {
        if self.view == view::USER_ALIGN {
            self.view = view::USER;
        }
        self
    }

    /// Moves the pointer by `bytes`, up or (negative) down.
    pub fn skip(&mut self, bytes: i64) {
        self.rsp = (self.rsp & !self.mask) | (self.rsp.wrapping_add(bytes as u64) & self.mask);
    }

    fn linear(&self, cpu: &mut Vcpu, bytes: u64, write: bool) -> Result<u64, Trap> {
        let offset = self.rsp & self.mask;
        if self.flat {
            return Ok(offset);
        }
        let ss = &self.ss;
        let last = offset + bytes - 1;
        let in_limit = if ss.has(ATTR_DC) && !ss.has(ATTR_CODE) {
            offset > u64::from(ss.limit) && last <= stack_mask(ss)
        } else {
            last <= u64::from(ss.limit)
        };
        let allowed = !self.typed || (ss.usable() && (!write || ss.has(ATTR_RW) && !ss.has(ATTR_CODE)));
        if !in_limit || !allowed {
            return Err(cpu.selector_fault(vector::SS, self.error_selector));
        }
        Ok(cpu.system_linear(ss.base, offset))
    }

    /// Pushes the low `size` (2, 4 or 8) bytes of a value.
    ///
    /// # Errors
    /// #SS, #PF, #AC; the cursor stays.
    pub fn push(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, size: u8, value: u64) -> Result<(), Trap> {
        match size {
            2 => self.push_as::<u16>(cpu, env, value),
            4 => self.push_as::<u32>(cpu, env, value),
            _ => self.push_as::<u64>(cpu, env, value),
        }
    }

    fn push_as<T: Value>(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, value: u64) -> Result<(), Trap> {
        let mut moved = *self;
        moved.skip(-(T::BYTES as i64));
        let linear = moved.linear(cpu, T::BYTES as u64, true)?;
        cpu.store_stack(env, linear, T::from_u64(value), self.view)?;
        *self = moved;
        Ok(())
    }

    /// Pops `size` (2, 4 or 8) bytes.
    ///
    /// # Errors
    /// #SS, #PF, #AC; the cursor stays.
    pub fn pop(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>, size: u8) -> Result<u64, Trap> {
        match size {
            2 => self.pop_as::<u16>(cpu, env),
            4 => self.pop_as::<u32>(cpu, env),
            _ => self.pop_as::<u64>(cpu, env),
        }
    }

    fn pop_as<T: Value>(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>) -> Result<u64, Trap> {
        let linear = self.linear(cpu, T::BYTES as u64, false)?;
        let value = cpu.load_stack::<T>(env, linear, self.view)?;
        self.skip(T::BYTES as i64);
        Ok(value.to_u64())
    }
}

impl Vcpu {
    /// Makes a cursor's stack the running one. [`Vcpu::update_mode`] is the caller's to call.
    pub(crate) fn commit_stack(&mut self, stack: &StackCursor) {
        self.seg[seg::SS] = stack.ss;
        self.gpr[RSP] = stack.rsp;
    }
}
