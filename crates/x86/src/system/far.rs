//! Far jumps and calls, direct and through call gates, TSSs and task gates (SDM Vol. 3A, 5.8;
//! Vol. 2, CALL and JMP).

use super::descriptor::{Descriptor, Gate, is_null, kind, rpl};
use super::interrupt::jumped;
use super::stack_cursor::StackCursor;
use super::task::Switch;
use crate::fault::{Flow, Trap, vector};
use crate::flags;
use crate::op::{Env, Exec, Op};
use crate::segment::{ATTR_DB, ATTR_L, Segment, seg};
use crate::vcpu::Vcpu;
use iced_x86::{Code, Instruction};

/// The code of a far jump, call or return; `None` if `insn` is none.
pub fn select(insn: &Instruction, op: &mut Op) -> Option<Exec> {
    use Code::*;
    Some(match insn.code() {
        Jmp_ptr1616 => direct(insn, op, 2, jmp_direct),
        Jmp_ptr1632 => direct(insn, op, 4, jmp_direct),
        Call_ptr1616 => direct(insn, op, 2, call_direct),
        Call_ptr1632 => direct(insn, op, 4, call_direct),
        Jmp_m1616 => sized(op, 2, jmp_indirect),
        Jmp_m1632 => sized(op, 4, jmp_indirect),
        Jmp_m1664 => sized(op, 8, jmp_indirect),
        Call_m1616 => sized(op, 2, call_indirect),
        Call_m1632 => sized(op, 4, call_indirect),
        Call_m1664 => sized(op, 8, call_indirect),
        _ => return super::far_return::select(insn, op),
    })
}

fn direct(insn: &Instruction, op: &mut Op, size: u8, exec: Exec) -> Exec {
    op.extra = u32::from(insn.far_branch_selector());
    op.imm = if size == 2 { u64::from(insn.far_branch16()) } else { u64::from(insn.far_branch32()) };
    sized(op, size, exec)
}

fn sized(op: &mut Op, size: u8, exec: Exec) -> Exec {
    op.osize = size;
    exec
}

/// A far transfer on its way.
struct Transfer {
    selector: u16,
    offset: u64,
    call: bool,
    /// Operand size: bytes of a stack slot.
    size: u8,
    return_rip: u64,
}

fn jmp_direct(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.far_transfer(env, op, op.extra as u16, op.imm, false)
}

fn call_direct(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.far_transfer(env, op, op.extra as u16, op.imm, true)
}

fn jmp_indirect(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (selector, offset) = cpu.load_far_operand(env, op, op.osize)?;
    cpu.far_transfer(env, op, selector, offset, false)
}

fn call_indirect(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let (selector, offset) = cpu.load_far_operand(env, op, op.osize)?;
    cpu.far_transfer(env, op, selector, offset, true)
}

impl Vcpu {
    fn far_transfer(
        &mut self,
        env: &mut Env<'_>,
        op: &Op,
        selector: u16,
        offset: u64,
        call: bool,
    ) -> Result<Flow, Trap> {
        let to = Transfer { selector, offset, call, size: op.osize, return_rip: self.next_rip(op) };
        if self.mode.real || self.mode.v86 {
            return self.far_real(env, &to);
        }
        if is_null(selector) {
            return Err(self.gp0());
        }
        let target = self.read_descriptor(env, selector, vector::GP)?;
        if target.is_code() {
            return self.far_code(env, &to, &target);
        }
        let long = self.long_mode();
        let kind = target.segment.kind();
        let known = target.is_system()
            && match kind {
                kind::CALL_GATE => true,
                kind::CALL_GATE16 | kind::TASK_GATE | kind::TSS | kind::TSS16 => !long,
                _ => false,
            };
        if !known || target.dpl() < self.mode.cpl || target.dpl() < rpl(selector) {
            return Err(self.gp_selector(selector));
        }
        match kind {
            kind::TSS | kind::TSS16 => self.far_task(env, &to, selector),
            kind::TASK_GATE => {
                if !target.present() {
                    return Err(self.selector_fault(vector::NP, selector));
                }
                self.far_task(env, &to, Gate::from_raw(target.raw, 0).selector)
            }
            _ => self.far_gate(env, &to, &target),
        }
    }

    fn far_real(&mut self, env: &mut Env<'_>, to: &Transfer) -> Result<Flow, Trap> {
        let mut stack = StackCursor::current(self);
        if to.call {
            stack.push(self, env, to.size, u64::from(self.seg[seg::CS].selector))?;
            stack.push(self, env, to.size, to.return_rip)?;
        }
        let code = self.seg[seg::CS];
        self.check_target(&code, to.offset)?;
        self.commit_stack(&stack);
        self.load_code_real(to.selector, to.offset);
        Ok(jumped(env))
    }

    /// Loads CS as real and virtual-8086 mode do, and RIP.
    pub(crate) fn load_code_real(&mut self, selector: u16, rip: u64) {
        if self.mode.v86 {
            self.seg[seg::CS] = Segment::v86(selector);
        } else {
            self.set_segment_real(seg::CS, selector);
        }
        self.rip = rip;
        self.update_mode();
    }

    /// Straight to a code segment: the privilege level stays.
    fn far_code(&mut self, env: &mut Env<'_>, to: &Transfer, target: &Descriptor) -> Result<Flow, Trap> {
        let cpl = self.mode.cpl;
        let privileged = if target.is_conforming_code() {
            target.dpl() > cpl
        } else {
            rpl(to.selector) > cpl || target.dpl() != cpl
        };
        if privileged || self.is_bad_long_code(target) {
            return Err(self.gp_selector(to.selector));
        }
        let code = self.code_segment(env, target, cpl)?;
        let mut stack = StackCursor::current(self);
        if to.call {
            stack.push(self, env, to.size, u64::from(self.seg[seg::CS].selector))?;
            stack.push(self, env, to.size, to.return_rip)?;
        }
        self.check_target(&code, to.offset)?;
        self.commit_stack(&stack);
        self.commit_cs(code, to.offset);
        Ok(jumped(env))
    }

    fn far_gate(&mut self, env: &mut Env<'_>, to: &Transfer, target: &Descriptor) -> Result<Flow, Trap> {
        let long = self.long_mode();
        let upper = if long { self.read_upper_half(env, target, vector::GP)? } else { 0 };
        if !target.present() {
            return Err(self.selector_fault(vector::NP, to.selector));
        }
        let gate = Gate::from_raw(target.raw, upper);
        if is_null(gate.selector) {
            return Err(self.gp0());
        }
        let descriptor = self.read_descriptor(env, gate.selector, vector::GP)?;
        let cpl = self.mode.cpl;
        let conforming = descriptor.is_conforming_code();
        let wrong_level = if to.call || conforming { descriptor.dpl() > cpl } else { descriptor.dpl() != cpl };
        let wrong_size = long && descriptor.segment.attr & (ATTR_L | ATTR_DB) != ATTR_L;
        if !descriptor.is_code() || wrong_level || wrong_size {
            return Err(self.gp_selector(gate.selector));
        }
        let new_cpl = if to.call && !conforming { descriptor.dpl() } else { cpl };
        let code = self.code_segment(env, &descriptor, new_cpl)?;
        let size = match gate.kind {
            kind::CALL_GATE16 => 2,
            _ if long => 8,
            _ => 4,
        };
        let mut stack = if new_cpl < cpl {
            self.switch_call_stack(env, &gate, new_cpl, size)?
        } else if long {
            StackCursor::flat(self.seg[seg::SS], self.gpr[4], self.mode.view)
        } else {
            StackCursor::current(self)
        };
        if to.call {
            stack.push(self, env, size, u64::from(self.seg[seg::CS].selector))?;
            stack.push(self, env, size, to.return_rip)?;
        }
        self.check_target(&code, gate.offset)?;
        self.commit_stack(&stack);
        self.commit_cs(code, gate.offset);
        Ok(jumped(env))
    }

    /// The inner stack of a call, with the old SS:RSP and the copied parameters on it.
    fn switch_call_stack(&mut self, env: &mut Env<'_>, gate: &Gate, cpl: u8, size: u8) -> Result<StackCursor, Trap> {
        let mut old = StackCursor::current(self);
        let mut stack = if size == 8 { self.inner_stack_long(env, cpl)? } else { self.inner_stack(env, cpl)? };
        stack.push(self, env, size, u64::from(old.ss.selector))?;
        stack.push(self, env, size, old.rsp)?;
        if size != 8 {
            let mut parameters = [0; 31];
            let count = usize::from(gate.count);
            for parameter in &mut parameters[..count] {
                *parameter = old.pop(self, env, size)?;
            }
            for &parameter in parameters[..count].iter().rev() {
                stack.push(self, env, size, parameter)?;
            }
        }
        Ok(stack)
    }

    fn far_task(&mut self, env: &mut Env<'_>, to: &Transfer, selector: u16) -> Result<Flow, Trap> {
        let tss = self.find_task(env, selector)?;
        let switch = if to.call { Switch::Nested } else { Switch::Jump };
        let image = self.rflags() & !flags::RF;
        Ok(match self.switch_task(env, &tss, switch, to.return_rip, image)? {
            Ok(()) => jumped(env),
            Err(_) => self.fault_in_new_task(env),
        })
    }
}
