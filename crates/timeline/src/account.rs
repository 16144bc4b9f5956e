//! What the checkpoints of a recording have cost, kept beside the policy that decides about the next.
//!
//! Costs are processor time of the two threads that work on a recording, so neither a busy host nor an idle guest
//! changes the picture. They decide only where checkpoints stand: no guest can see them.

use rustix::time::{ClockId, clock_gettime};

use crate::policy::{Decision, Policy, Usage};
use crate::worker::Report;

/// Processor time of this thread so far, in nanoseconds.
pub fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}

/// What was spent, and on what.
pub struct Account {
    policy: Policy,
    /// Bytes of the initial state, once it is written.
    initial_bytes: Option<u64>,
    report: Report,
    /// [`thread_ns`] up to which this thread's time is accounted for.
    here_ns: u64,
    /// Pages of the last checkpoint, and what copying them took, until the worker has saved them.
    copied: Option<(u64, u64)>,
}

impl Account {
    /// Nothing spent yet.
    pub fn new(policy: Policy) -> Self {
        Account { policy, initial_bytes: None, report: Report::default(), here_ns: thread_ns(), copied: None }
    }

    /// This thread's time since the last call.
    fn lap(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.here_ns, thread_ns());
        self.here_ns.saturating_sub(before)
    }

    /// Up to now the guest ran.
    pub fn guest_ran(&mut self) {
        let ran = self.lap();
        self.policy.earn(ran);
    }

    /// Since then a checkpoint with so many pages was copied.
    pub fn copied(&mut self, pages: u64) {
        let ns = self.lap();
        self.policy.begin(pages);
        self.policy.pay(ns);
        self.copied = Some((pages, ns));
    }

    /// Since then the recorder did other things, which the guest does not pay for.
    pub fn forget(&mut self) {
        self.lap();
    }

    /// What the worker says, when it has nothing to do.
    pub fn hear(&mut self, report: Report) {
        let before = std::mem::replace(&mut self.report, report);
        if self.initial_bytes.is_none() {
            // The initial state has to be, whatever it costs.
            self.initial_bytes = (report.checkpoint_bytes > 0).then_some(report.checkpoint_bytes);
            self.copied = None;
            return;
        }
        let ns = report.busy_ns.saturating_sub(before.busy_ns);
        self.policy.pay(ns.saturating_add(report.thinning_ns.saturating_sub(before.thinning_ns)));
        if let Some((pages, copying_ns)) = self.copied.take() {
            let written = |report: &Report| report.checkpoint_bytes + report.thinned_bytes;
            let bytes = written(&report).saturating_sub(written(&before));
            self.policy.learn(pages, ns.saturating_add(copying_ns), bytes);
        }
        self.policy.widen(report.interval);
    }

    /// Whether a checkpoint is due, `insns` after the last, if `pages` may have changed since then.
    pub fn decide(&self, insns: u64, pages: u64) -> Decision {
        self.policy.decide(insns, pages, self.usage())
    }

    /// Whether there is room for one with so many pages.
    pub fn has_room(&self, pages: u64) -> bool {
        self.policy.has_room(pages, self.usage())
    }

    fn usage(&self) -> Usage {
        let initial_bytes = self.initial_bytes.unwrap_or(0);
        let used_bytes = self.report.checkpoint_bytes.saturating_sub(initial_bytes);
        Usage { initial_bytes, used_bytes, is_thinned: self.report.is_thinned }
    }
}
