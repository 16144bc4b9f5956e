//! Types for quantities that must not be mixed up.

use std::ops::{Add, Sub};

/// A guest-physical address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bytemuck::Zeroable)]
pub struct GuestPhysAddr(pub u64);

/// A number of steps: retired instructions plus delivered interrupts and exceptions.
///
/// A delivery counts as one step, so that no chain of faults runs without the
/// count moving: every run ends at any bound it was given. Each iteration of a
/// repeated string instruction counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InsnCount(pub u64);

/// A point in virtual time, in units of 1/840 ns since power-on.
///
/// 840 is the least common multiple of 1 to 8: with any number of running
/// vCPUs one instruction advances the clock by a whole number of units.
/// The 64 bits last for 254 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualTime(u64);

/// Units of [`VirtualTime`] in one nanosecond.
pub const UNITS_PER_NS: u64 = 840;

impl VirtualTime {
    /// Power-on.
    pub const ZERO: VirtualTime = VirtualTime(0);
    /// A time that never comes.
    pub const NEVER: VirtualTime = VirtualTime(u64::MAX);

    /// The time `ns` nanoseconds after power-on; saturates.
    pub const fn from_ns(ns: u64) -> Self {
        VirtualTime(ns.saturating_mul(UNITS_PER_NS))
    }

    /// Whole nanoseconds since power-on, rounded down.
    pub const fn as_ns(self) -> u64 {
        self.0 / UNITS_PER_NS
    }

    /// Raw units of 1/840 ns.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// From raw units of 1/840 ns.
    pub const fn from_units(units: u64) -> Self {
        VirtualTime(units)
    }

    /// This time moved `ns` nanoseconds on; saturates.
    pub const fn after_ns(self, ns: u64) -> Self {
        VirtualTime(self.0.saturating_add(ns.saturating_mul(UNITS_PER_NS)))
    }

    /// Whole ticks of a clock of `hz` hertz from power-on until now, rounded down.
    pub const fn ticks(self, hz: u64) -> u64 {
        (self.0 as u128 * hz as u128 / (UNITS_PER_NS as u128 * 1_000_000_000)) as u64
    }

    /// The first time at which [`Self::ticks`] of a clock of `hz` hertz is `ticks` or more; saturates.
    pub const fn at_tick(ticks: u64, hz: u64) -> Self {
        let units = (ticks as u128 * UNITS_PER_NS as u128 * 1_000_000_000).div_ceil(hz as u128);
        VirtualTime(if units > u64::MAX as u128 { u64::MAX } else { units as u64 })
    }
}

impl Add<u64> for InsnCount {
    type Output = InsnCount;
    fn add(self, rhs: u64) -> InsnCount {
        InsnCount(self.0 + rhs)
    }
}

impl Sub for InsnCount {
    type Output = u64;
    fn sub(self, rhs: InsnCount) -> u64 {
        self.0 - rhs.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_tick_is_the_first_time_with_that_many_ticks() {
        for hz in [1, 32_768, 1_193_182, 3_579_545, 10_000_000, 1_000_000_000] {
            for ticks in [1, 2, 3, 1000, 12_345_678] {
                let t = VirtualTime::at_tick(ticks, hz);
                assert_eq!(t.ticks(hz), ticks);
                assert_eq!(VirtualTime::from_units(t.units() - 1).ticks(hz), ticks - 1);
            }
        }
    }
}
