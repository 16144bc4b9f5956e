//! When what differs got its value.
//!
//! Of a recorded run only the state at the checkpoint is known. What differs there was given its value, in the replay, by
//! some step of the stretch, and what that step did with what is where to look for the reason.

use std::collections::{BTreeMap, BTreeSet};

use super::search::between;
use super::step::{self, Before, Step};
use super::stretch::Stretch;
use super::way::Way;
use crate::difference::{Thing, fields};
use crate::replayer::{ReplayError, Replayer};

/// Stops of the first run, and then for each thing.
const STOPS_FIRST: u64 = 64;
const STOPS: u64 = 16;

/// When something that differs got the value that it has at the end of the replayed stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What.
    pub thing: Thing,
    /// The step; `None`: it had the value at the start of the stretch, and at each instant that was looked at.
    pub step: Option<Step>,
    /// The last input before that step, if it came in this stretch.
    pub input: Option<Step>,
}

/// Something that is traced.
struct Traced {
    thing: Thing,
    /// What it holds at the end.
    last: String,
    /// The step counts between which it got that; `None`: it had it all the time.
    within: Option<(u64, u64)>,
}

/// Traces `things` through the stretch of `way`, which can follow the recording to its end. The earliest comes first.
///
/// # Errors
/// If the replay fails.
pub fn traces(way: &mut Way, things: &[Thing]) -> Result<Vec<Trace>, ReplayError> {
    way.end_digest()?;
    let last = values(way.replayer()?, things.iter());
    let traced = things.iter().zip(last).map(|(thing, last)| Traced { thing: thing.clone(), last, within: None });
    let mut traced: Vec<Traced> = traced.collect();
    let (from, to) = way.stretch().ends();
    // One more than the last count stands for the end of the stretch.
    let end = to.insns.saturating_add(1);
    let mut first = vec![from.insns];
    first.extend(between(from.insns, end, STOPS_FIRST));
    narrow(way, &mut traced, &first, end)?;
    loop {
        let open = traced.iter().filter_map(|traced| traced.within).filter(|(low, high)| high - low > 1);
        let stops: BTreeSet<u64> = open.flat_map(|(low, high)| between(low, high, STOPS)).collect();
        if stops.is_empty() {
            break;
        }
        narrow(way, &mut traced, &stops.into_iter().collect::<Vec<_>>(), end)?;
    }
    let mut traces = attribute(way, &traced)?;
    traces.sort_by_key(|trace| trace.step.as_ref().map(|step| step.before));
    Ok(traces)
}

/// Runs the stretch with `stops`, and narrows down when each thing got its last value.
fn narrow(way: &mut Way, traced: &mut [Traced], stops: &[u64], end: u64) -> Result<(), ReplayError> {
    let mut others: Vec<Option<u64>> = vec![None; traced.len()];
    way.visit(stops, &mut |at, replayer| {
        let values = values(replayer, traced.iter().map(|traced| &traced.thing));
        for ((traced, value), last_other) in traced.iter().zip(values).zip(&mut others) {
            let inside = traced.within.is_none_or(|(low, high)| (low..high).contains(&stops[at]));
            if inside && value != traced.last {
                *last_other = Some(stops[at]);
            }
        }
        Ok(())
    })?;
    for (traced, last_other) in traced.iter_mut().zip(others) {
        let (low, high) = match (traced.within, last_other) {
            (None, None) => continue,
            (None, Some(low)) => (low, end),
            (Some((low, high)), other) => (other.unwrap_or(low), high),
        };
        let next = stops.iter().copied().find(|&stop| stop > low).unwrap_or(end);
        traced.within = Some((low, high.min(next)));
    }
    Ok(())
}

/// Names the steps.
fn attribute(way: &mut Way, traced: &[Traced]) -> Result<Vec<Trace>, ReplayError> {
    let mut by_count: BTreeMap<u64, Vec<&Traced>> = BTreeMap::new();
    let mut traces = Vec::new();
    for traced in traced {
        match traced.within {
            Some((low, _)) => by_count.entry(low).or_default().push(traced),
            None => traces.push(Trace { thing: traced.thing.clone(), step: None, input: None }),
        }
    }
    for (low, group) in by_count {
        way.visit(&[low], &mut |_, _| Ok(()))?;
        traces.extend(attribute_at(way, low, &group)?);
    }
    Ok(traces)
}

/// Goes on step by step from the first instant with count `low`.
fn attribute_at(way: &mut Way, low: u64, group: &[&Traced]) -> Result<Vec<Trace>, ReplayError> {
    let recording = way.recording();
    let stretch = Stretch::new(&recording, way.index());
    let from = stretch.ends().0;
    let replayer = way.replayer()?;
    let mut found: Vec<Option<Trace>> = group.iter().map(|_| None).collect();
    let things = || group.iter().map(|traced| &traced.thing);
    let mut was = values(replayer, things());
    loop {
        let before = Before::of(replayer);
        let given = replayer.events_given();
        let Some(done) = step::advance(replayer, low, stretch)? else { break };
        let is = values(replayer, things());
        for (((traced, trace), was), is) in group.iter().zip(&mut found).zip(&was).zip(&is) {
            if *was != traced.last && *is == traced.last {
                *trace = Some(Trace {
                    thing: traced.thing.clone(),
                    step: Some(before.step(&done, replayer)),
                    input: step::last_input(recording.events(), given, from),
                });
            }
        }
        was = is;
        if matches!(done, step::Done::Lost) {
            break;
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// What each thing holds where `replayer` stands.
fn values<'a>(replayer: &Replayer, things: impl Iterator<Item = &'a Thing>) -> Vec<String> {
    let machine = replayer.machine();
    let fields = fields(&machine.save());
    things.map(|thing| thing.value(machine, &fields)).collect()
}
