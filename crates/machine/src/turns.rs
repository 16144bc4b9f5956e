//! Whose turn it is: the vCPUs run one after the other on one host thread, each a number of steps.
//! A turn ends early when its vCPU halts or executes PAUSE. Order and lengths are a function of
//! the machine's state alone, so the run is reproducible.
//!
//! Normally all turns have the same length and go round. Under *chaos* a seeded generator, part of
//! the machine's state, draws who comes next and for how long: another schedule for each seed, each
//! as reproducible, to find out which of them a race condition needs.

use x86::InsnCount;

/// Steps in a turn without chaos.
pub const TURN_STEPS: u64 = 20_000;
/// Under chaos a turn has 1 to 2 to this power steps, short ones as often as long ones.
const CHAOS_LENGTH_BITS: u64 = 16;

/// The turn under way, and what decides about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// The vCPU whose turn it is (or was).
    pub vcpu: usize,
    /// The step count of that vCPU before which its turn ends.
    pub end: InsnCount,
    /// The turn was given up early.
    pub over: bool,
    /// The state of the generator, under chaos.
    pub chaos: Option<u64>,
}

impl Turns {
    /// Before the first turn; `chaos` is the seed of a varied schedule.
    pub fn new(chaos: Option<u64>) -> Self {
        Turns { vcpu: 0, end: InsnCount(0), over: true, chaos }
    }

    /// Whether the turn is over, with its vCPU at count `at`.
    pub fn is_over(&self, at: InsnCount) -> bool {
        self.over || at >= self.end
    }

    /// Accounts for the turns that a vCPU, alone and without chaos, began and ended on its way to count `at`. Returns where
    /// the one under way began, if it is another than before. One that ends at `at` has no successor yet.
    pub fn pass(&mut self, at: InsnCount) -> Option<InsnCount> {
        let beyond = at.0.checked_sub(self.end.0).filter(|&steps| steps > 0)?;
        let began = InsnCount(self.end.0 + (beyond - 1) / TURN_STEPS * TURN_STEPS);
        self.end = began + TURN_STEPS;
        Some(began)
    }

    /// The vCPU that comes next and the length of its turn in steps, if any vCPU can run.
    pub fn choose(&mut self, runnable: &[bool]) -> Option<(usize, u64)> {
        let candidates: Vec<usize> =
            (1..=runnable.len()).map(|i| (self.vcpu + i) % runnable.len()).filter(|&vcpu| runnable[vcpu]).collect();
        let first = *candidates.first()?;
        let Some(state) = &mut self.chaos else { return Some((first, TURN_STEPS)) };
        let drawn = splitmix64(state);
        let vcpu = candidates[(drawn >> 32) as usize % candidates.len()];
        let bits = splitmix64(state) % (CHAOS_LENGTH_BITS + 1);
        Some((vcpu, 1 + splitmix64(state) % (1 << bits)))
    }
}

/// The next number of a SplitMix64 generator (Steele, Lea, Flood: Fast Splittable Pseudorandom
/// Number Generators, 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_chaos_everyone_who_can_run_gets_the_same_turn_in_order() {
        let mut turns = Turns::new(None);
        let mut order = Vec::new();
        for _ in 0..6 {
            let (vcpu, steps) = turns.choose(&[true, false, true, true]).expect("three can run");
            assert_eq!(steps, TURN_STEPS);
            turns.vcpu = vcpu;
            order.push(vcpu);
        }
        assert_eq!(order, [2, 3, 0, 2, 3, 0]);
        assert_eq!(turns.choose(&[false; 4]), None);
    }

    #[test]
    fn turns_that_pass_unseen_leave_what_single_turns_leave() {
        for at in [1, 19_999, 20_000, 20_001, 39_999, 40_000, 40_001, 1_000_000, 1_000_001] {
            let new = || Turns { end: InsnCount(20_000), over: false, ..Turns::new(None) };
            let mut singly = new();
            let mut began = None;
            while singly.end.0 < at {
                began = Some(singly.end);
                singly.end = singly.end + TURN_STEPS;
            }
            let mut at_once = new();
            assert_eq!(at_once.pass(InsnCount(at)), began, "at {at}");
            assert_eq!(at_once, singly, "at {at}");
        }
    }

    #[test]
    fn chaos_draws_the_same_schedule_again_and_another_for_another_seed() {
        let schedule = |seed| {
            let mut turns = Turns::new(Some(seed));
            (0..100).map(|_| turns.choose(&[true; 4])).collect::<Vec<_>>()
        };
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
        let lengths: Vec<u64> = schedule(3).into_iter().map(|turn| turn.expect("all can run").1).collect();
        assert!(lengths.iter().any(|&steps| steps < 16) && lengths.iter().any(|&steps| steps > 5_000));
    }
}
