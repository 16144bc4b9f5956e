//! How many instructions the machine runs before the session looks outside again.
//!
//! Long enough that looking costs nothing, short enough that a key is served within about
//! ten milliseconds, whatever the engine's speed. Where a slice ends is invisible to the guest.

use std::time::Duration;

const TARGET: Duration = Duration::from_millis(5);
const SHORTEST: u64 = 10_000;
const LONGEST: u64 = 10_000_000;

/// The length of the next slice.
#[derive(Debug)]
pub struct Slice {
    insns: u64,
}

impl Default for Slice {
    fn default() -> Self {
        Slice { insns: 200_000 }
    }
}

impl Slice {
    /// In instructions.
    pub fn insns(&self) -> u64 {
        self.insns
    }

    /// Learns from a slice that ran `insns` instructions in `took`.
    pub fn learn(&mut self, insns: u64, took: Duration) {
        // A slice that ended early says little about the speed.
        if insns < self.insns / 2 {
            return;
        }
        let took_ns = took.as_nanos().max(1);
        let fitting = u128::from(insns) * TARGET.as_nanos() / took_ns;
        // At most a factor of two at once: one slow slice can be the host's fault.
        let bounded = fitting.clamp(u128::from(self.insns / 2), u128::from(self.insns * 2));
        self.insns = u64::try_from(bounded).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_settles_where_a_slice_takes_the_target_time() {
        for insns_per_ms in [500, 50_000, 1_000_000] {
            let mut slice = Slice::default();
            for _ in 0..40 {
                let took_ns = slice.insns() * 1_000_000 / insns_per_ms;
                slice.learn(slice.insns(), Duration::from_nanos(took_ns));
            }
            let expected = (insns_per_ms * 5).clamp(SHORTEST, LONGEST);
            assert!(slice.insns().abs_diff(expected) <= expected / 10, "{insns_per_ms}: {}", slice.insns());
        }
    }
}
