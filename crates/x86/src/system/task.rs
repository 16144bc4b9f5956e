//! Hardware task switches (SDM Vol. 3A, 7.3).
//!
//! A switch has two halves. Up to the commit point a fault belongs to the old task and
//! nothing has changed. Behind it the new task's segments are loaded and checked, and a
//! fault belongs to the new task: the registers are already its own.

use super::debug::DR6_BT;
use super::descriptor::{Descriptor, is_null, kind, rpl};
use super::segment_load::BY_TASK;
use crate::fault::{Trap, vector};
use crate::flags;
use crate::op::Env;
use crate::segment::{ATTR_CODE, Segment, seg};
use crate::vcpu::{Vcpu, cr};

/// How a task switch came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// JMP: the old task is no longer busy.
    Jump,
    /// CALL, interrupt or exception: the old task stays busy, and the new one links to it.
    Nested,
    /// IRET with NT set: back to the task that the link names.
    Return,
}

/// DR7: the local enable bits and LE.
const DR7_LOCAL: u64 = 0x155;

/// The registers that a TSS holds.
#[derive(Clone, Copy, Debug, Default)]
struct TaskState {
    cr3: Option<u64>,
    rip: u64,
    flags: u64,
    gpr: [u64; 8],
    /// ES, CS, SS, DS, FS, GS.
    segments: [u16; 6],
    ldt: u16,
    debug: bool,
}

/// Where a TSS keeps its fields.
struct Layout {
    size: u64,
    rip: u64,
    flags: u64,
    gpr: u64,
    segments: u64,
    segment_count: usize,
    ldt: u64,
    /// Lowest valid limit.
    limit: u32,
}

const LAYOUT16: Layout =
    Layout { size: 2, rip: 0xe, flags: 0x10, gpr: 0x12, segments: 0x22, segment_count: 4, ldt: 0x2a, limit: 0x2b };
const LAYOUT32: Layout =
    Layout { size: 4, rip: 0x20, flags: 0x24, gpr: 0x28, segments: 0x48, segment_count: 6, ldt: 0x60, limit: 0x67 };
const CR3_AT: u64 = 0x1c;
const DEBUG_AT: u64 = 0x64;

fn layout(tss: &Segment) -> &'static Layout {
    if tss.has(ATTR_CODE) { &LAYOUT32 } else { &LAYOUT16 }
}

impl Vcpu {
    /// Switches to the task of `tss`, whose descriptor has been checked. `return_rip` and
    /// `flags` are saved in the old task's TSS.
    ///
    /// # Errors
    /// The outer error is a fault of the old task, nothing changed; the inner one a fault of
    /// the new task.
    pub(crate) fn switch_task(
        &mut self,
        env: &mut Env<'_>,
        tss: &Descriptor,
        switch: Switch,
        return_rip: u64,
        flags: u64,
    ) -> Result<Result<(), Trap>, Trap> {
        let new = tss.segment;
        if new.limit < layout(&new).limit {
            return Err(self.selector_fault(vector::TS, new.selector));
        }
        let mut state = self.read_task(env, &new)?;
        self.leave_task(env, switch, return_rip, flags)?;
        if switch == Switch::Nested {
            let link = self.seg[seg::TR].selector;
            self.store_system::<u16>(env, self.system_linear(new.base, 0), link)?;
            state.flags |= flags::NT;
        }
        if switch != Switch::Return {
            self.set_busy(env, tss, true)?;
        }
        self.seg[seg::TR] = Segment { attr: new.attr | 2, ..new };
        self.cr0 |= cr::CR0_TS;
        self.debug.dr7 &= !DR7_LOCAL;
        Ok(self.begin_task(env, &state))
    }

    fn task_field(&mut self, env: &mut Env<'_>, tss: &Segment, offset: u64, size: u64) -> Result<u64, Trap> {
        let linear = self.system_linear(tss.base, offset);
        if size == 2 {
            Ok(u64::from(self.load_system::<u16>(env, linear)?))
        } else {
            Ok(u64::from(self.load_system::<u32>(env, linear)?))
        }
    }

    fn read_task(&mut self, env: &mut Env<'_>, tss: &Segment) -> Result<TaskState, Trap> {
        let at = layout(tss);
        let wide = at.size == 4;
        let mut state = TaskState {
            cr3: if wide { Some(self.task_field(env, tss, CR3_AT, 4)?) } else { None },
            rip: self.task_field(env, tss, at.rip, at.size)?,
            flags: self.task_field(env, tss, at.flags, at.size)?,
            ldt: self.task_field(env, tss, at.ldt, 2)? as u16,
            debug: wide && self.task_field(env, tss, DEBUG_AT, 2)? & 1 != 0,
            ..TaskState::default()
        };
        // What a 16-bit task finds in the upper halves is undefined; processors have always given ones.
        let upper = if wide { 0 } else { 0xffff_0000 };
        for i in 0..8 {
            state.gpr[i] = upper | self.task_field(env, tss, at.gpr + at.size * i as u64, at.size)?;
        }
        for i in 0..at.segment_count {
            state.segments[i] = self.task_field(env, tss, at.segments + at.size * i as u64, 2)? as u16;
        }
        Ok(state)
    }

    /// Saves the old task and takes its busy mark away where it does not stay nested.
    fn leave_task(&mut self, env: &mut Env<'_>, switch: Switch, rip: u64, mut flags: u64) -> Result<(), Trap> {
        let old = self.seg[seg::TR];
        let at = layout(&old);
        if old.limit < at.limit {
            return Err(self.selector_fault(vector::TS, old.selector));
        }
        let first = self.system_linear(old.base, at.rip);
        let end = at.segments + at.size * at.segment_count as u64;
        self.probe_system_write(env, first, (end - at.rip) as usize)?;
        if switch != Switch::Nested
            && let Some(descriptor) = self.find_descriptor(env, old.selector)?
        {
            self.set_busy(env, &descriptor, false)?;
        }
        if switch == Switch::Return {
            flags &= !flags::NT;
        }
        self.store_task_field(env, &old, at.rip, at.size, rip)?;
        self.store_task_field(env, &old, at.flags, at.size, flags)?;
        for i in 0..8 {
            self.store_task_field(env, &old, at.gpr + at.size * i as u64, at.size, self.gpr[i])?;
        }
        for i in 0..at.segment_count {
            let selector = u64::from(self.seg[i].selector);
            self.store_task_field(env, &old, at.segments + at.size * i as u64, 2, selector)?;
        }
        Ok(())
    }

    fn store_task_field(
        &mut self,
        env: &mut Env<'_>,
        tss: &Segment,
        offset: u64,
        size: u64,
        value: u64,
    ) -> Result<(), Trap> {
        let linear = self.system_linear(tss.base, offset);
        if size == 2 {
            self.store_system::<u16>(env, linear, value as u16)
        } else {
            self.store_system::<u32>(env, linear, value as u32)
        }
    }

    /// Behind the commit point: takes over the new task's registers, then checks its segments.
    fn begin_task(&mut self, env: &mut Env<'_>, state: &TaskState) -> Result<(), Trap> {
        let v86 = state.flags & flags::VM != 0;
        let cpl = if v86 { 3 } else { rpl(state.segments[seg::CS]) };
        self.gpr[..8].copy_from_slice(&state.gpr);
        self.rip = state.rip;
        for (index, &selector) in state.segments.iter().enumerate() {
            self.seg[index] =
                if v86 { Segment::v86(selector) } else { Segment { selector, ..Segment::null_stack(selector, cpl) } };
        }
        self.seg[seg::LDTR] = Segment::null(state.ldt);
        self.set_rflags(state.flags);
        self.load_task_paging(env, state)?;
        self.seg[seg::LDTR] = self.check_task_ldt(env, state.ldt)?;
        if !v86 {
            self.load_task_segments(env, state, cpl)?;
        }
        let code = self.seg[seg::CS];
        self.check_target(&code, state.rip)?;
        if state.debug {
            self.debug_pending |= DR6_BT;
        }
        Ok(())
    }

    fn load_task_paging(&mut self, env: &mut Env<'_>, state: &TaskState) -> Result<(), Trap> {
        let Some(cr3) = state.cr3 else { return Ok(()) };
        if self.cr0 & cr::CR0_PG == 0 {
            return Ok(());
        }
        if self.cr4 & cr::CR4_PAE != 0 {
            self.load_pdptes(env.mem, cr3)?;
        }
        self.cr3 = cr3;
        self.tlb.flush_local();
        Ok(())
    }

    fn check_task_ldt(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Ok(Segment::null(selector));
        }
        if selector & 4 != 0 {
            return Err(self.selector_fault(vector::TS, selector));
        }
        let descriptor = self.read_descriptor(env, selector, vector::TS)?;
        if !descriptor.is_system() || descriptor.segment.kind() != kind::LDT || !descriptor.present() {
            return Err(self.selector_fault(vector::TS, selector));
        }
        Ok(descriptor.segment)
    }

    fn load_task_segments(&mut self, env: &mut Env<'_>, state: &TaskState, cpl: u8) -> Result<(), Trap> {
        let code = state.segments[seg::CS];
        let stack = state.segments[seg::SS];
        for selector in [code, stack] {
            if is_null(selector) {
                return Err(self.raise_with(vector::TS, 0));
            }
        }
        let descriptor = self.read_descriptor(env, code, vector::TS)?;
        let conforming = descriptor.is_conforming_code();
        let privileged = if conforming { descriptor.dpl() > cpl } else { descriptor.dpl() != cpl };
        if !descriptor.is_code() || privileged {
            return Err(self.selector_fault(vector::TS, code));
        }
        let segment = self.code_segment(env, &descriptor, cpl)?;
        self.commit_cs(segment, state.rip);
        self.seg[seg::SS] = self.check_usable_stack(env, stack, cpl, BY_TASK)?;
        self.update_mode();
        for index in [seg::ES, seg::DS, seg::FS, seg::GS] {
            let segment = self.check_data_segment(env, state.segments[index], cpl, vector::TS)?;
            self.seg[index] = segment;
        }
        Ok(())
    }
}
