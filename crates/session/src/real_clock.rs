//! Keeps a guest's virtual time beside the host's.
//!
//! The machine alone moves its clock, by the instructions it retires and the timers it waits
//! for. This only says how far the two have drifted: what to add when the machine is behind,
//! and how long to hold it back when it is ahead.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use x86::VirtualTime;
use x86::units::UNITS_PER_NS;

/// A guest that is late by less is left alone: each correction is an input, and inputs cost a record.
const LATE_TOLERANCE_NS: u64 = 15_000_000;
/// A guest that is early by less is left alone: holding it back costs no record.
const EARLY_TOLERANCE_NS: u64 = 2_000_000;

/// Two clocks that showed their times at the same moment.
#[derive(Debug)]
pub struct RealClock {
    host_start: Instant,
    virtual_start: VirtualTime,
}

/// What to do about the drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Near enough.
    None,
    /// The guest is late: its clock should move forward to this.
    Behind(VirtualTime),
    /// The guest is early by this much.
    Ahead(Duration),
}

impl RealClock {
    /// Starts with the guest at `virtual_start` and the host at `host_start`.
    pub fn start(virtual_start: VirtualTime, host_start: Instant) -> Self {
        RealClock { host_start, virtual_start }
    }

    /// The virtual time that belongs to the host's `now`.
    pub fn target(&self, now: Instant) -> VirtualTime {
        let elapsed_ns = now.saturating_duration_since(self.host_start).as_nanos();
        self.virtual_start.after_ns(u64::try_from(elapsed_ns).unwrap_or(u64::MAX))
    }

    /// Compares the guest's time with the host's `now`.
    pub fn drift(&self, guest: VirtualTime, now: Instant) -> Drift {
        let target = self.target(now);
        if guest > target.after_ns(EARLY_TOLERANCE_NS) {
            Drift::Ahead(self.until(guest, now))
        } else if target > guest.after_ns(LATE_TOLERANCE_NS) {
            Drift::Behind(target)
        } else {
            Drift::None
        }
    }

    /// How long until the guest's time may be `time`; zero if it may be already. Rounded up.
    pub fn until(&self, time: VirtualTime, now: Instant) -> Duration {
        let units = time.units().saturating_sub(self.target(now).units());
        Duration::from_nanos(units.div_ceil(UNITS_PER_NS))
    }
}

/// The host's time in whole seconds since 1970, for a guest that starts now; 0 on a host that is older.
pub fn host_unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_measured_from_the_common_start() {
        let host = Instant::now();
        let ns = VirtualTime::from_ns;
        let clock = RealClock::start(ns(500), host);
        let later = host + Duration::from_millis(20);
        assert_eq!(clock.target(later), ns(20_000_500));
        assert_eq!(clock.drift(ns(9_999_000), later), Drift::None);
        assert_eq!(clock.drift(ns(500), later), Drift::Behind(ns(20_000_500)));
        assert_eq!(clock.drift(ns(40_000_500), later), Drift::Ahead(Duration::from_millis(20)));
        assert_eq!(clock.until(ns(22_000_500), later), Duration::from_millis(2));
        assert_eq!(clock.until(ns(12), later), Duration::ZERO);
    }
}
