//! The instructions that raise interrupts: INT n, INT3, INTO, INT1 (SDM Vol. 2, INT n).

use super::debug::DR6_BS;
use super::events::{Event, Shutdown};
use super::stack_cursor::StackCursor;
use crate::fault::{Flow, Trap, vector};
use crate::flags;
use crate::memory::tlb::view;
use crate::op::{Env, Exec, Op};
use crate::segment::{Segment, seg};
use crate::vcpu::{Vcpu, cr};
use iced_x86::{Code, Instruction};

/// The code of a software interrupt; `None` if `insn` is none.
pub fn select(insn: &Instruction, _op: &mut Op) -> Option<Exec> {
    Some(match insn.code() {
        Code::Int_imm8 => int_n,
        Code::Int3 => int3,
        Code::Into => into,
        Code::Int1 => int1,
        _ => return None,
    })
}

/// The instruction set RIP and changed more than that: the engine looks at the world anew.
pub(crate) fn jumped(env: &mut Env<'_>) -> Flow {
    env.leave = true;
    Flow::Jump
}

fn int_n(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let number = op.imm as u8;
    if cpu.mode.v86 {
        let iopl3 = cpu.rflags_system & flags::IOPL == flags::IOPL;
        if cpu.cr4 & cr::CR4_VME != 0 && cpu.is_redirected(env, number)? {
            return cpu.enter_redirected(env, op, number, iopl3);
        }
        if !iopl3 {
            return Err(cpu.gp0());
        }
    }
    cpu.software_interrupt(env, op, number)
}

fn int3(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    cpu.software_interrupt(env, op, vector::BP)
}

fn into(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    if cpu.lazy.of() { cpu.software_interrupt(env, op, vector::OF) } else { Ok(Flow::Next) }
}

fn int1(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op) -> Result<Flow, Trap> {
    let return_rip = cpu.next_rip(op);
    let old_task = cpu.task_identity();
    let entered = cpu.deliver_int1(env, return_rip);
    cpu.finish_entry(env, old_task, entered)
}

impl Vcpu {
    fn software_interrupt(&mut self, env: &mut Env<'_>, op: &Op, vector: u8) -> Result<Flow, Trap> {
        let event = Event {
            vector,
            error_code: None,
            software: true,
            return_rip: self.next_rip(op),
            flags: self.rflags() & !flags::RF,
        };
        let old_task = self.task_identity();
        let entered = self.enter_gate(env, &event);
        self.finish_entry(env, old_task, entered)
    }

    /// Tells whether a task switch was committed.
    fn task_identity(&self) -> (u16, u64) {
        (self.seg[seg::TR].selector, self.seg[seg::TR].base)
    }

    /// The end of an instruction that entered a handler: a fault behind a task switch is the
    /// new task's, and delivered here.
    fn finish_entry(
        &mut self,
        env: &mut Env<'_>,
        old_task: (u16, u64),
        entered: Result<(), Trap>,
    ) -> Result<Flow, Trap> {
        match entered {
            Err(trap) if self.task_identity() == old_task => Err(trap),
            Err(_) => Ok(self.fault_in_new_task(env)),
            Ok(()) => Ok(jumped(env)),
        }
    }

    /// Delivers a fault that a task switch raised behind its commit point.
    pub(crate) fn fault_in_new_task(&mut self, env: &mut Env<'_>) -> Flow {
        match self.deliver_fault(env) {
            // A triple fault shows in `activity`, which the engine reads behind such a step.
            Ok(()) | Err(Shutdown) => jumped(env),
        }
    }

    /// INT n of virtual-8086 mode through the task's own vector table at linear address 0.
    fn enter_redirected(&mut self, env: &mut Env<'_>, op: &Op, number: u8, iopl3: bool) -> Result<Flow, Trap> {
        let target = self.load_stack::<u32>(env, 4 * u64::from(number), view::USER)?;
        let mut image = self.rflags() & !flags::RF;
        if !iopl3 {
            let enabled = image & flags::VIF != 0;
            image = image & !flags::IF | flags::IOPL | if enabled { flags::IF } else { 0 };
        }
        let return_rip = self.next_rip(op);
        let mut stack = StackCursor::current(self);
        for value in [image, u64::from(self.seg[seg::CS].selector), return_rip] {
            stack.push(self, env, 2, value)?;
        }
        self.commit_stack(&stack);
        self.rflags_system &= !(flags::TF | flags::RF | if iopl3 { flags::IF } else { flags::VIF });
        self.debug_pending &= !DR6_BS;
        self.commit_cs(Segment::v86((target >> 16) as u16), u64::from(target & 0xffff));
        Ok(jumped(env))
    }
}
