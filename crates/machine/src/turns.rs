//! Whose turn it is: the vCPUs run one after the other on one host thread, each a fixed number of
//! steps. A turn ends early when its vCPU halts or executes PAUSE. The order is a function of
//! the machine's state alone, so the run is reproducible.

use x86::InsnCount;

/// Steps in a turn.
pub const TURN_STEPS: u64 = 20_000;

/// The turn under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The vCPU whose turn it is (or was).
    pub vcpu: usize,
    /// The step count of that vCPU before which its turn ends.
    pub end: InsnCount,
    /// The turn was given up early.
    pub over: bool,
}

impl Turns {
    /// Whether the turn is over, with its vCPU at count `at`.
    pub fn is_over(&self, at: InsnCount) -> bool {
        self.over || at >= self.end
    }

    /// The next vCPU in order that can run, starting behind the current one.
    pub fn next(&self, runnable: &[bool]) -> Option<usize> {
        let n = runnable.len();
        (1..=n).map(|step| (self.vcpu + step) % n).find(|&vcpu| runnable[vcpu])
    }
}
