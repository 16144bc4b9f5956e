//! Replays a recording and compares digests.
//!
//! Each stretch from one checkpoint to the next is replayed on its own, from the recorded state, so stretches can be
//! verified side by side, and a difference belongs to the first stretch that shows one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Position;
use crate::difference::differences;
use crate::format::FormatError;
use crate::format::records::{CheckpointKind, CheckpointRecord};
use crate::page_map::page_of;
use crate::recording::Recording;
use crate::replayer::{Control, ReplayError, Replayer};
use crate::target::Target;

/// Pages that are named at most.
const PAGES_NAMED: usize = 8;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Stretches that were replayed.
    pub stretches: usize,
    /// Digests that were compared.
    pub digests: usize,
    /// The first stretch whose end differs.
    pub difference: Option<Difference>,
}

/// A stretch whose replay ended in another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its start, where both were the same.
    pub from: Position,
    /// Its end, where they were not.
    pub to: Position,
    /// What differs there, a line each.
    pub what: Vec<String>,
}

/// Verifies `recording` on `jobs` threads. `done` is called with the number of stretches done and that of all.
///
/// # Errors
/// If a stretch cannot be replayed at all.
pub fn verify(
    recording: &Arc<Recording>,
    jobs: usize,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Result<Verification, ReplayError> {
    let stretches = recording.checkpoints().len();
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<(usize, Result<Outcome, ReplayError>)>> = Mutex::new(Vec::new());
    let work = || {
        // A machine is made once for a thread; checkpoints in memory are of no use here.
        let mut replayer = None;
        loop {
            let stretch = next.fetch_add(1, Ordering::Relaxed);
            if stretch >= stretches {
                return;
            }
            let result = verify_stretch(recording, &mut replayer, stretch);
            if !matches!(result, Ok(Outcome { difference: None, .. })) {
                // What comes later does not matter any more.
                next.fetch_max(stretches, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((stretch, result));
            done(finished.fetch_add(1, Ordering::Relaxed) + 1, stretches);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, stretches.max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(stretch, _)| *stretch);
    let mut report = Verification::default();
    for (_, result) in results {
        let outcome = result?;
        report.stretches += 1;
        report.digests += usize::from(outcome.compared);
        if outcome.difference.is_some() {
            report.difference = outcome.difference;
            break;
        }
    }
    Ok(report)
}

struct Outcome {
    compared: bool,
    difference: Option<Difference>,
}

fn verify_stretch(
    recording: &Arc<Recording>,
    replayer: &mut Option<Replayer>,
    stretch: usize,
) -> Result<Outcome, ReplayError> {
    let replayer = match replayer {
        Some(replayer) => replayer,
        None => replayer.insert(Replayer::with_memory(recording.clone(), 0, 1)?),
    };
    let checkpoints = recording.checkpoints();
    replayer.restore_file(stretch)?;
    let from = checkpoints[stretch].position;
    let watch = &mut |_, _| Control::Continue;
    let (to, expected, actual) = match checkpoints.get(stretch + 1) {
        Some(info) => {
            replayer.run_to_checkpoint(info, watch)?;
            let kept = info.kind == CheckpointKind::Seek;
            (info.position, kept.then_some(info.digest), if kept { replayer.digest()? } else { [0; 32] })
        }
        None => {
            replayer.run_to(Target::End, watch)?;
            replayer.machine.settle();
            let end = recording.end();
            let actual = if end.is_some() { replayer.full_digest().0 } else { [0; 32] };
            (recording.end_position(), end.map(|end| end.digest), actual)
        }
    };
    let same = expected.is_none_or(|expected| expected == actual);
    if same {
        return Ok(Outcome { compared: expected.is_some(), difference: None });
    }
    let what = match checkpoints.get(stretch + 1) {
        Some(info) => what_differs(recording, replayer, stretch + 1, recording.checkpoint(info)?)?,
        None => vec!["the digest at the end; the recording has no state there to compare with".into()],
    };
    Ok(Outcome { compared: true, difference: Some(Difference { from, to, what }) })
}

/// Compares the machine with the recorded checkpoint number `index`.
fn what_differs(
    recording: &Arc<Recording>,
    replayer: &mut Replayer,
    index: usize,
    record: CheckpointRecord,
) -> Result<Vec<String>, ReplayError> {
    let recorded = record.state.ok_or(FormatError::Content("a checkpoint has no state"))?;
    let mut what = differences(&recorded, &replayer.machine.save());
    let mut pages = Vec::new();
    let map = replayer.file_map(index)?;
    let wanted = (0..map.len()).map(|page| (page, map.get(page).clone())).collect();
    let ram = replayer.machine.ram_bytes();
    replayer.cache.read::<ReplayError>(recording, wanted, |page, bytes| {
        if page_of(ram, page) != bytes {
            pages.push(page);
        }
        Ok(())
    })?;
    pages.sort_unstable();
    what.extend(pages.iter().take(PAGES_NAMED).map(|page| format!("RAM: the page at offset {:#x}", page << 12)));
    if pages.len() > PAGES_NAMED {
        what.push(format!("RAM: {} more pages", pages.len() - PAGES_NAMED));
    }
    Ok(what)
}

/// Finds the first step after which two replays differ, which are the same at step count `from` and not at `to`:
/// the count before that step, and what differs behind it.
///
/// # Errors
/// If one of them cannot be replayed.
pub fn first_difference(
    one: &mut Replayer,
    other: &mut Replayer,
    mut from: u64,
    mut to: u64,
) -> Result<(u64, Vec<String>), ReplayError> {
    while to.saturating_sub(from) > 1 {
        let middle = from + (to - from) / 2;
        one.seek(Target::Insns(middle))?;
        other.seek(Target::Insns(middle))?;
        if one.digest()? == other.digest()? { from = middle } else { to = middle }
    }
    one.seek(Target::Insns(to))?;
    other.seek(Target::Insns(to))?;
    let mut what = differences(&one.machine.save(), &other.machine.save());
    let pairs = one.machine.ram_bytes().chunks(4096).zip(other.machine.ram_bytes().chunks(4096)).enumerate();
    let pages = pairs.filter(|(_, (a, b))| a != b).take(PAGES_NAMED);
    what.extend(pages.map(|(page, _)| format!("RAM: the page at offset {:#x}", page << 12)));
    Ok((from, what))
}
