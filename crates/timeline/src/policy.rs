//! When a checkpoint is worth its price.
//!
//! Going to an instant costs restoring a checkpoint and running on from it, so checkpoints stand a number of steps
//! apart. They must cost little: all together take at most one part in [`SHARE`] of the processor time that the guest
//! takes, so a guest that changes many pages has them further apart, and one that was calm has saved up for a few dear
//! ones. And they must fit: their bytes have a budget. Where the file can be thinned out, the distance doubles
//! with each thinning; where not, it doubles each time that half of what was left of the budget is used.
//!
//! What is paid for is mostly hashing and packing, so a checkpoint that is due is copied first and packed when there is
//! credit ([`crate::put_off`]); the more waits, the further apart checkpoints stand.

/// Steps between checkpoints at first: about a tenth of a second of running.
const FIRST_INTERVAL: u64 = 32_000_000;
/// One part in this many of the guest's processor time may go into checkpoints.
const SHARE: u64 = 40;
/// The most that is saved up, in nanoseconds of checkpoints.
const MOST_SAVED_NS: i64 = 50_000_000;
/// What a page is taken to cost before any was measured.
const FIRST_PAGE_NS: u64 = 2_500;
/// What a checkpoint costs at least: the state without RAM, and the write tags that the TLBs lose.
const CHECKPOINT_NS: u64 = 200_000;
/// Bytes that a page is taken to have in the file before any was written.
const FIRST_PAGE_BYTES: u64 = 1500;

/// The most bytes of checkpoints that wait in memory to be packed, for a guest of any size.
const MOST_PUT_OFF_BYTES: u64 = 64 << 20;
/// The distance of checkpoints grows by itself for each of these that wait.
const PUT_OFF_STEP_BYTES: u64 = 16 << 20;
/// Copying does not wait for credit unless so much is owed, in nanoseconds.
const MOST_OWED_NS: i64 = 30_000_000;
const PAGE_BYTES: u64 = crate::format::PAGE_BYTES as u64;

/// What is known of the bytes of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the initial state.
    pub initial_bytes: u64,
    /// Of the checkpoints behind it.
    pub used_bytes: u64,
    /// In memory, of checkpoints that were copied and not packed.
    pub put_off_bytes: u64,
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
    /// The most bytes of checkpoints that wait in memory to be packed.
    put_off_bytes: u64,
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
            put_off_bytes: MOST_PUT_OFF_BYTES,
            interval: FIRST_INTERVAL,
            at_any_price: false,
            credit_ns: 0,
            page_ns: FIRST_PAGE_NS,
            page_bytes: FIRST_PAGE_BYTES,
        }
    }

    /// For a guest with `ram_bytes` of RAM: half as much may wait in memory to be packed, and not more than for any.
    pub fn with_ram(self, ram_bytes: u64) -> Self {
        Policy { put_off_bytes: MOST_PUT_OFF_BYTES.min(ram_bytes / 2), ..self }
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

    /// What may be spent now, in nanoseconds.
    pub fn credit_ns(&self) -> i64 {
        self.credit_ns
    }

    /// Whether checkpoints are taken whatever they cost.
    pub fn is_at_any_price(&self) -> bool {
        self.at_any_price
    }

    /// The least distance of checkpoints; `None`: no more fit, with so many pages in the next.
    fn interval(&self, pages: u64, usage: Usage) -> Option<u64> {
        let Usage { initial_bytes, used_bytes, put_off_bytes, is_thinned } = usage;
        let allowance = allowance(self.budget_bytes, initial_bytes);
        let left = allowance.saturating_sub(used_bytes);
        let expected = (pages + put_off_bytes / PAGE_BYTES).saturating_mul(self.page_bytes);
        if left == 0 || left < expected {
            return None;
        }
        let interval = self.interval.saturating_mul(1 + put_off_bytes / PUT_OFF_STEP_BYTES);
        if is_thinned {
            return Some(interval);
        }
        Some(interval.saturating_mul(1 << (allowance / left).ilog2().min(32)))
    }

    /// Whether a checkpoint with so many pages may be copied now.
    fn may_copy(&self, pages: u64, put_off_bytes: u64) -> bool {
        let fits = put_off_bytes.saturating_add(pages.saturating_mul(PAGE_BYTES)) <= self.put_off_bytes;
        let is_paid = self.credit_ns >= self.price(pages);
        self.at_any_price || fits && self.credit_ns >= -MOST_OWED_NS || put_off_bytes == 0 && is_paid
    }

    /// Whether there is room for one with so many pages.
    pub fn has_room(&self, pages: u64, usage: Usage) -> bool {
        self.interval(pages, usage).is_some()
    }

    /// Whether one is due, `insns` after the last, if `pages` may have changed since then.
    pub fn decide(&self, insns: u64, pages: u64, usage: Usage) -> Decision {
        if insns < self.interval || !self.may_copy(pages, usage.put_off_bytes) {
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

    const ROOMY: Usage = Usage { initial_bytes: 0, used_bytes: 0, put_off_bytes: 0, is_thinned: true };

    #[test]
    fn the_distance_doubles_as_the_budget_goes() {
        let policy = Policy::new(1100);
        let at = |used_bytes| policy.interval(0, Usage { initial_bytes: 100, used_bytes, ..Usage::default() });
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
        let (mut spent, mut taken, mut put_off_bytes) = (0, 0, 0);
        // A guest that changes 12,000 pages, 3,000 in each 32 M steps, which take a tenth of a second.
        let (mut pages, mut insns) = (0, 0);
        for _ in 0..1000 {
            policy.earn(100_000_000);
            (pages, insns) = ((pages + 3000).min(12_000), insns + FIRST_INTERVAL);
            // What was copied is packed as far as the credit goes.
            let packed = (policy.credit_ns().max(0) as u64 / 6_000).min(put_off_bytes / PAGE_BYTES);
            policy.pay(packed * 6_000);
            spent += packed * 6_000;
            put_off_bytes -= packed * PAGE_BYTES;
            if policy.decide(insns, pages, Usage { put_off_bytes, ..ROOMY }) == Decision::Take {
                policy.begin(pages);
                policy.pay(pages * 700);
                spent += pages * 700;
                put_off_bytes += pages * PAGE_BYTES;
                taken += 1;
                (pages, insns) = (0, 0);
            }
            assert!(put_off_bytes <= MOST_PUT_OFF_BYTES);
        }
        assert!(spent <= 1000 * 100_000_000 / SHARE + MOST_OWED_NS as u64, "{spent} ns");
        assert!(taken >= 12, "{taken} of them");
    }

    #[test]
    fn the_more_waits_the_further_apart_they_stand() {
        let policy = Policy::new(1 << 30);
        let usage = |put_off_bytes| Usage { put_off_bytes, ..ROOMY };
        assert_eq!(policy.decide(FIRST_INTERVAL, 100, usage(0)), Decision::Take);
        assert_eq!(policy.decide(FIRST_INTERVAL, 100, usage(32 << 20)), Decision::Wait);
        assert_eq!(policy.decide(3 * FIRST_INTERVAL, 100, usage(32 << 20)), Decision::Take);
        assert_eq!(policy.decide(100 * FIRST_INTERVAL, 100, usage(MOST_PUT_OFF_BYTES)), Decision::Wait);
        let small = policy.with_ram(64 << 20);
        assert_eq!(small.decide(100 * FIRST_INTERVAL, 100, usage(32 << 20)), Decision::Wait);
    }

    #[test]
    fn a_checkpoint_too_large_to_wait_must_be_saved_up_for() {
        let mut policy = Policy::new(1 << 30);
        assert_eq!(policy.decide(FIRST_INTERVAL, 100_000, ROOMY), Decision::Wait);
        policy.earn(100_000 * FIRST_PAGE_NS * SHARE + CHECKPOINT_NS * SHARE);
        assert_eq!(policy.decide(FIRST_INTERVAL, 100_000, ROOMY), Decision::Take);
        policy.begin(100_000);
        policy.pay(100_000 * FIRST_PAGE_NS);
        assert_eq!(policy.decide(FIRST_INTERVAL, 100_000, ROOMY), Decision::Wait);
    }
}
