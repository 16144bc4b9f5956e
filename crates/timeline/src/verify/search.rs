//! Finds the first step behind which two ways of replaying a stretch differ.
//!
//! Both are run from their origins again and again, with stops closer and closer around the first difference: going
//! back to a state in between would empty an engine's caches, and the difference may need them.

use super::step::{self, Before, Done, Step};
use super::stretch::Stretch;
use super::way::Way;
use crate::difference::{Differing, differing_bytes, differing_fields, fields, most_telling};
use crate::page_map::page_of;
use crate::replayer::{ReplayError, Replayer};

/// Stops of a run.
pub const STOPS: u64 = 64;
type Digest = [u8; 32];

/// Up to `count` step counts between `low` and `high`, both excluded, ascending, evenly.
pub fn between(low: u64, high: u64, count: u64) -> Vec<u64> {
    let gap = high.saturating_sub(low);
    let count = count.min(gap.saturating_sub(1));
    (1..=count).map(|i| low + (u128::from(gap) * u128::from(i) / u128::from(count + 1)) as u64).collect()
}

/// The first step behind which `one` and `other` differ, and what differs there; `None` if they do not when they are
/// stopped on the way.
///
/// # Errors
/// If one of them fails in another way than by going another way.
pub fn first_apart(one: &mut Way, other: &mut Way) -> Result<Option<(Step, Vec<Differing>)>, ReplayError> {
    let (from, to) = one.stretch().ends();
    // One more than the last count stands for the end of the stretch, behind its events.
    let (mut low, mut high) = (from.insns, to.insns.saturating_add(1));
    while high - low > 1 {
        let stops = between(low, high, STOPS);
        let (a, b) = (digests(one, &stops)?, digests(other, &stops)?);
        match (0..stops.len()).find(|&at| a.get(at) != b.get(at)) {
            Some(at) => (low, high) = (if at == 0 { low } else { stops[at - 1] }, stops[at]),
            None => low = stops[stops.len() - 1],
        }
    }
    step_by_step(one, other, low)
}

/// The digests at `stops`; fewer if the way cannot follow the recording that far.
fn digests(way: &mut Way, stops: &[u64]) -> Result<Vec<Digest>, ReplayError> {
    let mut digests = Vec::new();
    way.visit(stops, &mut |_, replayer| {
        digests.push(replayer.digest()?);
        Ok(())
    })?;
    Ok(digests)
}

/// Goes on from the first instant with count `low`, where both are the same, until they are not.
fn step_by_step(one: &mut Way, other: &mut Way, low: u64) -> Result<Option<(Step, Vec<Differing>)>, ReplayError> {
    if digests(one, &[low])? != digests(other, &[low])? {
        return Ok(None);
    }
    loop {
        let before = Before::of(one.replayer()?);
        let done = advance(one, low)?;
        let done_by_other = advance(other, low)?;
        let (Some(done), Some(done_by_other)) = (done, done_by_other) else { return Ok(None) };
        let lost = matches!(done, Done::Lost) || matches!(done_by_other, Done::Lost);
        if lost || one.replayer()?.digest()? != other.replayer()?.digest()? {
            let what = what_differs(one.replayer()?, other.replayer()?)?;
            let step = before.step(&done, one.replayer()?);
            return Ok(Some((step, what)));
        }
    }
}

fn advance(way: &mut Way, low: u64) -> Result<Option<Done>, ReplayError> {
    let (recording, index) = (way.recording(), way.index());
    step::advance(way.replayer()?, low, Stretch::new(&recording, index))
}

/// What differs between two replays.
fn what_differs(one: &mut Replayer, other: &mut Replayer) -> Result<Vec<Differing>, ReplayError> {
    let mut what = differing_fields(&fields(&one.machine().save()), &fields(&other.machine().save()));
    for page in one.differing_pages(other)? {
        let of = |replayer: &Replayer| *page_of(replayer.machine().ram_bytes(), page);
        what.extend(differing_bytes(page, &of(one), &of(other)));
    }
    Ok(most_telling(what).0)
}
