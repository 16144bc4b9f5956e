//! How speed is measured: programs are started in turns and timed from outside, QEMU beside Chronovisor in the same run.
//!
//! [`process`] times a program and [`vm`] starts a machine: there is no other way for either. On them stand the parts, a
//! file a topic: [`boot`]; [`timeline`] with [`recording`], [`clocks`], [`seek`] and [`branch`]; [`translator`] with [`suite`].
//! What they find are [`figure`]s, which [`page`] writes down.

pub mod boot;
pub mod branch;
pub mod clocks;
mod cpu_time;
pub mod figure;
mod memory;
pub mod page;
pub mod process;
pub mod recording;
pub mod seek;
pub mod stats;
pub mod suite;
pub mod timeline;
pub mod translator;
pub mod vm;

use anyhow::Result;

use crate::vm::Files;

/// How much is done for a figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs of everything that is run in turns.
    pub runs: u32,
    /// Work of the programs inside guests, in percent.
    pub scale_percent: u32,
    /// Host seconds for which an idle guest is recorded.
    pub idle_seconds: u32,
    /// Host seconds for which a busy guest is recorded.
    pub busy_seconds: u32,
    /// Instructions of the recording in which is sought.
    pub seek_insns: u64,
    /// Positions that are sought.
    pub seeks: u32,
    /// Whether QEMU replays too, which takes it up to five times as long as recording.
    pub qemu_replay: bool,
}

impl Effort {
    /// To see that everything works; no number of it means much.
    pub const QUICK: Effort = Effort {
        runs: 1,
        scale_percent: 10,
        idle_seconds: 10,
        busy_seconds: 10,
        seek_insns: 2_000_000_000,
        seeks: 10,
        qemu_replay: false,
    };
    /// What a change is compared by.
    pub const NORMAL: Effort = Effort {
        runs: 3,
        scale_percent: 100,
        idle_seconds: 60,
        busy_seconds: 30,
        seek_insns: 10_000_000_000,
        seeks: 50,
        qemu_replay: true,
    };
    /// Everything that is asked for.
    pub const FULL: Effort = Effort { runs: 5, idle_seconds: 600, seeks: 100, ..Self::NORMAL };
}

/// What all parts share.
pub struct Bench<'a> {
    /// Programs and guests.
    pub files: Files,
    /// How much is done.
    pub effort: Effort,
    /// Told what is under way.
    pub note: &'a dyn Fn(&str),
}

impl Bench<'_> {
    /// Lets `run` do each of the named things once, then each again, `runs` times, so that a slow spell of the host meets all.
    /// Gives back each one's runs.
    ///
    /// # Errors
    /// If one fails.
    pub fn in_turns<T>(&self, names: &[impl AsRef<str>], run: impl FnMut(usize) -> Result<T>) -> Result<Vec<Vec<T>>> {
        let all: Vec<(&str, u32)> = names.iter().map(|name| (name.as_ref(), self.effort.runs)).collect();
        self.in_turns_of(&all, run)
    }

    /// The same, each thing as often as is said beside its name.
    ///
    /// # Errors
    /// If one fails.
    pub fn in_turns_of<T>(
        &self,
        things: &[(&str, u32)],
        mut run: impl FnMut(usize) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut done: Vec<Vec<T>> = things.iter().map(|_| Vec::new()).collect();
        for round in 1..=self.effort.runs {
            for (index, (name, runs)) in things.iter().enumerate().filter(|(_, (_, runs))| round <= *runs) {
                (self.note)(&format!("{name}, run {round} of {runs}"));
                done[index].push(run(index)?);
            }
        }
        Ok(done)
    }
}

/// The name of Chronovisor with an engine.
pub fn our_name(engine: Option<&str>) -> String {
    match engine {
        Some("interp") | None => "Chronovisor, interpreter".into(),
        Some("jit") => "Chronovisor, translator".into(),
        Some(other) => format!("Chronovisor, {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::path::PathBuf;

    #[test]
    fn things_take_turns() {
        let none = PathBuf::new;
        let files = Files {
            chronovisor: none(),
            seeks: none(),
            kernel: none(),
            initrd: none(),
            suite_initrd: none(),
            suite: none(),
            scratch: none(),
        };
        let notes = RefCell::new(Vec::new());
        let note = |text: &str| notes.borrow_mut().push(text.to_owned());
        let bench = Bench { files, effort: Effort { runs: 2, ..Effort::QUICK }, note: &note };
        let mut order = Vec::new();
        let mut run = |index| {
            order.push(index);
            Ok(order.len())
        };
        assert_eq!(bench.in_turns(&["a", "b"], &mut run).unwrap(), [[1, 3], [2, 4]]);
        assert_eq!(bench.in_turns_of(&[("a", 2), ("b", 1)], &mut run).unwrap(), [vec![5, 7], vec![6]]);
        assert_eq!(order, [0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(notes.borrow()[2], "a, run 2 of 2");
        assert_eq!(notes.borrow()[5], "b, run 1 of 1");
    }
}
