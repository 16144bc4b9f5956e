//! When a checkpoint is worth its price.
//!
//! Going to an instant costs restoring a checkpoint and running on from it, so checkpoints stand a number of steps
//! apart, and some time of the guest's. They must cost little: all together take at most one part in [`SHARE`] of the processor time that the guest
//! takes. And they must fit: their bytes have a budget. Where the file can be thinned out, the distance doubles
//! with each thinning; where not, it doubles each time that half of what was left of the budget is used.
//!
//! What is paid for is mostly hashing and packing, so a checkpoint that is due is noted first and packed when there is
//! credit ([`crate::put_off`]). A guest that changes many pages is in debt then: the more it owes, the further apart checkpoints
//! stand, and where it owes too much there are none until it has paid.

use crate::price::Price;

/// Steps between checkpoints at first: about a fortieth of a second of running. The session looks for one that is due each 10 M steps at
/// most, so a little more would be a third more.
const FIRST_INTERVAL: u64 = 30_000_000;
/// The guest's processor time between checkpoints at least, in nanoseconds: going so far takes no longer than putting a state in place does. A
/// loop of few instructions executes ten billion a second.
const LEAST_NS: u64 = 10_000_000;
/// One part in this many of the guest's processor time may go into checkpoints.
const SHARE: u64 = 20;
/// The most that is saved up, in nanoseconds of checkpoints.
const MOST_SAVED_NS: i64 = 50_000_000;
/// What a checkpoint costs at least: the state without RAM, and the write tags that the TLBs lose.
const CHECKPOINT_NS: u64 = 200_000;
/// The most that is owed for what was done already, in nanoseconds: what goes beyond is forgiven, so that whatever happened, packing
/// goes on after half a second or so of the guest's time.
const MOST_DEBT_NS: i64 = 25_000_000;

/// The most bytes beside RAM of checkpoints that wait to be packed, for a guest of any size.
const MOST_PUT_OFF_BYTES: u64 = 32 << 20;
/// Of the pages that are noted the guest is taken to change half before they are packed, in bytes of each.
const EXPECTED_PAGE_BYTES: u64 = 2048;
/// The most that may be owed when a checkpoint is noted, in nanoseconds, that for the pages of those which wait included.
const MOST_OWED_NS: i64 = 40_000_000;
/// The distance of checkpoints grows by itself for each of these that are owed.
const OWED_STEP_NS: i64 = 10_000_000;

/// What is known of the bytes of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the initial state.
    pub initial_bytes: u64,
    /// Of the checkpoints behind it.
    pub used_bytes: u64,
    /// In memory beside RAM, of checkpoints that wait to be packed.
    pub put_off_bytes: u64,
    /// Pages of those checkpoints.
    pub waiting_pages: u64,
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
    /// It is due, but too much waits in memory: that is packed now, on credit.
    Crowded,
}

/// Decides about checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    budget_bytes: u64,
    /// The most bytes beside RAM of checkpoints that wait to be packed.
    put_off_bytes: u64,
    interval: u64,
    /// Whatever they cost.
    at_any_price: bool,
    /// What may be spent now; negative after more was spent than there was.
    credit_ns: i64,
    /// The guest's processor time since the last checkpoint.
    ran_ns: u64,
    /// All that was earned.
    earned_ns: u64,
    price: Price,
}

/// The bytes that checkpoints may take behind an initial state of `initial_bytes`, with a budget for all together: what
/// the initial state leaves, but a quarter of the budget even if it leaves less.
pub fn allowance(budget_bytes: u64, initial_bytes: u64) -> u64 {
    budget_bytes.saturating_sub(initial_bytes).max(budget_bytes / 4)
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
            ran_ns: LEAST_NS,
            earned_ns: 0,
            price: Price::default(),
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

    /// Where packing counts one part in `discount` of the time that it takes.
    pub fn with_discount(self, discount: u64) -> Self {
        Policy { price: Price::with_discount(discount), ..self }
    }

    /// With as much to begin with as may be saved up.
    pub fn with_gift(self) -> Self {
        Policy { credit_ns: MOST_SAVED_NS, ..self }
    }

    /// Checkpoints stand at least `insns` apart from now on.
    pub fn widen(&mut self, insns: u64) {
        self.interval = self.interval.max(insns);
    }

    /// The guest has run for so much processor time.
    pub fn earn(&mut self, guest_ns: u64) {
        self.ran_ns = self.ran_ns.saturating_add(guest_ns);
        self.earned_ns = self.earned_ns.saturating_add(guest_ns / SHARE);
        let earned = i64::try_from(guest_ns / SHARE).unwrap_or(i64::MAX);
        self.credit_ns = self.credit_ns.saturating_add(earned).min(MOST_SAVED_NS.max(self.credit_ns));
    }

    /// A checkpoint was noted.
    pub fn noted(&mut self) {
        self.ran_ns = 0;
    }

    /// What packing so many pages is expected to cost.
    pub fn packing_ns(&self, pages: u64) -> u64 {
        self.price.ns(pages)
    }

    /// What could be spent since the beginning.
    pub fn earned_ns(&self) -> u64 {
        self.earned_ns
    }

    /// So much processor time went into checkpoints. A debt is forgiven in part where it is large.
    pub fn pay(&mut self, ns: u64) {
        self.credit_ns = self.credit_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX)).max(-MOST_DEBT_NS);
    }

    /// Learns what packing so many pages has cost: processor time, and bytes of the file.
    pub fn learn(&mut self, pages: u64, ns: u64, bytes: u64) {
        self.price.learn(pages, ns, bytes);
    }

    /// What may be spent now, in nanoseconds.
    pub fn credit_ns(&self) -> i64 {
        self.credit_ns
    }

    /// Whether checkpoints are taken whatever they cost.
    pub fn is_at_any_price(&self) -> bool {
        self.at_any_price
    }

    /// Whether more waits in memory than may.
    pub fn is_too_much(&self, put_off_bytes: u64) -> bool {
        put_off_bytes > self.put_off_bytes
    }

    /// What is owed, that for packing what waits included.
    fn owed_ns(&self, usage: Usage) -> i64 {
        let packing_ns = i64::try_from(self.packing_ns(usage.waiting_pages)).unwrap_or(i64::MAX);
        packing_ns.saturating_sub(self.credit_ns).max(0)
    }

    /// The least distance of checkpoints where `left` of `allowance` bytes is not used.
    fn interval(&self, allowance: u64, left: u64, usage: Usage) -> u64 {
        let steps = if self.at_any_price { 0 } else { self.owed_ns(usage) / OWED_STEP_NS };
        let interval = self.interval.saturating_mul(1 + steps.unsigned_abs());
        if usage.is_thinned {
            return interval;
        }
        interval.saturating_mul(1 << (allowance / left.max(1)).ilog2().min(32))
    }

    /// Whether so much is owed that there are no checkpoints.
    fn owes_too_much(&self, usage: Usage) -> bool {
        self.owed_ns(usage).saturating_add(CHECKPOINT_NS as i64) > MOST_OWED_NS
    }

    /// Whether with a checkpoint of so many pages more would wait in memory than may.
    fn is_crowded(&self, pages: u64, usage: Usage) -> bool {
        // However many they are, when little waits it is their turn.
        let expected = pages.saturating_mul(EXPECTED_PAGE_BYTES).min(self.put_off_bytes / 2);
        self.is_too_much(usage.put_off_bytes.saturating_add(expected))
    }

    /// Whether there is room for one with so many pages, behind those that wait.
    pub fn has_room(&self, pages: u64, usage: Usage) -> bool {
        let (_, left) = self.left(usage);
        left > 0 && left >= self.price.bytes(pages.saturating_add(usage.waiting_pages))
    }

    /// The bytes that checkpoints may have, and how many of them are left.
    fn left(&self, usage: Usage) -> (u64, u64) {
        let allowance = allowance(self.budget_bytes, usage.initial_bytes);
        (allowance, allowance.saturating_sub(usage.used_bytes))
    }

    /// Whether one is due, `insns` after the last, if `pages` may have changed since then.
    pub fn decide(&self, insns: u64, pages: u64, usage: Usage) -> Decision {
        let is_near = self.ran_ns < LEAST_NS && !self.at_any_price;
        if insns < self.interval || is_near || !self.at_any_price && self.owes_too_much(usage) {
            return Decision::Wait;
        }
        if !self.at_any_price && self.is_crowded(pages, usage) {
            // What it takes is paid off before there is another on credit.
            return if self.credit_ns >= -OWED_STEP_NS { Decision::Crowded } else { Decision::Wait };
        }
        let (allowance, left) = self.left(usage);
        if !self.has_room(pages, usage) {
            // Thinning out a file that is half empty gives no room. Those that wait may turn out smaller than expected.
            let is_full = usage.used_bytes > allowance / 2 || left == 0;
            let helps = is_full && (left == 0 || left < self.price.bytes(pages));
            return if helps { Decision::NoRoom } else { Decision::Wait };
        }
        if insns < self.interval(allowance, left, usage) { Decision::Wait } else { Decision::Take }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Usage =
        Usage { initial_bytes: 0, used_bytes: 0, put_off_bytes: 0, waiting_pages: 0, is_thinned: true };

    #[test]
    fn the_distance_doubles_as_the_budget_goes() {
        let policy = Policy::new(1100);
        let decide = |insns, used_bytes| {
            policy.decide(insns * FIRST_INTERVAL, 0, Usage { initial_bytes: 100, used_bytes, ..Usage::default() })
        };
        for (used_bytes, distance) in [(0, 1), (499, 1), (500, 2), (750, 4), (999, 512)] {
            assert_eq!(decide(distance, used_bytes), Decision::Take, "{used_bytes} bytes");
            assert_eq!(
                policy.decide(
                    distance * FIRST_INTERVAL - 1,
                    0,
                    Usage { initial_bytes: 100, used_bytes, ..Usage::default() }
                ),
                Decision::Wait
            );
        }
        assert_eq!(decide(1000, 1000), Decision::NoRoom);
        assert_eq!(decide(1000, 5000), Decision::NoRoom);
    }

    #[test]
    fn a_file_that_is_thinned_has_them_evenly_until_it_is_full() {
        let mut policy = Policy::new(1 << 30).with_first_interval(1000);
        let usage = |used_bytes| Usage { used_bytes, ..ROOMY };
        assert_eq!(policy.decide(1000, 10, usage((1 << 30) - (1 << 20))), Decision::Take);
        assert_eq!(policy.decide(1000, 10, usage(1 << 30)), Decision::NoRoom);
        assert_eq!(policy.decide(1000, 1 << 20, usage((1 << 29) + 1)), Decision::NoRoom, "these pages would not fit");
        assert_eq!(policy.decide(1000, 1 << 20, usage(1 << 29)), Decision::Wait, "thinning would not help");
        assert_eq!(policy.decide(999, 10, ROOMY), Decision::Wait);
        policy.widen(2000);
        assert_eq!(policy.decide(1999, 10, ROOMY), Decision::Wait);
        assert_eq!(policy.decide(2000, 10, ROOMY), Decision::Take);
    }

    #[test]
    fn an_initial_state_leaves_a_quarter_of_the_budget_at_least() {
        assert_eq!(allowance(100, 30), 70);
        assert_eq!(allowance(100, 60), 40, "all together keep within the budget");
        assert_eq!(allowance(100, 300), 25);
    }

    /// A guest that changes `pages` pages in each 32 M steps, which take 25 ms, for `rounds` of them, where packing a page counts
    /// 750 ns. Gives what was spent, and the distances of the checkpoints in rounds.
    fn run(pages: u64, rounds: u64) -> (u64, Vec<u64>) {
        let mut policy = Policy::new(1 << 30).with_discount(8);
        let (mut spent, mut waiting_pages, mut dirty, mut since, mut distances) = (0, 0, 0, 0, Vec::new());
        for _ in 0..rounds {
            policy.earn(25_000_000);
            (dirty, since) = ((dirty + pages).min(4 * pages), since + 1);
            let packed = (policy.credit_ns().max(0) as u64 / 750).min(waiting_pages);
            policy.pay(packed * 750);
            waiting_pages -= packed;
            spent += packed * 750;
            if policy.decide(since * FIRST_INTERVAL, dirty, Usage { waiting_pages, ..ROOMY }) == Decision::Take {
                policy.pay(CHECKPOINT_NS);
                spent += CHECKPOINT_NS;
                waiting_pages += dirty;
                distances.push(since);
                (dirty, since) = (0, 0);
            }
        }
        (spent, distances)
    }

    #[test]
    fn checkpoints_take_their_share_of_the_time_and_no_more() {
        for (pages, count) in [(10, 1000), (500, 500), (5000, 50), (50_000, 5)] {
            let (spent, distances) = run(pages, 2000);
            let share = 2000 * 25_000_000 / SHARE;
            assert!(spent <= share + MOST_OWED_NS as u64, "{pages} pages: {spent} ns");
            assert!(distances.len() >= count, "{pages} pages: {distances:?}");
        }
    }

    #[test]
    fn a_guest_that_executes_much_in_little_time_has_no_more_checkpoints_than_others() {
        let mut policy = Policy::new(1 << 30).with_gift();
        let decide = |policy: &Policy| policy.decide(100 * FIRST_INTERVAL, 10, ROOMY);
        assert_eq!(decide(&policy), Decision::Take);
        policy.noted();
        assert_eq!(decide(&policy), Decision::Wait);
        policy.earn(LEAST_NS - 1);
        assert_eq!(decide(&policy), Decision::Wait);
        policy.earn(1);
        assert_eq!(decide(&policy), Decision::Take);
        policy.noted();
        assert_eq!(decide(&policy.with_first_interval(1)), Decision::Take, "whatever they cost");
    }

    #[test]
    fn a_guest_that_starts_has_checkpoints_before_there_is_credit_for_them() {
        let (_, distances) = run(1500, 40);
        assert_eq!(distances[0], 1);
        assert!(distances.iter().all(|&distance| distance <= 8), "{distances:?}");
        assert!(distances.len() >= 10, "{distances:?}");
    }

    #[test]
    fn the_more_is_owed_the_further_apart_they_stand() {
        let policy = Policy::new(1 << 30);
        let usage = |owed_ns| Usage { waiting_pages: owed_ns / crate::price::FIRST_PAGE_NS, ..ROOMY };
        assert_eq!(policy.decide(FIRST_INTERVAL, 100, usage(0)), Decision::Take);
        assert_eq!(policy.decide(FIRST_INTERVAL, 100, usage(25_000_000)), Decision::Wait);
        assert_eq!(policy.decide(3 * FIRST_INTERVAL, 100, usage(25_000_000)), Decision::Take);
        assert_eq!(policy.decide(1000 * FIRST_INTERVAL, 100, usage(45_000_000)), Decision::Wait);
    }

    #[test]
    fn memory_beside_ram_is_bounded() {
        let policy = Policy::new(1 << 30);
        let decide =
            |policy: &Policy, put_off_bytes| policy.decide(FIRST_INTERVAL, 0, Usage { put_off_bytes, ..ROOMY });
        assert_eq!(decide(&policy, MOST_PUT_OFF_BYTES), Decision::Take);
        assert_eq!(decide(&policy, MOST_PUT_OFF_BYTES + 1), Decision::Crowded);
        assert!(policy.is_too_much(MOST_PUT_OFF_BYTES + 1));
        let many = |put_off_bytes| policy.decide(FIRST_INTERVAL, 1 << 17, Usage { put_off_bytes, ..ROOMY });
        assert_eq!(many(MOST_PUT_OFF_BYTES / 2), Decision::Take);
        assert_eq!(
            many(MOST_PUT_OFF_BYTES / 2 + 1),
            Decision::Crowded,
            "the guest may change them before they are packed"
        );
        let small = policy.with_ram(64 << 20);
        assert_eq!(decide(&small, (32 << 20) + 1), Decision::Crowded);
    }

    #[test]
    fn what_waits_is_packed_on_credit_when_it_stands_in_the_way() {
        // A recording stood at such a place for 2.2 G steps: just too little waited to be packed at any price.
        let mut policy = Policy::new(1 << 30).with_discount(8);
        let usage = Usage { put_off_bytes: MOST_PUT_OFF_BYTES - (800 << 10), waiting_pages: 17_807, ..ROOMY };
        policy.pay(3_900_000);
        assert_eq!(policy.decide(3 * FIRST_INTERVAL, 707, usage), Decision::Crowded);
        // What that cost has to be paid off first.
        policy.pay(10_000_000);
        assert_eq!(policy.decide(3 * FIRST_INTERVAL, 707, usage), Decision::Wait);
        policy.earn(4_000_000 * SHARE);
        assert_eq!(policy.decide(3 * FIRST_INTERVAL, 707, usage), Decision::Crowded);
    }

    /// As it was when a recording of a guest with much to pack had no more checkpoints: its file was thinned out again and again.
    #[test]
    fn pages_that_wait_do_not_have_a_half_empty_file_thinned_out() {
        let mut policy = Policy::new(128 << 20).with_discount(8);
        // Full blocks that were written just after the pages that filled them.
        policy.learn(64, 800_000, 20_000);
        policy.learn(64, 800_000, 64 * 7000);
        let usage = Usage {
            initial_bytes: 22_074_989,
            used_bytes: 30_358_598,
            put_off_bytes: 29_007_872,
            waiting_pages: 22_034,
            is_thinned: true,
        };
        assert_ne!(policy.decide(10 * FIRST_INTERVAL, 885, usage), Decision::NoRoom);
        let crowded = Usage { waiting_pages: 60_000, ..usage };
        let mut policy = Policy::new(128 << 20).with_discount(100);
        policy.earn(1_000_000_000);
        assert_eq!(policy.decide(10 * FIRST_INTERVAL, 885, crowded), Decision::Wait, "what waits is packed first");
    }

    #[test]
    fn a_start_can_be_packed_at_once_where_that_disturbs_nobody() {
        let policy = Policy::new(1 << 30).with_discount(8).with_gift();
        let usage = |waiting_pages| Usage { waiting_pages, ..ROOMY };
        let paid = policy.credit_ns() as u64;
        assert!(policy.packing_ns(40_000) <= paid, "all that Debian's kernel changes until its init");
        assert_eq!(policy.decide(FIRST_INTERVAL, 10_000, usage(40_000)), Decision::Take);
        let mut poor = policy;
        poor.pay(paid);
        assert_eq!(poor.decide(FIRST_INTERVAL, 10_000, usage(40_000)), Decision::Wait);
    }

    #[test]
    fn whatever_was_spent_packing_goes_on_soon() {
        let mut policy = Policy::new(1 << 30).with_discount(8);
        for _ in 0..100 {
            policy.pay(1_000_000_000);
        }
        let mut ran_ns = 0;
        while policy.credit_ns() <= 0 {
            policy.earn(5_000_000);
            ran_ns += 5_000_000;
        }
        assert!(ran_ns <= 1_100_000_000, "{ran_ns} ns of the guest");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let mut policy = Policy::new(1 << 30);
        for _ in 0..100 {
            policy.earn(1_000_000_000);
        }
        assert_eq!(policy.credit_ns(), MOST_SAVED_NS);
        policy.pay(MOST_SAVED_NS as u64 + 7);
        assert_eq!(policy.credit_ns(), -7);
    }
}
