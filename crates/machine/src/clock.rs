//! Virtual time: a number of steps executed, plus what was skipped.
//!
//! While a vCPU has its turn, each step advances the clock by the turn's *rate*: 840 units (1 ns)
//! divided by the number of vCPUs that share the window. So time never runs backwards, whichever
//! vCPU looks at it, and n busy vCPUs each execute one instruction a nanosecond.

use x86::units::UNITS_PER_NS;
use x86::{InsnCount, VirtualTime};

/// The virtual clock of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Time at `since`.
    base: VirtualTime,
    /// The step count, of the vCPU whose turn it is, at `base`.
    since: InsnCount,
    /// Units a step.
    rate: u64,
}

impl Clock {
    /// Power-on.
    pub fn new() -> Self {
        Clock { base: VirtualTime::ZERO, since: InsnCount(0), rate: UNITS_PER_NS }
    }

    /// A turn begins at count `since` of its vCPU; `sharers` (1 to 8) vCPUs share the window.
    pub fn begin_turn(&mut self, now: VirtualTime, since: InsnCount, sharers: u64) {
        assert!(UNITS_PER_NS.is_multiple_of(sharers), "1 to 8 vCPUs");
        *self = Clock { base: now, since, rate: UNITS_PER_NS / sharers };
    }

    /// The turn under way began when `sharers` vCPUs shared the window.
    pub fn is_shared_by(&self, sharers: u64) -> bool {
        self.rate == UNITS_PER_NS / sharers
    }

    /// The time at step count `at` of the vCPU whose turn it is.
    #[inline]
    pub fn at(&self, at: InsnCount) -> VirtualTime {
        VirtualTime::from_units(self.base.units().saturating_add((at - self.since).saturating_mul(self.rate)))
    }

    /// The first step count at which the time is `time` or later; [`VirtualTime::NEVER`] does not come,
    /// not even at the end of time, where the clock stands still.
    pub fn count_at(&self, time: VirtualTime) -> InsnCount {
        if time == VirtualTime::NEVER {
            return InsnCount(u64::MAX);
        }
        let units = time.units().saturating_sub(self.base.units());
        InsnCount(self.since.0.saturating_add(units.div_ceil(self.rate)))
    }

    /// Moves the time forward to `time` while the vCPU stands at count `at`; never backwards.
    pub fn skip_to(&mut self, time: VirtualTime, at: InsnCount) {
        self.base = self.at(at).max(time);
        self.since = at;
    }

    /// (time base in units, count at it, units a step), for the saved state.
    pub(crate) fn parts(&self) -> (u64, u64, u64) {
        (self.base.units(), self.since.0, self.rate)
    }

    /// The clock with those parts; `None` if they are impossible.
    pub(crate) fn from_parts(base: u64, since: u64, rate: u64) -> Option<Self> {
        let possible = (1..=8).any(|sharers| rate == UNITS_PER_NS / sharers);
        possible.then_some(Clock { base: VirtualTime::from_units(base), since: InsnCount(since), rate })
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_exactly_and_not_a_step_earlier() {
        for sharers in 1..=8 {
            let mut clock = Clock::new();
            clock.begin_turn(VirtualTime::from_units(12_345), InsnCount(1000), sharers);
            for ns in [1, 2, 7, 1_000_000] {
                let deadline = VirtualTime::from_units(12_345).after_ns(ns);
                let count = clock.count_at(deadline);
                assert!(clock.at(count) >= deadline);
                assert!(clock.at(InsnCount(count.0 - 1)) < deadline);
            }
        }
    }
}
