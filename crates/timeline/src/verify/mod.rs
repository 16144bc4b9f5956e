//! Replays a recording, compares it with every state and digest in it, and finds out where a difference began.
//!
//! Each stretch from one checkpoint to the next is replayed on its own, from the recorded state, so stretches can be
//! verified side by side, and a difference belongs to the first stretch that shows one ([`stretch`]).
//!
//! A recording has no state between two checkpoints, so what is compared further is replays ([`diagnosis`]): the
//! stretch is run in other ways ([`way`]), and where two of them differ, the first instruction behind which they do
//! is found ([`search`]). If all agree, an input or a state was another one when it was recorded, or the program that
//! recorded was; then the instructions are named that gave the differing fields and bytes their last value ([`trace`]).

mod diagnosis;
mod search;
mod step;
mod stretch;
mod trace;
mod way;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use machine::EngineKind;
pub use step::{Place, Step, StepKind};
pub use trace::Trace;
pub use way::{Outcome, WayReport};

use crate::difference::Differing;
use crate::maker::{MachineMaker, recorded_engine};
use crate::position::Position;
use crate::recording::Recording;
use crate::replayer::{ReplayError, Replayer};

/// Which engines replay.
#[derive(Clone, Debug, Default)]
pub struct Engines {
    /// The one whose replays are compared with the recording.
    pub first: MachineMaker,
    /// Others, to compare it with where it differs.
    pub others: Vec<MachineMaker>,
}

impl Engines {
    /// Those that this host can run, first `chosen`, or else the one that recorded, or else the one that runs everywhere.
    pub fn of(recording: &Recording, chosen: Option<EngineKind>) -> Self {
        let first = chosen.unwrap_or_else(|| recorded_engine(&recording.header().engine).0);
        let others = EngineKind::ALL.into_iter().filter(|kind| *kind != first && kind.engine().is_ok());
        Engines { first: first.into(), others: others.map(MachineMaker::from).collect() }
    }
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many stretches of so many are done.
    Stretches(usize, usize),
    /// A difference was found; now it is looked for where it began.
    Searching,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Stretches that were replayed.
    pub stretches: usize,
    /// Digests of replays that were compared.
    pub digests: usize,
    /// Recorded states that were compared with their own digests.
    pub states: usize,
    /// The first stretch that differs.
    pub difference: Option<Box<Difference>>,
}

/// A stretch whose replay is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its start.
    pub from: Position,
    /// Its end.
    pub to: Position,
    /// What the replay could not follow, if it did not come to the end.
    pub stopped: Option<String>,
    /// What differs at the end, the recorded value first. Empty if no state was recorded there.
    pub what: Vec<Differing>,
    /// How many more things differ.
    pub more: usize,
    /// How it came about.
    pub cause: Cause,
}

/// How a difference came about, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The state in the file, at the start of the stretch, is not the one that the digest beside it was taken of.
    AlteredState {
        /// Whether a replay of the stretch before gives the digest: then the rest of the file is right.
        replay_agrees: Option<bool>,
    },
    /// Two ways of replaying differ, and this is the first step behind which they do.
    Engine {
        /// All ways that were tried.
        ways: Vec<WayReport>,
        /// The two that were compared: their places in `ways`.
        compared: (usize, usize),
        /// The step.
        first: Box<Step>,
        /// What differs behind it, in the order of `compared`.
        what: Vec<Differing>,
    },
    /// The difference does not come again in a second replay, or not in one that is stopped on its way.
    Unrepeated {
        /// All ways that were tried.
        ways: Vec<WayReport>,
    },
    /// Every way of replaying gives the same.
    Recorded {
        /// All ways that were tried.
        ways: Vec<WayReport>,
        /// When what differs at the end got its value in the replay, the earliest first.
        traces: Vec<Trace>,
    },
}

/// Verifies `recording` with the engine that recorded it on `jobs` threads.
///
/// # Errors
/// As [`verify_with`].
pub fn verify(
    recording: &Arc<Recording>,
    jobs: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verification, ReplayError> {
    verify_with(recording, &Engines::of(recording, None), jobs, progress)
}

/// Verifies `recording` with `engines` on `jobs` threads.
///
/// # Errors
/// If a stretch cannot be replayed at all.
pub fn verify_with(
    recording: &Arc<Recording>,
    engines: &Engines,
    jobs: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verification, ReplayError> {
    let mut report = Verification::default();
    let mut first = None;
    for (index, result) in check_all(recording, engines, jobs, progress) {
        let checked = result?;
        report.stretches += usize::from(!matches!(checked.failure, Some(stretch::Failure::State)));
        report.digests += usize::from(checked.compared);
        report.states += 1;
        if checked.failure.is_some() {
            first = checked.failure.map(|failure| (index, failure));
            break;
        }
    }
    if let Some((index, failure)) = first {
        progress(Progress::Searching);
        report.difference = Some(Box::new(diagnosis::diagnose(recording, engines, index, failure)?));
    }
    Ok(report)
}

type Checks = Vec<(usize, Result<stretch::Checked, ReplayError>)>;

/// Checks the stretches in order, up to the first that fails, `jobs` at a time.
fn check_all(
    recording: &Arc<Recording>,
    engines: &Engines,
    jobs: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Checks {
    let stretches = recording.checkpoints().len();
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Checks> = Mutex::new(Vec::new());
    let work = || {
        // A machine is made once for a thread; checkpoints in memory are of no use here.
        let mut replayer: Option<Replayer> = None;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= stretches {
                return;
            }
            let result = stretch::check(recording, &engines.first, &mut replayer, index);
            if !matches!(result, Ok(stretch::Checked { failure: None, .. })) {
                // What comes later does not matter any more.
                next.fetch_max(stretches, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            progress(Progress::Stretches(finished.fetch_add(1, Ordering::Relaxed) + 1, stretches));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, stretches.max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results
}
