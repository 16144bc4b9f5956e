//! Entering a handler through the interrupt table of the current mode: the real-mode vector
//! table, and the 16-, 32- and 64-bit gates (SDM Vol. 3A, 6.12 and 6.14; Vol. 2, INT n).

use super::debug::DR6_BS;
use super::descriptor::{Descriptor, Gate, is_null, kind};
use super::events::Event;
use super::stack_cursor::StackCursor;
use super::task::Switch;
use crate::fault::{Trap, vector};
use crate::flags;
use crate::memory::tlb::view;
use crate::op::Env;
use crate::segment::{ATTR_CODE, ATTR_DB, ATTR_L, Segment, seg};
use crate::vcpu::Vcpu;

/// Error-code bit: the index is one of the interrupt table.
const IDT: u32 = 2;

/// The code that a gate leads to.
struct Handler {
    code: Segment,
    cpl: u8,
    rip: u64,
    /// Interrupt gate: IF is cleared.
    masks: bool,
    /// Bytes of a stack slot.
    size: u8,
}

impl Vcpu {
    /// Enters the handler of an event. All registers change at the end, or none.
    ///
    /// # Errors
    /// A fault, its error code without the EXT bit. After a task switch it belongs to the
    /// new task.
    pub(crate) fn enter_gate(&mut self, env: &mut Env<'_>, event: &Event) -> Result<(), Trap> {
        if self.mode.real {
            self.enter_real(env, event)?;
        } else {
            self.enter_by_gate(env, event)?;
        }
        // TF is clear now: the instruction that led here makes no single-step trap.
        self.debug_pending &= !DR6_BS;
        Ok(())
    }

    fn enter_by_gate(&mut self, env: &mut Env<'_>, event: &Event) -> Result<(), Trap> {
        let (raw, upper) = self.read_gate(env, event)?;
        let gate = Gate::from_raw(raw, upper);
        if gate.kind == kind::TASK_GATE {
            return self.enter_task(env, event, gate.selector);
        }
        let handler = self.check_handler(env, &gate)?;
        if self.long_mode() {
            self.enter_long(env, event, &gate, &handler)
        } else if self.mode.v86 {
            self.enter_from_v86(env, event, &handler)
        } else {
            self.enter_protected(env, event, &handler)
        }
    }

    /// Through the vector table of real mode: 16-bit frames and no error codes.
    fn enter_real(&mut self, env: &mut Env<'_>, event: &Event) -> Result<(), Trap> {
        let offset = 4 * u64::from(event.vector);
        if offset + 3 > u64::from(self.idtr.limit) {
            return Err(self.gp0());
        }
        let target = self.load_system::<u32>(env, self.system_linear(self.idtr.base, offset))?;
        let mut stack = StackCursor::current(self);
        for value in [event.flags, u64::from(self.seg[seg::CS].selector), event.return_rip] {
            stack.push(self, env, 2, value)?;
        }
        let rip = u64::from(target & 0xffff);
        if rip > u64::from(self.seg[seg::CS].limit) {
            return Err(self.gp0());
        }
        self.commit_stack(&stack);
        self.set_segment_real(seg::CS, (target >> 16) as u16);
        self.rip = rip;
        self.rflags_system &= !(flags::IF | flags::TF | flags::AC | flags::RF);
        self.update_mode();
        Ok(())
    }

    /// Reads and checks the gate of an event: both halves, the upper one 0 outside IA-32e mode.
    fn read_gate(&mut self, env: &mut Env<'_>, event: &Event) -> Result<(u64, u64), Trap> {
        let error = u32::from(event.vector) << 3 | IDT;
        let long = self.long_mode();
        let bytes = if long { 16 } else { 8 };
        let offset = bytes * u64::from(event.vector);
        if offset + bytes - 1 > u64::from(self.idtr.limit) {
            return Err(self.raise_with(vector::GP, error));
        }
        let linear = self.system_linear(self.idtr.base, offset);
        let raw = self.load_system::<u64>(env, linear)?;
        let upper = if long { self.load_system::<u64>(env, linear.wrapping_add(8))? } else { 0 };
        let known = match (raw >> 40 & 0x1f) as u8 {
            kind::INTERRUPT_GATE | kind::TRAP_GATE => true,
            kind::TASK_GATE | kind::INTERRUPT_GATE16 | kind::TRAP_GATE16 => !long,
            _ => false,
        };
        let dpl = (raw >> 45 & 3) as u8;
        if !known || (event.software && dpl < self.mode.cpl) {
            return Err(self.raise_with(vector::GP, error));
        }
        if raw >> 47 & 1 == 0 {
            return Err(self.raise_with(vector::NP, error));
        }
        Ok((raw, upper))
    }

    /// Checks the code segment of an interrupt or trap gate.
    fn check_handler(&mut self, env: &mut Env<'_>, gate: &Gate) -> Result<Handler, Trap> {
        let selector = gate.selector;
        if is_null(selector) {
            return Err(self.gp0());
        }
        let descriptor = self.read_descriptor(env, selector, vector::GP)?;
        let wrong_size = self.long_mode() && descriptor.segment.attr & (ATTR_L | ATTR_DB) != ATTR_L;
        if !descriptor.is_code() || descriptor.dpl() > self.mode.cpl || wrong_size {
            return Err(self.gp_selector(selector));
        }
        let cpl = if descriptor.is_conforming_code() { self.mode.cpl } else { descriptor.dpl() };
        if self.mode.v86 && cpl != 0 && descriptor.present() {
            return Err(self.gp_selector(selector));
        }
        let code = self.code_segment(env, &descriptor, cpl)?;
        let size = match gate.kind {
            kind::INTERRUPT_GATE16 | kind::TRAP_GATE16 => 2,
            _ if self.long_mode() => 8,
            _ => 4,
        };
        let masks = matches!(gate.kind, kind::INTERRUPT_GATE | kind::INTERRUPT_GATE16);
        Ok(Handler { code, cpl, rip: gate.offset, masks, size })
    }

    fn enter_protected(&mut self, env: &mut Env<'_>, event: &Event, handler: &Handler) -> Result<(), Trap> {
        let outer = StackCursor::current(self);
        let size = handler.size;
        let mut stack = if handler.cpl < self.mode.cpl {
            let mut stack = self.inner_stack(env, handler.cpl)?;
            stack.push(self, env, size, u64::from(outer.ss.selector))?;
            stack.push(self, env, size, outer.rsp)?;
            stack
        } else {
            outer.without_alignment_check()
        };
        self.push_return(env, &mut stack, size, event)?;
        self.check_target(&handler.code, handler.rip)?;
        self.commit_handler(&stack, handler);
        Ok(())
    }

    /// From virtual-8086 mode to level 0: the data segments are pushed and emptied.
    fn enter_from_v86(&mut self, env: &mut Env<'_>, event: &Event, handler: &Handler) -> Result<(), Trap> {
        let size = handler.size;
        let mut stack = self.inner_stack(env, 0)?;
        for index in [seg::GS, seg::FS, seg::DS, seg::ES, seg::SS] {
            stack.push(self, env, size, u64::from(self.seg[index].selector))?;
        }
        stack.push(self, env, size, self.gpr[4])?;
        self.push_return(env, &mut stack, size, event)?;
        self.check_target(&handler.code, handler.rip)?;
        for index in [seg::GS, seg::FS, seg::DS, seg::ES] {
            self.seg[index] = Segment::null(0);
        }
        self.commit_handler(&stack, handler);
        Ok(())
    }

    fn enter_long(&mut self, env: &mut Env<'_>, event: &Event, gate: &Gate, handler: &Handler) -> Result<(), Trap> {
        let inner = handler.cpl < self.mode.cpl;
        let ist = gate.count & 7;
        let old = StackCursor::current(self);
        let mut stack = if inner && ist == 0 {
            self.inner_stack_long(env, handler.cpl)?
        } else {
            let rsp = if ist == 0 { old.rsp } else { self.interrupt_stack(env, ist)? };
            let ss = if inner { Segment::null_stack(u16::from(handler.cpl), handler.cpl) } else { old.ss };
            let user = if handler.cpl == 3 { view::USER } else { self.data_view(0) };
            StackCursor::flat(ss, rsp, if inner { view::SUPERVISOR } else { user })
        };
        stack.rsp &= !15;
        stack.push(self, env, 8, u64::from(old.ss.selector))?;
        stack.push(self, env, 8, old.rsp)?;
        self.push_return(env, &mut stack, 8, event)?;
        self.check_target(&handler.code, handler.rip)?;
        self.commit_handler(&stack, handler);
        Ok(())
    }

    /// Pushes flags, CS, RIP and the error code.
    fn push_return(&mut self, env: &mut Env<'_>, stack: &mut StackCursor, size: u8, event: &Event) -> Result<(), Trap> {
        stack.push(self, env, size, event.flags)?;
        stack.push(self, env, size, u64::from(self.seg[seg::CS].selector))?;
        stack.push(self, env, size, event.return_rip)?;
        match event.error_code {
            Some(code) => stack.push(self, env, size, u64::from(code)),
            None => Ok(()),
        }
    }

    fn commit_handler(&mut self, stack: &StackCursor, handler: &Handler) {
        self.commit_stack(stack);
        self.rflags_system &= !(flags::TF | flags::NT | flags::RF | flags::VM);
        if handler.masks {
            self.rflags_system &= !flags::IF;
        }
        self.commit_cs(handler.code, handler.rip);
    }

    /// Through a task gate: a nested task, then the error code on its stack.
    fn enter_task(&mut self, env: &mut Env<'_>, event: &Event, selector: u16) -> Result<(), Trap> {
        let tss = self.find_task(env, selector)?;
        let wide = is_wide_task(&tss);
        // The state saved in the old task's TSS is what a gate would push.
        self.switch_task(env, &tss, Switch::Nested, event.return_rip, event.flags)??;
        if let Some(code) = event.error_code {
            let mut stack = StackCursor::current(self).without_alignment_check();
            stack.push(self, env, if wide { 4 } else { 2 }, u64::from(code))?;
            self.commit_stack(&stack);
        }
        Ok(())
    }

    /// Reads the TSS descriptor that a task gate names.
    ///
    /// # Errors
    /// #GP naming the selector if it is not an available TSS in the GDT, #NP, or #PF.
    pub(crate) fn find_task(&mut self, env: &mut Env<'_>, selector: u16) -> Result<Descriptor, Trap> {
        if selector & 4 != 0 || is_null(selector) {
            return Err(self.gp_selector(selector));
        }
        let tss = self.read_descriptor(env, selector, vector::GP)?;
        if !tss.is_system() || !matches!(tss.segment.kind(), kind::TSS | kind::TSS16) {
            return Err(self.gp_selector(selector));
        }
        if !tss.present() {
            return Err(self.selector_fault(vector::NP, selector));
        }
        Ok(tss)
    }
}

/// True for a 32-bit TSS.
fn is_wide_task(tss: &Descriptor) -> bool {
    u32::from(tss.segment.kind()) & ATTR_CODE != 0
}
