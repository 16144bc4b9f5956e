//! Keeps a guest's virtual time beside the host's.
//!
//! The machine alone moves its clock, by the instructions it retires and the timers it waits
//! for. This only says how far the two have drifted: what to add when the machine is behind,
//! and how long to hold it back when it is ahead.

use std::time::{Duration, Instant};

/// Drift below this is left alone: each correction is an input, and inputs cost a record.
const TOLERANCE_NS: u64 = 2_000_000;

/// Two clocks that showed their times at the same moment.
#[derive(Debug)]
pub struct RealClock {
    host_start: Instant,
    virtual_start_ns: u64,
}

/// What to do about the drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Near enough.
    None,
    /// The guest is late by this many nanoseconds.
    Behind(u64),
    /// The guest is early by this much.
    Ahead(Duration),
}

impl RealClock {
    /// Starts with the guest at `virtual_ns` and the host at `host`.
    pub fn start(virtual_ns: u64, host: Instant) -> Self {
        RealClock { host_start: host, virtual_start_ns: virtual_ns }
    }

    /// The virtual time that belongs to the host's `now`, in nanoseconds.
    pub fn target_ns(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.host_start).as_nanos();
        self.virtual_start_ns.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Compares the guest's `virtual_ns` with the host's `now`.
    pub fn drift(&self, virtual_ns: u64, now: Instant) -> Drift {
        let target_ns = self.target_ns(now);
        if virtual_ns > target_ns.saturating_add(TOLERANCE_NS) {
            Drift::Ahead(Duration::from_nanos(virtual_ns - target_ns))
        } else if target_ns > virtual_ns.saturating_add(TOLERANCE_NS) {
            Drift::Behind(target_ns - virtual_ns)
        } else {
            Drift::None
        }
    }

    /// How long until the guest's time may be `virtual_ns`; zero if it may be already.
    pub fn until(&self, virtual_ns: u64, now: Instant) -> Duration {
        Duration::from_nanos(virtual_ns.saturating_sub(self.target_ns(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_measured_from_the_common_start() {
        let host = Instant::now();
        let clock = RealClock::start(500, host);
        let later = host + Duration::from_millis(10);
        assert_eq!(clock.target_ns(later), 10_000_500);
        assert_eq!(clock.drift(9_999_000, later), Drift::None);
        assert_eq!(clock.drift(500, later), Drift::Behind(10_000_000));
        assert_eq!(clock.drift(30_000_500, later), Drift::Ahead(Duration::from_millis(20)));
        assert_eq!(clock.until(12_000_500, later), Duration::from_millis(2));
        assert_eq!(clock.until(12, later), Duration::ZERO);
    }
}
