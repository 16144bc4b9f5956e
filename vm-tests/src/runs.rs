//! Runs a machine to its end in different ways that must all give the same bits: in one go, cut into
//! pieces of random length, and saved and restored into fresh machines at random points.

use machine::{Idle, Machine, StopReason};
use x86::InsnCount;

use crate::Rng;

/// Makes a machine at power-on with its kernel loaded; each call gives the same.
pub type Make<'a> = dyn Fn() -> Machine + 'a;

/// How a run ended and what it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub stop: StopReason,
    /// Steps executed.
    pub insns: u64,
    /// The digest of the whole machine at the end, in hex.
    pub digest: String,
    /// The serial port's output.
    pub serial: String,
    /// The debug console's output.
    pub debug_console: String,
}

/// Collects the output of a run under way.
#[derive(Default)]
struct Collected {
    serial: Vec<u8>,
    debug_console: Vec<u8>,
}

impl Collected {
    fn take(&mut self, machine: &mut Machine) {
        let output = machine.take_output();
        self.serial.extend(output.serial);
        self.debug_console.extend(output.debug_console);
    }

    fn outcome(mut self, machine: &mut Machine, stop: StopReason) -> Outcome {
        self.take(machine);
        // One character a byte, so that nothing is lost.
        let text = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect();
        Outcome {
            stop,
            insns: machine.insn_count().0,
            digest: machine.digest().to_string(),
            serial: text(&self.serial),
            debug_console: text(&self.debug_console),
        }
    }
}

/// Runs to the end, or to `max_insns`.
pub fn straight(make: &Make<'_>, max_insns: u64) -> Outcome {
    let mut machine = make();
    let stop = machine.run(InsnCount(max_insns), Idle::Jump);
    Collected::default().outcome(&mut machine, stop)
}

/// Runs to the end in pieces of random length, 1 to `longest` steps; each must stop exactly.
pub fn in_pieces(make: &Make<'_>, max_insns: u64, longest: u64, seed: u64) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut machine = make();
    let mut collected = Collected::default();
    loop {
        let until = (machine.insn_count().0 + rng.length(longest)).min(max_insns);
        let stop = machine.run(InsnCount(until), Idle::Jump);
        collected.take(&mut machine);
        if stop != StopReason::Until || until == max_insns {
            return collected.outcome(&mut machine, stop);
        }
        assert_eq!(machine.insn_count().0, until, "seed {seed}: a run did not stop where it was asked to");
    }
}

/// Runs to the end, and at `points` random places before `end_insns` goes on in a fresh machine from the saved state.
pub fn through_saved_state(make: &Make<'_>, max_insns: u64, end_insns: u64, points: usize, seed: u64) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut stops: Vec<u64> = (0..points).map(|_| rng.below(end_insns.max(1))).collect();
    stops.sort_unstable();
    let mut machine = make();
    let mut collected = Collected::default();
    for until in stops {
        let stop = machine.run(InsnCount(until), Idle::Jump);
        collected.take(&mut machine);
        if stop != StopReason::Until {
            return collected.outcome(&mut machine, stop);
        }
        machine = moved(&machine, seed);
    }
    let stop = machine.run(InsnCount(max_insns), Idle::Jump);
    collected.outcome(&mut machine, stop)
}

/// A fresh machine with the saved state of `machine`.
fn moved(machine: &Machine, seed: u64) -> Machine {
    let at = machine.insn_count().0;
    let mut fresh = Machine::new(*machine.config()).expect("the configuration has made a machine before");
    let restored = fresh.restore(machine.save(), machine.ram_bytes());
    restored.unwrap_or_else(|error| panic!("seed {seed}: the state saved at step {at} is refused: {error}"));
    let digests = [machine.digest(), fresh.digest()];
    assert_eq!(digests[0], digests[1], "seed {seed}: the state restored at step {at} is not the state saved");
    fresh
}
