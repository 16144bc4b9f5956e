//! Two engines side by side on whole machines: the interpreter straight from stop to stop, the translator there in pieces of random
//! length. Wherever both stop, everything must be the same.

use machine::{EngineKind, Idle, Machine, StopReason};
use x86::InsnCount;

use crate::Rng;

/// Bytes in a page of RAM.
const PAGE_BYTES: usize = 4096;

/// How often the two are compared, and how far they go.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Steps between comparisons of the states of CPUs, devices and clock, and of every page that changed.
    pub every: u64,
    /// Comparisons between digests of the whole machines.
    pub digest_every: u64,
    /// Steps after which it is enough.
    pub max_insns: u64,
    /// The longest piece of the translator's.
    pub longest: u64,
    /// Draws the lengths of the pieces.
    pub seed: u64,
}

/// How far the two came.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Why they stopped.
    pub stop: StopReason,
    /// Steps of each.
    pub insns: u64,
    /// Comparisons.
    pub states: u64,
    /// Digests among them.
    pub digests: u64,
}

/// Runs machines made by `make` as `plan` says.
///
/// # Panics
/// If they differ: with the steps between which they began to.
pub fn engines_agree(make: &dyn Fn(EngineKind) -> Machine, plan: Plan) -> Compared {
    let (mut one, mut other) = (make(EngineKind::Interpreter), make(EngineKind::Translator));
    let mut rng = Rng::new(plan.seed);
    let mut compared = Compared { stop: StopReason::Until, insns: 0, states: 0, digests: 0 };
    loop {
        let from = one.insn_count().0;
        let until = (from + plan.every).min(plan.max_insns);
        let stop = run(&mut one, until, &mut || u64::MAX);
        let other_stop = run(&mut other, until, &mut || rng.length(plan.longest));
        assert_eq!(other_stop, stop, "between {from} and {until}: the translator stopped otherwise");
        compared.states += 1;
        let at = one.insn_count().0;
        assert_same(&mut one, &mut other, from);
        let over = stop != StopReason::Until || at >= plan.max_insns;
        if over || compared.states.is_multiple_of(plan.digest_every) {
            compared.digests += 1;
            assert_eq!(other.digest(), one.digest(), "the digests at {at}");
        }
        if over {
            return Compared { stop, insns: at, ..compared };
        }
    }
}

/// Runs to `until` or whatever else ends it, in pieces of the lengths that `next_len` gives.
fn run(machine: &mut Machine, until: u64, next_len: &mut dyn FnMut() -> u64) -> StopReason {
    loop {
        let piece = until.min(machine.insn_count().0.saturating_add(next_len()));
        let stop = machine.run(InsnCount(piece), Idle::Jump);
        if stop != StopReason::Until || machine.insn_count().0 >= until {
            return stop;
        }
        assert_eq!(machine.insn_count().0, piece, "a run did not stop where it was asked to");
    }
}

/// Compares all but RAM, and of RAM what either machine says has changed.
fn assert_same(one: &mut Machine, other: &mut Machine, from: u64) {
    let at = one.insn_count().0;
    assert_eq!(other.insn_count().0, at, "the counts behind {from}");
    let states = (one.save(), other.save());
    if states.0 != states.1 {
        let texts = (format!("{:#?}", states.0), format!("{:#?}", states.1));
        let lines = texts.0.lines().zip(texts.1.lines()).filter(|(a, b)| a != b).take(30);
        let lines: Vec<String> = lines.map(|(a, b)| format!("{} | {}", a.trim(), b.trim())).collect();
        panic!("between {from} and {at} (interpreter | translator):\n{}", lines.join("\n"));
    }
    let outputs = (one.take_output(), other.take_output());
    assert_eq!(outputs.1, outputs.0, "the output between {from} and {at}");
    let mut changed = one.take_dirty_pages();
    changed.extend(other.take_dirty_pages());
    for page in changed {
        let start = page as usize * PAGE_BYTES;
        let same = one.ram_bytes()[start..start + PAGE_BYTES] == other.ram_bytes()[start..start + PAGE_BYTES];
        assert!(same, "between {from} and {at}: the page at {start:#x} of RAM differs");
    }
}
