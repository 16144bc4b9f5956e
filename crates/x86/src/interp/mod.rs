//! The interpreter: every mode, every instruction, and the reference for all later engines.
//!
//! Code is decoded once into blocks ([`blocks`]), straight runs of [`Op`]s within a page,
//! found again by physical address and code size. The loop here runs block after block; between
//! them it looks at what may have changed: the count asked for, interrupts, debug state, code
//! that was overwritten. Where a block cannot be used (an instruction that crosses pages, a
//! code segment's limit) single instructions are decoded in [`crossing`].

pub mod accelerator;
mod blocks;
mod crossing;
#[cfg(test)]
mod tests;

use crate::bus::Bus;
use crate::engine::{Engine, Exit};
use crate::fault::{Exception, Flow, Trap, vector};
use crate::flags;
use crate::memory::phys::GuestMemory;
use crate::op::{Env, Op};
use crate::segment::seg;
use crate::units::{GuestPhysAddr, InsnCount};
use crate::vcpu::{Activity, GPR_PAGE_RIP, Shadow, Vcpu};
use accelerator::{Accelerator, NoAccelerator};
use blocks::{BlockCache, Found};
use crossing::CrossingCache;

/// Decoded instructions that are kept: 12 MiB of them.
const OPS: usize = 1 << 18;
/// The same beside an engine that takes over what runs often.
const OPS_BESIDE: usize = 1 << 16;

/// The interpreter, with its cache of decoded code. One serves all vCPUs of a machine.
pub struct Interpreter {
    blocks: BlockCache,
    crossing: CrossingCache,
    /// Decoded instructions that are kept.
    ops: usize,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

/// What to do before the next instruction.
enum Next {
    /// Run code; if `single`, one instruction only.
    Run { single: bool },
    /// An event was delivered: look again.
    Again,
    /// The run ends.
    Exit(Exit),
}

/// What became of an attempt to run code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Go on; nothing changed that an event could depend on.
    Chained,
    /// Go on, after a look at the world.
    On,
    /// The last instruction faulted, and the fault was delivered: go on.
    Faulted,
    /// The run ends.
    Exit(Exit),
}

impl Interpreter {
    /// With an empty cache.
    pub fn new() -> Self {
        Self::keeping(OPS)
    }

    /// One for [`Self::run_with`], which sees little code more than a few times: it keeps less.
    pub fn beside_accelerator() -> Self {
        Self::keeping(OPS_BESIDE)
    }

    /// One that keeps `ops` decoded instructions (at least a block); nothing but speed depends on it.
    pub fn keeping(ops: usize) -> Self {
        Interpreter { blocks: BlockCache::new(ops), crossing: CrossingCache::new(), ops }
    }

    /// Runs block after block, as long as nothing but near jumps happens between them.
    #[inline(always)]
    fn run_blocks<A: Accelerator>(&mut self, accelerator: &mut A, cpu: &mut Vcpu, env: &mut Env<'_>) -> Ran {
        loop {
            let ran = match accelerator.run(cpu, env) {
                Some(ran) => ran,
                None => self.run_code(accelerator, cpu, env, false),
            };
            if !matches!(ran, Ran::Chained) || cpu.count >= env.until {
                return ran;
            }
        }
    }

    /// Runs one block, or the part of it before `env.until`, or one instruction of it.
    #[inline(always)]
    fn run_code<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        cpu: &mut Vcpu,
        env: &mut Env<'_>,
        single: bool,
    ) -> Ran {
        match self.find_code(accelerator, cpu, env) {
            Ok(Code::Block { first, len, bytes }) => {
                let whole = !single && within_limit(cpu, bytes);
                let len = if whole { u64::from(len).min(env.until - cpu.count) as usize } else { 1 };
                let ops = self.blocks.ops(first, len);
                if !whole && !within_limit(cpu, ops[0].len.into()) {
                    return beyond_limit(cpu, env);
                }
                execute(cpu, env, ops)
            }
            Ok(Code::Single(op)) if !within_limit(cpu, op.len.into()) => beyond_limit(cpu, env),
            Ok(Code::Single(op)) => execute(cpu, env, std::slice::from_ref(&op)),
            Err(trap) => fault(cpu, env, trap),
        }
    }

    /// Finds or decodes the code at RIP, and sets the base that RIPs are counted from.
    fn find_code<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        cpu: &mut Vcpu,
        env: &mut Env<'_>,
    ) -> Result<Code, Trap> {
        let base = if cpu.is_64bit() { 0 } else { cpu.seg[seg::CS].base };
        let mut linear = cpu.rip.wrapping_add(base);
        if !cpu.is_64bit() {
            linear &= 0xffff_ffff;
            if cpu.rip > u64::from(cpu.seg[seg::CS].limit) {
                return Err(cpu.gp0());
            }
        }
        let page = cpu.fetch_page(env, linear)?;
        if env.mem.has_stale_code() {
            self.drop_stale_code(accelerator, env.mem);
        }
        let at = GuestPhysAddr(page.0 | linear & 0xfff);
        cpu.gpr[GPR_PAGE_RIP] = cpu.rip.wrapping_sub(linear & 0xfff);
        let mut code = self.blocks.lookup(at, cpu.mode.code);
        if code.is_none() {
            code = self.blocks.decode(cpu, env.mem, at);
        }
        match code {
            Some(Found::Block { first, len, bytes }) => Ok(Code::Block { first, len, bytes }),
            Some(Found::Crossing) => self.crossing.fetch(cpu, env, linear, at, true).map(Code::Single),
            None => self.crossing.fetch(cpu, env, linear, at, false).map(Code::Single),
        }
    }

    /// Decides what comes before the next instruction, in the order of SDM Vol. 3A, table 6-2.
    #[inline(always)]
    fn next(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>) -> Next {
        if cpu.count >= env.until {
            return Next::Exit(Exit::Until);
        }
        let quiet =
            !env.interrupt && cpu.nmi_pending == 0 && cpu.debug_pending == 0 && cpu.activity == Activity::Running;
        if quiet && !steps_singly(cpu) {
            return Next::Run { single: false };
        }
        self.next_with_events(cpu, env)
    }

    fn next_with_events(&mut self, cpu: &mut Vcpu, env: &mut Env<'_>) -> Next {
        let shadow = cpu.shadow;
        let may_interrupt = env.interrupt && cpu.rflags_system & flags::IF != 0 && shadow == Shadow::None;
        let may_nmi = cpu.nmi_pending > 0 && !cpu.nmi_blocked && shadow != Shadow::MovSs;
        match cpu.activity {
            Activity::Running => {}
            Activity::Halted if may_interrupt || may_nmi || cpu.debug_pending != 0 => cpu.activity = Activity::Running,
            Activity::Halted | Activity::WaitForSipi => return Next::Exit(Exit::Halted),
            Activity::Shutdown => return Next::Exit(Exit::Shutdown),
        }
        if cpu.debug_pending != 0 && shadow != Shadow::MovSs {
            cpu.fault = Exception { vector: vector::DB, dr6: cpu.debug_pending, ..Exception::default() };
            cpu.debug_pending = 0;
            return delivered(cpu, env, Vcpu::deliver_fault);
        }
        if may_nmi {
            cpu.nmi_pending -= 1;
            return delivered(cpu, env, Vcpu::deliver_nmi);
        }
        if may_interrupt {
            let at = cpu.count;
            env.touch_bus();
            let Some(vector) = env.bus.acknowledge_interrupt(at) else { return Next::Again };
            return delivered(cpu, env, |cpu, env| cpu.deliver_interrupt(env, vector));
        }
        if let Some(dr6) = self.instruction_breakpoint(cpu) {
            cpu.fault = Exception { vector: vector::DB, dr6, ..Exception::default() };
            return delivered(cpu, env, Vcpu::deliver_fault);
        }
        Next::Run { single: steps_singly(cpu) }
    }

    fn instruction_breakpoint(&self, cpu: &Vcpu) -> Option<u64> {
        if cpu.rflags_system & flags::RF != 0 || !cpu.has_instruction_breakpoints() || cpu.shadow == Shadow::MovSs {
            return None;
        }
        let base = if cpu.is_64bit() { 0 } else { cpu.seg[seg::CS].base };
        cpu.instruction_breakpoint(cpu.rip.wrapping_add(base))
    }

    /// Runs one instruction under single step, shadow or resume flag.
    fn run_single<A: Accelerator>(&mut self, accelerator: &mut A, cpu: &mut Vcpu, env: &mut Env<'_>) -> Ran {
        let stepping = cpu.rflags_system & flags::TF != 0;
        // What a shadow holds back comes behind one iteration of a repeated string instruction.
        let shadowed = std::mem::take(&mut cpu.shadow) != Shadow::None;
        cpu.rflags_system &= !flags::RF;
        if !stepping && !shadowed {
            return self.run_code(accelerator, cpu, env, true);
        }
        if stepping {
            // Entering a handler, by the instruction itself or by its fault, takes the trap away.
            cpu.debug_pending |= crate::system::debug::DR6_BS;
        }
        let until = std::mem::replace(&mut env.until, cpu.count + 1);
        let ran = self.run_code(accelerator, cpu, env, true);
        env.until = until;
        ran
    }

    /// Drops the code of pages that were written to.
    fn drop_stale_code<A: Accelerator>(&mut self, accelerator: &mut A, memory: &mut GuestMemory) {
        for page in memory.take_stale_code() {
            self.blocks.drop_page(page);
            accelerator.drop_page(page);
        }
    }

    /// As [`Engine::run`], with `accelerator` executing what it can.
    pub fn run_with<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        vcpu: &mut Vcpu,
        memory: &mut GuestMemory,
        bus: &mut dyn Bus,
        until: InsnCount,
    ) -> Exit {
        // Other vCPUs may have made pages hold code since this one ran.
        vcpu.tlb.refresh_code_pages(memory);
        let mut env =
            Env { mem: memory, bus, leave: false, bus_touched: true, until, extra_steps: 0, interrupt: false };
        loop {
            if env.bus_touched {
                env.bus_touched = false;
                let signals = env.bus.signals();
                env.until = until.min(signals.until);
                env.interrupt = signals.interrupt;
                if signals.attention {
                    return Exit::Attention;
                }
            }
            let ran = match self.next(vcpu, &mut env) {
                Next::Run { single: false } => self.run_blocks(accelerator, vcpu, &mut env),
                Next::Run { single: true } => self.run_single(accelerator, vcpu, &mut env),
                Next::Again => Ran::On,
                Next::Exit(exit) => return exit,
            };
            if let Ran::Exit(exit) = ran {
                return exit;
            }
        }
    }
}

/// True if behind what just ran as `ran` nothing comes but the next instruction, as far as the run's bound, the board and
/// events are concerned.
#[inline]
pub fn goes_on(cpu: &Vcpu, env: &Env<'_>, ran: Ran) -> bool {
    let interrupted = env.interrupt && cpu.rflags_system & flags::IF != 0;
    !matches!(ran, Ran::Exit(_))
        && cpu.count < env.until
        && !env.bus_touched
        && !interrupted
        && cpu.nmi_pending == 0
        && cpu.debug_pending == 0
        && cpu.activity == Activity::Running
        && !steps_singly(cpu)
}

/// True if the next instruction must run alone: it is in an interrupt shadow, single-stepped or
/// resumed, or each must be compared with the breakpoints.
#[inline(always)]
fn steps_singly(cpu: &Vcpu) -> bool {
    cpu.shadow != Shadow::None || cpu.rflags_system & (flags::TF | flags::RF) != 0 || cpu.has_instruction_breakpoints()
}

/// Code that [`Interpreter::find_code`] found.
enum Code {
    /// A block: its first op, how many ops, how many bytes.
    Block { first: u32, len: u16, bytes: u16 },
    /// One instruction outside any block.
    Single(Op),
}

/// True if `len_bytes` of code at RIP lie within the limit of the code segment.
#[inline(always)]
fn within_limit(cpu: &Vcpu, len_bytes: u16) -> bool {
    cpu.is_64bit() || cpu.rip + u64::from(len_bytes) - 1 <= u64::from(cpu.seg[seg::CS].limit)
}

/// An instruction that reaches beyond the limit of the code segment: #GP(0).
#[cold]
fn beyond_limit(cpu: &mut Vcpu, env: &mut Env<'_>) -> Ran {
    let trap = cpu.raise_with(vector::GP, 0);
    fault(cpu, env, trap)
}

/// Delivers an event; it counts as one step.
fn delivered<'a>(
    cpu: &mut Vcpu,
    env: &mut Env<'a>,
    deliver: impl FnOnce(&mut Vcpu, &mut Env<'a>) -> Result<(), crate::system::events::Shutdown>,
) -> Next {
    let outcome = deliver(cpu, env);
    cpu.count = cpu.count + 1;
    match outcome {
        Ok(()) => Next::Again,
        Err(_) => {
            cpu.activity = Activity::Shutdown;
            Next::Exit(Exit::Shutdown)
        }
    }
}

/// Delivers the fault that `trap` stands for, or tells the board of it.
#[cold]
fn fault(cpu: &mut Vcpu, env: &mut Env<'_>, _trap: Trap) -> Ran {
    if cpu.reports_outside() {
        return wait_for_board(cpu, env);
    }
    match delivered(cpu, env, Vcpu::deliver_fault) {
        Next::Exit(exit) => Ran::Exit(exit),
        Next::Run { .. } | Next::Again => Ran::Faulted,
    }
}

/// Asserts FERR#. The instruction stays where it is and is tried again, as a step each time, so that whatever ends
/// the wait is seen and every run ends at its bound.
fn wait_for_board(cpu: &mut Vcpu, env: &mut Env<'_>) -> Ran {
    let at = cpu.count;
    env.touch_bus();
    env.bus.numeric_error(at);
    cpu.count = at + 1;
    // A breakpoint at the instruction does not hit again, and a single step is not done before the instruction is.
    cpu.rflags_system |= flags::RF;
    cpu.debug_pending &= !crate::system::debug::DR6_BS;
    Ran::On
}

/// Runs `ops`, which follow each other, and leaves RIP and count behind the last that ran.
#[inline(always)]
fn execute(cpu: &mut Vcpu, env: &mut Env<'_>, ops: &[Op]) -> Ran {
    env.leave = false;
    env.extra_steps = 0;
    for op in &ops[..ops.len() - 1] {
        match (op.exec)(cpu, env, op) {
            Ok(Flow::Next) if !env.leave => {}
            other => return finish(cpu, env, op, other),
        }
    }
    let op = &ops[ops.len() - 1];
    let last = (op.exec)(cpu, env, op);
    finish(cpu, env, op, last)
}

/// Accounts for the last instruction that ran of a block, `op`, whose `exec` gave `outcome`: count, RIP,
/// delivery of a fault.
#[inline(always)]
pub fn finish(cpu: &mut Vcpu, env: &mut Env<'_>, op: &Op, outcome: Result<Flow, Trap>) -> Ran {
    let before = cpu.count + u64::from(op.idx) + env.extra_steps;
    match outcome {
        Ok(flow) => {
            cpu.count = before + 1;
            match flow {
                Flow::Jump if !env.leave => return Ran::Chained,
                Flow::Jump => {}
                Flow::Next if !env.leave => {
                    cpu.rip = cpu.next_rip(op);
                    return Ran::Chained;
                }
                Flow::Next | Flow::Leave => cpu.rip = cpu.next_rip(op),
                Flow::Repeat => {
                    // Between iterations RF is set: events push it so, and an instruction
                    // breakpoint does not hit again (SDM Vol. 3B, 18.3.1.1).
                    cpu.rip = cpu.op_rip(op);
                    cpu.rflags_system |= flags::RF;
                }
                Flow::Stop => {
                    cpu.rip = cpu.next_rip(op);
                    if cpu.debug_pending != 0 {
                        // A stepped HLT traps before it waits.
                        return Ran::On;
                    }
                    let exit = if cpu.activity == Activity::Running { Exit::Yield } else { Exit::Halted };
                    return Ran::Exit(exit);
                }
            }
            Ran::On
        }
        Err(trap) => {
            cpu.count = before;
            cpu.rip = cpu.op_rip(op);
            fault(cpu, env, trap)
        }
    }
}

impl Engine for Interpreter {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        self.run_with(&mut NoAccelerator, vcpu, memory, bus, until)
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        memory.forget_code();
        self.blocks = BlockCache::new(self.ops);
        self.crossing = CrossingCache::new();
    }
}
