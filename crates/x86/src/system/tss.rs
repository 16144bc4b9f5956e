//! What the current task-state segment tells: stacks of inner levels, interrupt stacks, the
//! I/O permission and interrupt redirection bitmaps (SDM Vol. 3A, 7.2 and 7.7; Vol. 1, 19.5.2).

use super::descriptor::{is_null, kind};
use super::segment_load::BY_TASK;
use super::stack_cursor::StackCursor;
use crate::fault::{Trap, vector};
use crate::memory::tlb::view;
use crate::op::Env;
use crate::segment::{Segment, seg};
use crate::vcpu::Vcpu;

/// Offset of the I/O map base in a 32-bit TSS.
const IO_MAP_BASE: u64 = 0x66;

impl Vcpu {
    /// True if `bytes` bytes at `offset` are within the limit of the current TSS.
    fn tss_holds(&self, offset: u64, bytes: u64) -> bool {
        offset + bytes - 1 <= u64::from(self.seg[seg::TR].limit)
    }

    fn tss_linear(&self, offset: u64) -> u64 {
        self.system_linear(self.seg[seg::TR].base, offset)
    }

    fn is_tss16(&self) -> bool {
        matches!(self.seg[seg::TR].kind(), kind::TSS16 | kind::TSS16_BUSY)
    }

    /// The stack of privilege level `cpl` by the current 16- or 32-bit TSS.
    ///
    /// # Errors
    /// #TS or #SS as for a stack switch, or #PF.
    pub(crate) fn inner_stack(&mut self, env: &mut Env<'_>, cpl: u8) -> Result<StackCursor, Trap> {
        let (pointer, selector) = if self.is_tss16() {
            let at = 2 + 4 * u64::from(cpl);
            self.check_tss(at, 4)?;
            let both = self.load_system::<u32>(env, self.tss_linear(at))?;
            (both & 0xffff, (both >> 16) as u16)
        } else {
            let at = 4 + 8 * u64::from(cpl);
            self.check_tss(at, 6)?;
            let esp = self.load_system::<u32>(env, self.tss_linear(at))?;
            (esp, self.load_system::<u16>(env, self.tss_linear(at + 4))?)
        };
        if is_null(selector) {
            return Err(self.raise_with(vector::TS, 0));
        }
        let ss = self.check_usable_stack(env, selector, cpl, BY_TASK)?;
        Ok(StackCursor::inner(ss, u64::from(pointer)))
    }

    /// The stack of privilege level `cpl` by the current 64-bit TSS: SS is null.
    ///
    /// # Errors
    /// #TS naming the TSS, or #PF.
    pub(crate) fn inner_stack_long(&mut self, env: &mut Env<'_>, cpl: u8) -> Result<StackCursor, Trap> {
        let rsp = self.tss_pointer(env, 4 + 8 * u64::from(cpl))?;
        Ok(StackCursor::flat(Segment::null_stack(u16::from(cpl), cpl), rsp, view::SUPERVISOR))
    }

    /// The pointer of interrupt stack `ist` (1 to 7).
    ///
    /// # Errors
    /// As [`Self::inner_stack_long`].
    pub(crate) fn interrupt_stack(&mut self, env: &mut Env<'_>, ist: u8) -> Result<u64, Trap> {
        self.tss_pointer(env, 28 + 8 * u64::from(ist))
    }

    fn tss_pointer(&mut self, env: &mut Env<'_>, offset: u64) -> Result<u64, Trap> {
        self.check_tss(offset, 8)?;
        self.load_system::<u64>(env, self.tss_linear(offset))
    }

    fn check_tss(&mut self, offset: u64, bytes: u64) -> Result<(), Trap> {
        if self.tss_holds(offset, bytes) {
            return Ok(());
        }
        Err(self.selector_fault(vector::TS, self.seg[seg::TR].selector))
    }

    /// Whether the running code may access `size` (1, 2 or 4) ports from `port`.
    ///
    /// # Errors
    /// #GP(0) if it may not, or #PF.
    pub fn io_allowed(&mut self, env: &mut Env<'_>, port: u16, size: u8) -> Result<(), Trap> {
        if self.mode.real || (!self.mode.v86 && self.mode.cpl <= self.iopl()) {
            return Ok(());
        }
        let tr = &self.seg[seg::TR];
        if !tr.usable() || self.is_tss16() || !self.tss_holds(IO_MAP_BASE, 2) {
            return Err(self.gp0());
        }
        let map = u64::from(self.load_system::<u16>(env, self.tss_linear(IO_MAP_BASE))?);
        let at = map + u64::from(port / 8);
        // Two bytes are read always, so the map must end in a byte of ones.
        if !self.tss_holds(at, 2) {
            return Err(self.gp0());
        }
        let bits = self.load_system::<u16>(env, self.tss_linear(at))?;
        let mask = (1u16 << size) - 1;
        if bits >> (port & 7) & mask != 0 { Err(self.gp0()) } else { Ok(()) }
    }

    /// Whether INT `number` of virtual-8086 mode goes to the task's own handler, by the
    /// interrupt redirection bitmap below the I/O map (Vol. 3B, 21.3.3).
    ///
    /// # Errors
    /// #GP(0) if the bitmap is outside the TSS, or #PF.
    pub(crate) fn is_redirected(&mut self, env: &mut Env<'_>, number: u8) -> Result<bool, Trap> {
        if self.is_tss16() || !self.tss_holds(IO_MAP_BASE, 2) {
            return Err(self.gp0());
        }
        let map = u64::from(self.load_system::<u16>(env, self.tss_linear(IO_MAP_BASE))?);
        let Some(at) = (map + u64::from(number / 8)).checked_sub(32).filter(|&at| self.tss_holds(at, 1)) else {
            return Err(self.gp0());
        };
        let bits = self.load_system::<u8>(env, self.tss_linear(at))?;
        Ok(bits >> (number & 7) & 1 == 0)
    }
}
