//! What the checkpoints of a recording have cost, kept beside the policy that decides about the next.
//!
//! Costs are processor time of the two threads that work on a recording, so neither a busy host nor an idle guest
//! changes the picture. They decide only where checkpoints stand: no guest can see them.

use rustix::time::{ClockId, clock_gettime};

use crate::format::PAGE_BYTES;
use crate::policy::{Decision, Policy, Usage};
use crate::worker::Report;

/// With a processor to spare the worker takes nothing from the guest but caches and memory: its time counts one part in
/// this many then.
const SPARE_PROCESSOR: u64 = 8;
/// What it takes the guest's thread to keep a page aside, in nanoseconds, about: the copy, into room that is there. It took 2100 into fresh
/// memory. Charging more leaves a guest that changes many pages without checkpoints for a second or two of its time.
const KEPT_PAGE_NS: u64 = 750;
/// Packing is worth waking the worker for from this much time on.
const LEAST_PACKING_NS: u64 = 500_000;
/// At the end packing is expected to take one part in this many of all that was earned, at most: a hundredth of the guest's time. The user waits
/// for it.
const LAST_PART: u64 = 5;
/// So much it may take however short the run was, in nanoseconds: about what it takes to give the guest's RAM back to the host meanwhile.
const LEAST_LAST_NS: u64 = 4_000_000;
/// What the last packing takes at most, in nanoseconds: more than it is expected to.
const MOST_LAST_NS: u64 = 400_000_000;
/// For longer the log need not wait.
pub const MOST_PACKING_NS: u64 = 20_000_000;

/// Processor time of this thread so far, in nanoseconds.
pub fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}

/// Bytes of the checkpoints behind the initial state: none before that is written.
fn used_bytes(report: &Report) -> u64 {
    if report.initial_bytes == 0 { 0 } else { report.checkpoint_bytes.saturating_sub(report.initial_bytes) }
}

/// What may be packed when a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Processor time of the worker for states that wait, in nanoseconds.
    pub ns: u64,
    /// It is taken to be enough for all of them, and for one at the end.
    pub is_all: bool,
}

/// What was spent, and on what.
pub struct Account {
    policy: Policy,
    report: Report,
    /// [`thread_ns`] up to which this thread's time is accounted for.
    here_ns: u64,
    /// So much of the worker's time counts as much as one of this thread's.
    worker_discount: u64,
}

impl Account {
    /// Nothing spent yet.
    pub fn new(policy: Policy) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let has_spare = processors > 1;
        let worker_discount = if has_spare { SPARE_PROCESSOR } else { 1 };
        let policy = policy.with_discount(worker_discount);
        // A guest that starts changes most of its pages. With a processor to spare, packing them at once disturbs it less than keeping
        // them aside until there is credit.
        let policy = if has_spare { policy.with_gift() } else { policy };
        Account { policy, report: Report::default(), here_ns: thread_ns(), worker_discount }
    }

    /// This thread's time since the last call.
    fn lap(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.here_ns, thread_ns());
        self.here_ns.saturating_sub(before)
    }

    /// Up to now the guest ran, and its thread has kept `kept` pages aside in that time.
    pub fn guest_ran(&mut self, kept: usize) {
        let ran = self.lap();
        self.policy.earn(ran);
        self.policy.pay((kept as u64).saturating_mul(KEPT_PAGE_NS).min(ran));
    }

    /// Since then a checkpoint was noted.
    pub fn noted(&mut self) {
        self.policy.noted();
        let ns = self.lap();
        self.policy.pay(ns);
    }

    /// What the worker says. The initial state has to be, whatever it costs: it is not charged for.
    pub fn hear(&mut self, report: Report) {
        let before = std::mem::replace(&mut self.report, report);
        let ns = report.packing_ns.saturating_sub(before.packing_ns);
        let thinning_ns = report.thinning_ns.saturating_sub(before.thinning_ns);
        self.policy.pay(ns.saturating_add(thinning_ns) / self.worker_discount);
        let written = |report: &Report| used_bytes(report) + report.thinned_bytes;
        let bytes = written(&report).saturating_sub(written(&before));
        self.policy.learn(report.packed_pages - before.packed_pages, ns, bytes);
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
        let Report { initial_pages, put_off_bytes, is_thinned, .. } = self.report;
        let initial_bytes = match self.report.initial_bytes {
            // What is not packed yet may be kernels and the like, which do not get smaller.
            0 => self.report.checkpoint_bytes + initial_pages * PAGE_BYTES as u64,
            bytes => bytes,
        };
        let waiting_pages = self.report.waiting_pages - initial_pages;
        Usage { initial_bytes, used_bytes: used_bytes(&self.report), put_off_bytes, waiting_pages, is_thinned }
    }

    /// Processor time of the worker that may go into packing now, if that is enough to begin, in nanoseconds.
    pub fn spendable_ns(&self) -> Option<u64> {
        if self.policy.is_too_much(self.report.put_off_bytes) {
            return Some(MOST_PACKING_NS);
        }
        let credit_ns = u64::try_from(self.policy.credit_ns()).unwrap_or(0);
        let ns = credit_ns.saturating_mul(self.worker_discount).min(MOST_PACKING_NS);
        (ns >= LEAST_PACKING_NS).then_some(ns)
    }

    /// What may be packed at the end, where `pages` may have changed since the last checkpoint: all, if that is little beside the
    /// time that the guest took, or what can be spent.
    pub fn last(&self, pages: u64) -> Last {
        let all_pages = self.report.waiting_pages.saturating_add(pages);
        let all_ns = self.policy.packing_ns(all_pages).saturating_mul(self.worker_discount);
        let much_ns = (self.policy.earned_ns() / LAST_PART).max(LEAST_LAST_NS);
        let is_all = all_ns <= much_ns || self.is_at_any_price();
        let ns = if is_all { MOST_LAST_NS } else { self.spendable_ns().unwrap_or(0).min(much_ns) };
        Last { ns, is_all }
    }

    /// Whether checkpoints are saved at once, whatever that costs.
    pub fn is_at_any_price(&self) -> bool {
        self.policy.is_at_any_price()
    }
}
