//! When a checkpoint is worth its price.
//!
//! Going to an instant costs restoring a checkpoint and running on from it, so checkpoints stand a fixed number of
//! steps apart. Their bytes have a budget: the distance doubles each time that half of what was left of it is
//! used, so that a recording of any length keeps within it.

/// Steps between checkpoints at first: about a tenth of a second of running.
const FIRST_INTERVAL: u64 = 32_000_000;
/// Each checkpoint copies changed pages while the guest waits: at most this part of its run goes into that.
const COPY_SHARE: u64 = 50;
/// Steps that pass while one page is copied and saved, in the order of magnitude.
const STEPS_PER_PAGE: u64 = 200;

/// Decides about checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    budget_bytes: u64,
    first_interval: u64,
}

impl Policy {
    /// Checkpoints in at most `budget_bytes` of file, initial state included.
    pub fn new(budget_bytes: u64) -> Self {
        Policy { budget_bytes, first_interval: FIRST_INTERVAL }
    }

    /// With checkpoints `insns` apart at first.
    pub fn with_first_interval(self, insns: u64) -> Self {
        Policy { first_interval: insns.max(1), ..self }
    }

    /// The distance of checkpoints, of which `initial_bytes` and then `used_bytes` are in the file; `None`: no more.
    fn interval(&self, initial_bytes: u64, used_bytes: u64) -> Option<u64> {
        let budget = self.budget_bytes.saturating_sub(initial_bytes);
        let left = budget.saturating_sub(used_bytes);
        if left == 0 {
            return None;
        }
        Some(self.first_interval.saturating_mul(1 << (budget / left).ilog2().min(32)))
    }

    /// Whether one is due, `insns` after the last, which had `last_pages` changed pages.
    pub fn is_due(&self, insns: u64, last_pages: u64, initial_bytes: u64, used_bytes: u64) -> bool {
        let copying = last_pages.saturating_mul(STEPS_PER_PAGE).saturating_mul(COPY_SHARE);
        self.interval(initial_bytes, used_bytes)
            .is_some_and(|interval| insns >= interval.max(copying.min(interval.saturating_mul(8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_doubles_as_the_budget_goes() {
        let policy = Policy::new(1100);
        let at = |used| policy.interval(100, used);
        assert_eq!(at(0), Some(FIRST_INTERVAL));
        assert_eq!(at(499), Some(FIRST_INTERVAL));
        assert_eq!(at(500), Some(2 * FIRST_INTERVAL));
        assert_eq!(at(750), Some(4 * FIRST_INTERVAL));
        assert_eq!(at(999), Some(512 * FIRST_INTERVAL));
        assert_eq!(at(1000), None);
        assert_eq!(at(5000), None);
    }

    #[test]
    fn checkpoints_with_many_pages_stand_further_apart() {
        let policy = Policy::new(1 << 30);
        assert!(policy.is_due(FIRST_INTERVAL, 100, 0, 0));
        assert!(!policy.is_due(FIRST_INTERVAL, 10_000, 0, 0));
        assert!(policy.is_due(100_000_000, 10_000, 0, 0));
    }
}
