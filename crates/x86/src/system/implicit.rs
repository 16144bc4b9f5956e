//! Memory accesses that no operand of an instruction stands for, with the rights of another
//! privilege level than the running one: stacks of far transfers and of event delivery.

use crate::fault::{Flow, Trap};
use crate::memory::access::Value;
use crate::memory::paging::Intent;
use crate::memory::tlb::view;
use crate::op::{AddressMode, Env, Op, Repeat};
use crate::segment::seg;
use crate::vcpu::{GPR_ZERO, Vcpu};

/// What the memory functions ask of an instruction: its position (none) and the segment that
/// says whether a non-canonical address is #SS or #GP.
const fn accessing(segment: usize) -> Op {
    Op {
        exec: |_, _, _| Ok(Flow::Next),
        imm: 0,
        disp: 0,
        base: GPR_ZERO as u8,
        index: GPR_ZERO as u8,
        scale: 0,
        seg: segment as u8,
        amode: AddressMode::Flat64,
        r1: 0,
        r2: 0,
        r3: 0,
        off: 0,
        len: 0,
        idx: 0,
        osize: 0,
        rep: Repeat::None,
        extra: 0,
    }
}

const STACK: Op = accessing(seg::SS);
const SYSTEM: Op = accessing(seg::DS);

impl Vcpu {
    fn with_view<R>(&mut self, view: u8, access: impl FnOnce(&mut Self) -> R) -> R {
        let running = std::mem::replace(&mut self.mode.view, view);
        let result = access(self);
        self.mode.view = running;
        result
    }

    /// Loads from a stack in a given view.
    ///
    /// # Errors
    /// #PF, #AC, or #SS(0) for a non-canonical address.
    pub(super) fn load_stack<T: Value>(&mut self, env: &mut Env<'_>, linear: u64, view: u8) -> Result<T, Trap> {
        self.with_view(view, |cpu| cpu.load(env, &STACK, linear))
    }

    /// Stores to a stack in a given view.
    ///
    /// # Errors
    /// As [`Self::load_stack`]; nothing is written then.
    pub(super) fn store_stack<T: Value>(
        &mut self,
        env: &mut Env<'_>,
        linear: u64,
        value: T,
        view: u8,
    ) -> Result<(), Trap> {
        self.with_view(view, |cpu| cpu.store(env, &STACK, linear, value))
    }

    /// Faults if the processor's own write of `len` bytes (at most a page) would; writes nothing.
    ///
    /// # Errors
    /// #PF or #GP(0).
    pub(super) fn probe_system_write(&mut self, env: &mut Env<'_>, linear: u64, len: usize) -> Result<(), Trap> {
        self.with_view(view::SUPERVISOR, |cpu| cpu.probe(env, &SYSTEM, linear, len, Intent::Write))
    }
}
