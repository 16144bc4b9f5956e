//! From a stretch that differs to how that came about.

use std::sync::Arc;

use super::stretch::{Failure, Stretch};
use super::way::{Outcome, Way, followed};
use super::{Cause, Difference, Engines, search, step, trace};
use crate::difference::{Differing, Thing, differing_bytes, differing_fields, fields, most_telling};
use crate::format::FormatError;
use crate::format::records::CheckpointKind;
use crate::page_map::{PageRef, page_of};
use crate::recording::Recording;
use crate::replayer::{Control, ReplayError, Replayer};

/// Differing things that are gathered at most, of which few are named.
const GATHERED: usize = 10_000;

/// Finds out what it can about stretch number `index`, which fails in the way `failure`.
///
/// # Errors
/// If the recording cannot be replayed at all.
pub fn diagnose(
    recording: &Arc<Recording>,
    engines: &Engines,
    index: usize,
    failure: Failure,
) -> Result<Difference, ReplayError> {
    if failure == Failure::State {
        return altered_state(recording, engines, index);
    }
    let stretch = Stretch::new(recording, index);
    let (from, to) = stretch.ends();
    let mut ways = ways(recording, engines, index);
    let mut digests = Vec::new();
    for way in &mut ways {
        digests.push(way.end_digest()?);
        way.rest();
    }
    let (mut what, mut more) = (Vec::new(), 0);
    if digests[0].is_some() && stretch.last().is_some() {
        ways[0].end_digest()?;
        (what, more) = what_differs(ways[0].replayer()?, index + 1)?;
    }
    let stopped = match failure {
        Failure::Stopped(what) => {
            ways[0].end_digest()?;
            Some(what + &next_event(ways[0].replayer()?))
        }
        _ => None,
    };
    let difference = |cause| Difference { from, to, stopped, what: what.clone(), more, cause };
    let reports = ways.iter().zip(&digests).map(|(way, digest)| way.report(*digest)).collect::<Vec<_>>();
    // One that ends as recorded goes the recorded way, as far as anyone can know.
    let as_recorded = reports.iter().position(|report| report.outcome == Outcome::AsRecorded);
    let another = as_recorded.or_else(|| digests.iter().position(|digest| *digest != digests[0]));
    if let Some(other) = another {
        // The first way is the one that had failed: if it does not now, nothing can be compared.
        let (head, tail) = ways.split_at_mut(other.max(1));
        let found = if other > 0 { search::first_apart(&mut tail[0], &mut head[0])? } else { None };
        return Ok(difference(match found {
            Some((first, what)) => Cause::Engine { ways: reports, compared: (other, 0), first: Box::new(first), what },
            None => Cause::Unrepeated { ways: reports },
        }));
    }
    let things: Vec<Thing> = what.iter().map(|differing| differing.thing.clone()).collect();
    let traces = if things.is_empty() { Vec::new() } else { trace::traces(&mut ways[0], &things)? };
    Ok(difference(Cause::Recorded { ways: reports, traces }))
}

/// The ways to replay a stretch, the one that was found to differ first.
fn ways(recording: &Arc<Recording>, engines: &Engines, index: usize) -> Vec<Way> {
    let mut ways = vec![Way::new(recording, &engines.first, index, index)];
    let before = &recording.checkpoints()[..=index];
    // A reset puts a recorded state in place, so nothing comes from before it.
    let origin = before.iter().rposition(|info| info.kind != CheckpointKind::Seek).unwrap_or(0);
    if origin < index {
        ways.push(Way::new(recording, &engines.first, origin, index));
    }
    for other in &engines.others {
        ways.push(Way::new(recording, other, index, index));
    }
    // Once more, from another machine: a replay that does not even repeat itself is the host's fault.
    ways.push(Way::again(recording, &engines.first, index));
    ways
}

/// What would come next, for a replay that could not go on.
fn next_event(replayer: &Replayer) -> String {
    let number = replayer.events_given();
    replayer.recording().events().get(number).map_or_else(String::new, |event| {
        format!(
            "; what comes next in the recording is event number {number} ({}) at {}",
            step::describe(&event.kind),
            event.position
        )
    })
}

/// The recorded state at the start of stretch `index` does not have the digest beside it.
fn altered_state(recording: &Arc<Recording>, engines: &Engines, index: usize) -> Result<Difference, ReplayError> {
    let here = recording.checkpoints()[index].position;
    let mut difference = Difference {
        from: here,
        to: here,
        stopped: None,
        what: Vec::new(),
        more: 0,
        cause: Cause::AlteredState { replay_agrees: None },
    };
    let info = recording.checkpoints()[index];
    if index > 0 && info.kind == CheckpointKind::Seek {
        let mut replayer = Replayer::with_maker(recording.clone(), engines.first.clone(), 0, 1)?;
        replayer.restore_whole(index - 1)?;
        let run = replayer.run_to_checkpoint(&info, &mut |_, _| Control::Continue);
        if followed(run.map(|_| ()))? {
            difference.cause = Cause::AlteredState { replay_agrees: Some(replayer.digest()? == info.digest) };
            (difference.what, difference.more) = what_differs(&mut replayer, index)?;
        }
    }
    Ok(difference)
}

/// Compares a replay that stands at checkpoint number `index` with what is recorded there: what differs, the recorded
/// value first, and how much more.
fn what_differs(replayer: &mut Replayer, index: usize) -> Result<(Vec<Differing>, usize), ReplayError> {
    let recording = replayer.recording.clone();
    let record = recording.checkpoint(&recording.checkpoints()[index])?;
    let recorded = record.state.ok_or(FormatError::Content("a checkpoint has no state"))?;
    let mut what = differing_fields(&fields(&recorded), &fields(&replayer.machine.save()));
    replayer.load_all()?;
    let map = replayer.file_map(index)?;
    let in_use = replayer.machine.populated_pages()?;
    // What neither the file nor the host has is zero in both.
    let wanted =
        in_use.into_iter().flatten().chain((0..map.len()).filter(|&page| !matches!(map.get(page), PageRef::Zero)));
    let wanted: std::collections::BTreeSet<u64> = wanted.collect();
    let wanted = wanted.into_iter().map(|page| (page, map.get(page).clone())).collect();
    let ram = replayer.machine.ram_bytes();
    let mut left_out = 0;
    replayer.cache.read::<ReplayError>(&recording, wanted, |page, bytes| {
        let runs = differing_bytes(page, bytes, page_of(ram, page));
        if what.len() < GATHERED {
            what.extend(runs);
        } else {
            left_out += runs.len();
        }
        Ok(())
    })?;
    let (what, more) = most_telling(what);
    Ok((what, more + left_out))
}
