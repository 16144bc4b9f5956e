//! Loading segment registers, with every check (SDM Vol. 3A, 3.4 and 5.5 to 5.8).

use super::descriptor::{Descriptor, is_null, rpl};
use crate::fault::{Trap, vector};
use crate::op::Env;
use crate::segment::{ATTR_L, ATTR_UNUSABLE, Segment, seg};
use crate::vcpu::Vcpu;

/// DPL 3 at its place in [`Segment::attr`].
const ATTR_DPL3: u32 = 3 << 5;

impl Segment {
    /// A register that holds a null selector. Intel processors clear the base.
    pub const fn null(selector: u16) -> Self {
        Segment { selector, base: 0, limit: 0, attr: ATTR_UNUSABLE }
    }

    /// SS with a null selector, as 64-bit mode allows below privilege level 3: its DPL still
    /// is the current privilege level.
    pub const fn null_stack(selector: u16, cpl: u8) -> Self {
        Segment { selector, base: 0, limit: 0, attr: ATTR_UNUSABLE | (cpl as u32) << 5 }
    }

    /// A segment of virtual-8086 mode.
    pub const fn v86(selector: u16) -> Self {
        let mut segment = Segment::real(selector);
        segment.attr |= ATTR_DPL3;
        segment
    }
}

/// Which exceptions a failed load raises: MOV to a segment register differs from a stack or
/// task switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadFaults {
    /// For a bad selector or descriptor: #GP or #TS.
    pub bad: u8,
    /// For a stack segment that is not present.
    pub stack_absent: u8,
}

/// MOV, POP, far returns.
pub(crate) const BY_INSTRUCTION: LoadFaults = LoadFaults { bad: vector::GP, stack_absent: vector::SS };
/// Stack switches through a TSS, and task switches.
pub(crate) const BY_TASK: LoadFaults = LoadFaults { bad: vector::TS, stack_absent: vector::SS };

impl Vcpu {
    /// Loads a segment register as real mode does: selector and base change; limit and
    /// attributes stay, which is what unreal mode is made of.
    pub fn set_segment_real(&mut self, index: usize, selector: u16) {
        let segment = &mut self.seg[index];
        if segment.usable() {
            segment.selector = selector;
            segment.base = u64::from(selector) << 4;
        } else {
            *segment = Segment::real(selector);
        }
    }

    /// Loads ES, SS, DS, FS or GS as MOV does in the current mode.
    ///
    /// # Errors
    /// #GP, #NP, #SS or #PF; the register is unchanged then.
    pub fn load_segment(&mut self, env: &mut Env<'_>, index: usize, selector: u16) -> Result<(), Trap> {
        if self.mode.real {
            self.set_segment_real(index, selector);
        } else if self.mode.v86 {
            self.seg[index] = Segment::v86(selector);
        } else if index == seg::SS {
            self.seg[seg::SS] = self.check_stack_segment(env, selector, self.mode.cpl)?;
        } else {
            self.seg[index] = self.check_data_segment(env, selector, self.mode.cpl, vector::GP)?;
        }
        if index == seg::SS {
            self.update_mode();
        }
        Ok(())
    }

    /// The stack segment that MOV to SS would load.
    fn check_stack_segment(&mut self, env: &mut Env<'_>, selector: u16, cpl: u8) -> Result<Segment, Trap> {
        if is_null(selector) {
            if self.is_64bit() && cpl != 3 && rpl(selector) == cpl {
                return Ok(Segment::null_stack(selector, cpl));
            }
            return Err(self.gp0());
        }
        self.check_usable_stack(env, selector, cpl, BY_INSTRUCTION)
    }

    /// The stack segment that a selector which is not null gives at privilege level `cpl`.
    ///
    /// # Errors
    /// As `faults` says, or #PF.
    pub(crate) fn check_usable_stack(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        cpl: u8,
        faults: LoadFaults,
    ) -> Result<Segment, Trap> {
        let mut descriptor = self.read_descriptor(env, selector, faults.bad)?;
        if rpl(selector) != cpl || !descriptor.is_writable_data() || descriptor.dpl() != cpl {
            return Err(self.selector_fault(faults.bad, selector));
        }
        if !descriptor.present() {
            return Err(self.selector_fault(faults.stack_absent, selector));
        }
        self.mark_accessed(env, &mut descriptor)?;
        Ok(descriptor.segment)
    }

    /// The segment that loading a selector into ES, DS, FS or GS gives at privilege level
    /// `cpl`; `bad` is the vector for a bad selector.
    ///
    /// # Errors
    /// `bad` naming the selector, #NP, or #PF.
    pub(crate) fn check_data_segment(
        &mut self,
        env: &mut Env<'_>,
        selector: u16,
        cpl: u8,
        bad: u8,
    ) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Ok(Segment::null(selector));
        }
        let mut descriptor = self.read_descriptor(env, selector, bad)?;
        let privileged =
            !descriptor.is_conforming_code() && (rpl(selector) > descriptor.dpl() || cpl > descriptor.dpl());
        if !descriptor.is_readable() || privileged {
            return Err(self.selector_fault(bad, selector));
        }
        if !descriptor.present() {
            return Err(self.selector_fault(vector::NP, selector));
        }
        self.mark_accessed(env, &mut descriptor)?;
        Ok(descriptor.segment)
    }

    /// Checks that an instruction pointer lies in the code segment it will run in.
    ///
    /// # Errors
    /// #GP(0).
    pub(crate) fn check_target(&mut self, code: &Segment, rip: u64) -> Result<(), Trap> {
        let fits = if self.long_mode() && code.has(ATTR_L) {
            crate::memory::access::is_canonical(rip)
        } else {
            rip <= u64::from(code.limit)
        };
        if fits { Ok(()) } else { Err(self.gp0()) }
    }

    /// The code segment that a direct far transfer to `descriptor` at privilege level `cpl`
    /// gives: accessed, its selector's RPL set to `cpl`.
    ///
    /// # Errors
    /// #NP or #PF.
    pub(crate) fn code_segment(
        &mut self,
        env: &mut Env<'_>,
        descriptor: &Descriptor,
        cpl: u8,
    ) -> Result<Segment, Trap> {
        let mut descriptor = *descriptor;
        let selector = descriptor.segment.selector;
        if !descriptor.present() {
            return Err(self.selector_fault(vector::NP, selector));
        }
        self.mark_accessed(env, &mut descriptor)?;
        Ok(Segment { selector: selector & !3 | u16::from(cpl), ..descriptor.segment })
    }

    /// Makes `code` the running code segment at `rip` and recomputes the mode. SS, which
    /// carries the privilege level, must be in place.
    pub fn commit_cs(&mut self, code: Segment, rip: u64) {
        self.seg[seg::CS] = code;
        self.rip = rip;
        self.update_mode();
    }

    /// A return to an outer level takes away the data segments that it may not use. Their bases
    /// stay, as on processors (systems that keep their per-CPU data at GS rely on it).
    pub(crate) fn null_inner_segments(&mut self) {
        let cpl = self.mode.cpl;
        for index in [seg::ES, seg::DS, seg::FS, seg::GS] {
            let segment = &self.seg[index];
            let conforming = segment.attr & 0b1_1100 == 0b1_1100;
            if segment.usable() && !conforming && segment.dpl() < cpl {
                self.seg[index] = Segment { base: segment.base, ..Segment::null(0) };
            }
        }
    }
}
