//! Runs a machine to its end in different ways that must all give the same bits: in one go, cut into
//! pieces of random length, and saved and restored into fresh machines at random points.

use machine::{EngineKind, Idle, Input, Machine, StopReason};
use x86::InsnCount;

use crate::Rng;

/// What is run: everything that the outcome may depend on.
pub struct Scenario<'a> {
    /// Makes a machine at power-on with its kernel loaded, executed by this engine; each call gives the same.
    pub make: &'a dyn Fn(EngineKind) -> Machine,
    /// What executes it. The outcome does not depend on that.
    pub engine: EngineKind,
    /// What comes from outside, with the step before which it comes, in order.
    pub inputs: &'a [(u64, Input)],
    /// A run that has not ended after this many steps is stopped.
    pub max_insns: u64,
}

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

/// A machine under way, what it printed, and what still comes in from outside.
struct Run<'a> {
    machine: Machine,
    collected: Collected,
    inputs: std::slice::Iter<'a, (u64, Input)>,
    max_insns: u64,
    engine: EngineKind,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario<'_>) -> Self {
        Run {
            machine: (scenario.make)(scenario.engine),
            collected: Collected::default(),
            inputs: scenario.inputs.iter(),
            max_insns: scenario.max_insns,
            engine: scenario.engine,
        }
    }

    /// Runs up to step `until`; inputs come in at their steps, or earlier when nothing else can wake the machine.
    fn advance(&mut self, until: u64) -> StopReason {
        let until = until.min(self.max_insns);
        loop {
            let next = self.inputs.as_slice().first().map_or(u64::MAX, |(at, _)| *at);
            let stop = self.machine.run(InsnCount(until.min(next)), Idle::Jump);
            self.collected.take(&mut self.machine);
            let wanted = match stop {
                StopReason::Until => self.machine.insn_count().0 >= next,
                StopReason::Idle(_) => true,
                _ => false,
            };
            match self.inputs.as_slice().first() {
                Some((_, input)) if wanted => {
                    self.machine.input(input.clone());
                    self.inputs.next();
                }
                _ => return stop,
            }
        }
    }

    fn at(&self) -> u64 {
        self.machine.insn_count().0
    }

    fn outcome(mut self, stop: StopReason) -> Outcome {
        self.collected.outcome(&mut self.machine, stop)
    }
}

/// Runs to the end, or to the most steps allowed.
pub fn straight(scenario: &Scenario<'_>) -> Outcome {
    let mut run = Run::new(scenario);
    let stop = run.advance(u64::MAX);
    run.outcome(stop)
}

/// Runs to the end in pieces of random length, 1 to `longest` steps; each must stop exactly.
pub fn in_pieces(scenario: &Scenario<'_>, longest: u64, seed: u64) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut run = Run::new(scenario);
    loop {
        let until = run.at() + rng.length(longest);
        let stop = run.advance(until);
        if stop != StopReason::Until || run.at() == run.max_insns {
            return run.outcome(stop);
        }
        assert_eq!(run.at(), until.min(run.max_insns), "seed {seed}: a run did not stop where it was asked to");
    }
}

/// Runs to the end, and at `points` random places before `end_insns` goes on in a fresh machine from the saved state.
pub fn through_saved_state(scenario: &Scenario<'_>, end_insns: u64, points: usize, seed: u64) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut stops: Vec<u64> = (0..points).map(|_| rng.below(end_insns.max(1))).collect();
    stops.sort_unstable();
    let mut run = Run::new(scenario);
    for until in stops {
        let stop = run.advance(until);
        if stop != StopReason::Until {
            return run.outcome(stop);
        }
        run.machine = moved(&run.machine, run.engine, seed);
    }
    let stop = run.advance(u64::MAX);
    run.outcome(stop)
}

/// Runs to the end, and between the steps `from` and `to` executes each in a fresh machine, from the saved state of
/// the one before: whatever an instruction leaves for the next must be in it.
pub fn each_step_in_a_fresh_machine(scenario: &Scenario<'_>, from: u64, to: u64) -> Outcome {
    let mut run = Run::new(scenario);
    for until in from..to {
        let stop = run.advance(until);
        if stop != StopReason::Until {
            return run.outcome(stop);
        }
        run.machine = restored(&run.machine, run.engine);
    }
    let stop = run.advance(u64::MAX);
    run.outcome(stop)
}

/// A fresh machine with the saved state of `machine`, executed by `engine`.
fn restored(machine: &Machine, engine: EngineKind) -> Machine {
    let at = machine.insn_count().0;
    let fresh = Machine::executed_by(*machine.config(), engine);
    let mut fresh = fresh.expect("the configuration has made a machine before");
    let restored = fresh.restore(machine.save(), machine.ram_bytes());
    restored.unwrap_or_else(|error| panic!("the state saved at step {at} is refused: {error}"));
    fresh
}

/// As [`restored`]; saving it again must give the same.
fn moved(machine: &Machine, engine: EngineKind, seed: u64) -> Machine {
    let fresh = restored(machine, engine);
    let at = machine.insn_count().0;
    let digests = [machine.digest(), fresh.digest()];
    assert_eq!(digests[0], digests[1], "seed {seed}: the state restored at step {at} is not the state saved");
    fresh
}
