//! When a checkpoint is worth its price.
//!
//! Going to an instant costs restoring a checkpoint and running on from it, so checkpoints stand a number of steps
//! apart. They must cost little: all together take at most one part in [`SHARE`] of the processor time that the guest
//! takes, so a guest that changes many pages has them further apart, and one that was calm has saved up for a few dear
//! ones. And they must fit: their bytes have a budget. Where the file can be thinned out, the distance doubles
//! with each thinning; where not, it doubles each time that half of what was left of the budget is used.

/// Steps between checkpoints at first: about a tenth of a second of running.
const FIRST_INTERVAL: u64 = 32_000_000;
/// One part in this many of the guest's processor time may go into checkpoints.
pub const SHARE: u64 = 40;
/// The most that is saved up, in nanoseconds of checkpoints.
const MOST_SAVED_NS: i64 = 50_000_000;
/// What a page is taken to cost before any was measured.
const FIRST_PAGE_NS: u64 = 8_000;
/// What a checkpoint costs at least: the state without RAM, and the write tags that the TLBs lose.
const CHECKPOINT_NS: u64 = 200_000;
/// Bytes that a page is taken to have in the file before any was written.
const FIRST_PAGE_BYTES: u64 = 1500;

/// What is known of the bytes of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the initial state.
    pub initial_bytes: u64,
    /// Of the checkpoints behind it.
    pub used_bytes: u64,
    /// The file is thinned out when it is time for it.
    pub is_thinned: bool,
}

/// What is to be done about the next checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Wait,
    /// It is due.
    Take,
    /// It is due, but would not fit.
    NoRoom,
}

/// Decides about checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    budget_bytes: u64,
    interval: u64,
    /// Whatever they cost.
    at_any_price: bool,
    /// What may be spent now; negative after a checkpoint that was dearer than expected.
    credit_ns: i64,
    page_ns: u64,
    page_bytes: u64,
}

/// The bytes that checkpoints may take behind an initial state of `initial_bytes`, with a budget for all together: what
/// the initial state leaves, but half of the budget even if it leaves less.
pub fn allowance(budget_bytes: u64, initial_bytes: u64) -> u64 {
    budget_bytes.saturating_sub(initial_bytes).max(budget_bytes / 2)
}

impl Policy {
    /// Checkpoints within `budget_bytes` of file, see [`allowance`].
    pub fn new(budget_bytes: u64) -> Self {
        Policy {
            budget_bytes,
            interval: FIRST_INTERVAL,
            at_any_price: false,
            credit_ns: 0,
            page_ns: FIRST_PAGE_NS,
            page_bytes: FIRST_PAGE_BYTES,
        }
    }

    /// With checkpoints `insns` apart at first, whatever they cost.
    pub fn with_first_interval(self, insns: u64) -> Self {
        Policy { interval: insns.max(1), at_any_price: true, ..self }
    }

    /// Checkpoints stand at least `insns` apart from now on.
    pub fn widen(&mut self, insns: u64) {
        self.interval = self.interval.max(insns);
    }

    /// The guest has run for so much processor time.
    pub fn earn(&mut self, guest_ns: u64) {
        let earned = i64::try_from(guest_ns / SHARE).unwrap_or(i64::MAX);
        self.credit_ns = self.credit_ns.saturating_add(earned);
    }

    /// A checkpoint begins: what was saved up for it and is not used is lost but for [`MOST_SAVED_NS`].
    pub fn begin(&mut self, pages: u64) {
        let rest = self.credit_ns.saturating_sub(self.price(pages));
        self.credit_ns = self.credit_ns.saturating_sub((rest - MOST_SAVED_NS).max(0));
    }

    fn price(&self, pages: u64) -> i64 {
        i64::try_from(pages.saturating_mul(self.page_ns).saturating_add(CHECKPOINT_NS)).unwrap_or(i64::MAX)
    }

    /// So much processor time went into checkpoints.
    pub fn pay(&mut self, ns: u64) {
        self.credit_ns = self.credit_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
    }

    /// Learns what a checkpoint with so many pages has cost: processor time, and bytes of the file.
    pub fn learn(&mut self, pages: u64, ns: u64, bytes: u64) {
        // Few pages say little about the price of many.
        if pages >= 64 {
            self.page_ns = (3 * self.page_ns + ns.saturating_sub(CHECKPOINT_NS) / pages) / 4;
            // Too much is expected rather than too little: the budget is kept.
            self.page_bytes = ((3 * self.page_bytes + bytes / pages) / 4).max(bytes / pages);
        }
    }

    /// The least distance of checkpoints; `None`: no more fit, with so many pages in the next.
    fn interval(&self, pages: u64, usage: Usage) -> Option<u64> {
        let allowance = allowance(self.budget_bytes, usage.initial_bytes);
        let left = allowance.saturating_sub(usage.used_bytes);
        if left == 0 || left < pages.saturating_mul(self.page_bytes) {
            return None;
        }
        if usage.is_thinned {
            return Some(self.interval);
        }
        Some(self.interval.saturating_mul(1 << (allowance / left).ilog2().min(32)))
    }

    /// Whether there is room for one with so many pages.
    pub fn has_room(&self, pages: u64, usage: Usage) -> bool {
        self.interval(pages, usage).is_some()
    }

    /// Whether one is due, `insns` after the last, if `pages` may have changed since then.
    pub fn decide(&self, insns: u64, pages: u64, usage: Usage) -> Decision {
        let is_paid = self.at_any_price || self.credit_ns >= self.price(pages);
        if insns < self.interval || !is_paid {
            return Decision::Wait;
        }
        match self.interval(pages, usage) {
            None => Decision::NoRoom,
            Some(interval) if insns < interval => Decision::Wait,
            Some(_) => Decision::Take,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Usage = Usage { initial_bytes: 0, used_bytes: 0, is_thinned: true };

    #[test]
    fn the_distance_doubles_as_the_budget_goes() {
        let policy = Policy::new(1100);
        let at = |used_bytes| policy.interval(0, Usage { initial_bytes: 100, used_bytes, is_thinned: false });
        assert_eq!(at(0), Some(FIRST_INTERVAL));
        assert_eq!(at(499), Some(FIRST_INTERVAL));
        assert_eq!(at(500), Some(2 * FIRST_INTERVAL));
        assert_eq!(at(750), Some(4 * FIRST_INTERVAL));
        assert_eq!(at(999), Some(512 * FIRST_INTERVAL));
        assert_eq!(at(1000), None);
        assert_eq!(at(5000), None);
    }

    #[test]
    fn a_file_that_is_thinned_has_them_evenly_until_it_is_full() {
        let mut policy = Policy::new(1 << 30).with_first_interval(1000);
        let usage = |used_bytes| Usage { used_bytes, ..ROOMY };
        assert_eq!(policy.decide(1000, 10, usage((1 << 30) - (1 << 20))), Decision::Take);
        assert_eq!(policy.decide(1000, 10, usage(1 << 30)), Decision::NoRoom);
        assert_eq!(policy.decide(1000, 1 << 20, usage(1 << 29)), Decision::NoRoom, "these pages would not fit");
        assert_eq!(policy.decide(999, 10, ROOMY), Decision::Wait);
        policy.widen(2000);
        assert_eq!(policy.decide(1999, 10, ROOMY), Decision::Wait);
        assert_eq!(policy.decide(2000, 10, ROOMY), Decision::Take);
    }

    #[test]
    fn a_large_initial_state_leaves_half_of_the_budget() {
        assert_eq!(allowance(100, 30), 70);
        assert_eq!(allowance(100, 300), 50);
    }

    #[test]
    fn checkpoints_take_their_share_of_the_time_and_no_more() {
        let mut policy = Policy::new(1 << 30);
        let (mut spent, mut taken) = (0, 0);
        // A guest that changes 30,000 pages, 3,000 in each 32 M steps, which take a tenth of a second.
        let (mut pages, mut insns) = (0, 0);
        for _ in 0..1000 {
            policy.earn(100_000_000);
            (pages, insns) = ((pages + 3000).min(30_000), insns + FIRST_INTERVAL);
            if policy.decide(insns, pages, ROOMY) == Decision::Take {
                let ns = pages * 6_000 + 300_000;
                policy.begin(pages);
                policy.pay(ns);
                policy.learn(pages, ns, 1000 * pages);
                (spent, taken) = (spent + ns, taken + 1);
                (pages, insns) = (0, 0);
            }
        }
        assert!(spent <= 1000 * 100_000_000 / SHARE, "{spent} ns");
        assert!(taken >= 12, "{taken} of them");
    }

    #[test]
    fn a_calm_guest_has_saved_up_for_a_dear_checkpoint() {
        let mut policy = Policy::new(1 << 30);
        assert_eq!(policy.decide(FIRST_INTERVAL, 3000, ROOMY), Decision::Wait);
        policy.earn(10_000_000_000);
        assert_eq!(policy.decide(FIRST_INTERVAL, 3000, ROOMY), Decision::Take);
        policy.begin(3000);
        policy.pay(20_000_000);
        policy.earn(100_000_000);
        assert_eq!(policy.decide(FIRST_INTERVAL, 3000, ROOMY), Decision::Take, "it had saved up for two");
        policy.begin(3000);
        policy.pay(60_000_000);
        assert_eq!(policy.decide(FIRST_INTERVAL, 0, ROOMY), Decision::Wait);
    }
}
