//! What a verification found, in sentences and as JSON.

use serde_json::{Value, json};
use timeline::Position;
use timeline::difference::Differing;
use timeline::store::Checked;
use timeline::verify::{Cause, Difference, Outcome, Step, StepKind, Trace, Verification, WayReport};

use super::Verified;

/// One JSON object on a recording: its replay, if there was one, and what is damaged.
pub fn json(verified: Option<&Verified>, damage: &[String], seconds: f64) -> String {
    let mut object = match verified {
        Some((recording, verification)) => json!({
            "same": verification.difference.is_none() && damage.is_empty(),
            "stretches": verification.stretches,
            "digests": verification.digests,
            "states": verification.states,
            "instructions": recording.end_position().insns - recording.start().insns,
            "cut_short": recording.is_cut_short(),
            "difference": verification.difference.as_deref().map(difference_json),
        }),
        None => json!({ "same": false }),
    };
    object["damage"] = damage.into();
    object["host_seconds"] = seconds.into();
    object.to_string()
}

/// What the check of a snapshot found, as lines or as one JSON object.
pub fn snapshot(checked: &Checked, seconds: f64, json: bool) -> String {
    let Checked { pages, has_digest, damage } = checked;
    if json {
        let object = json!({
            "same": damage.is_empty(),
            "pages": pages,
            "digests": usize::from(*has_digest),
            "damage": damage,
            "host_seconds": seconds,
        });
        return object.to_string();
    }
    if damage.is_empty() {
        let digest = if *has_digest { "the digest" } else { "no digest, as snapshots of earlier versions have none" };
        return format!("the same: its state, {pages} pages and {digest} compared in {seconds:.1} s");
    }
    damaged(damage).join("\n")
}

fn damaged(damage: &[String]) -> Vec<String> {
    damage.iter().map(|sentence| format!("DAMAGED: {sentence}")).collect()
}

fn difference_json(difference: &Difference) -> Value {
    let Difference { from, to, stopped, what, more, cause } = difference;
    let (kind, details) = match cause {
        Cause::AlteredState { replay_agrees } => ("altered-state", json!({ "replay_agrees": replay_agrees })),
        Cause::Engine { ways, compared: (one, other), first, what } => (
            "engine",
            json!({
                "ways": ways_json(ways),
                "first": step_json(first),
                "what": differing_json(what, &ways[*one].name, &ways[*other].name),
            }),
        ),
        Cause::Unrepeated { ways } => ("unrepeated", json!({ "ways": ways_json(ways) })),
        Cause::Recorded { ways, traces } => {
            let traces: Vec<Value> = traces.iter().map(trace_json).collect();
            ("recorded", json!({ "ways": ways_json(ways), "traces": traces }))
        }
    };
    json!({
        "from_insns": from.insns,
        "from_virtual_ns": from.time.as_ns(),
        "to_insns": to.insns,
        "to_virtual_ns": to.time.as_ns(),
        "stopped": stopped,
        "what": differing_json(what, "recorded", "replayed"),
        "more": more,
        "cause": kind,
        "details": details,
    })
}

fn differing_json(what: &[Differing], one: &str, other: &str) -> Vec<Value> {
    let object = |differing: &Differing| json!({ "what": differing.thing.to_string(), one: differing.one, other: differing.other });
    what.iter().map(object).collect()
}

fn ways_json(ways: &[WayReport]) -> Vec<Value> {
    let outcome = |way: &WayReport| match way.outcome {
        Outcome::AsRecorded => "as-recorded",
        Outcome::Different => "different",
        Outcome::Stopped => "stopped",
        Outcome::Unknown => "unknown",
    };
    ways.iter().map(|way| json!({ "way": way.name, "outcome": outcome(way) })).collect()
}

fn step_json(step: &Step) -> Value {
    let (kind, place) = match &step.kind {
        StepKind::Instruction(place) => ("instruction", Some(place)),
        StepKind::Delivery(place) => ("delivery", Some(place)),
        StepKind::Input { .. } => ("input", None),
        StepKind::Waiting => ("waiting", None),
    };
    let input = match &step.kind {
        StepKind::Input { number, what } => Some(json!({ "number": number, "what": what })),
        _ => None,
    };
    json!({
        "kind": kind,
        "insns": step.before.insns,
        "virtual_ns": step.before.time.as_ns(),
        "vcpu": place.map(|place| place.vcpu),
        "cs": place.map(|place| place.address.0),
        "rip": place.map(|place| place.address.1),
        "bytes": place.map(|place| &place.bytes),
        "text": place.map(|place| &place.text),
        "input": input,
    })
}

fn trace_json(trace: &Trace) -> Value {
    json!({
        "what": trace.thing.to_string(),
        "step": trace.step.as_ref().map(step_json),
        "input_before": trace.input.as_ref().map(step_json),
    })
}

/// Lines for people.
pub fn sentences(verified: Option<&Verified>, damage: &[String], seconds: f64) -> String {
    let mut lines = damaged(damage);
    match verified {
        None => lines.push("It cannot be replayed.".into()),
        Some((_, Verification { difference: Some(difference), .. })) => lines.extend(different(difference)),
        Some((recording, verification)) => {
            let cut = if recording.is_cut_short() { "; the recording was cut short, so its end has none" } else { "" };
            let same = if damage.is_empty() { "the same" } else { "the rest is the same" };
            lines.push(format!(
                "{same}: {} digests over {} instructions compared in {seconds:.1} s{cut}",
                verification.digests,
                recording.end_position().insns - recording.start().insns,
            ));
        }
    }
    lines.join("\n")
}

fn different(difference: &Difference) -> Vec<String> {
    let Difference { from, to, stopped, what, more, cause } = difference;
    if let Cause::AlteredState { replay_agrees } = cause {
        return altered(*from, *replay_agrees, what, *more);
    }
    let mut lines = match cause {
        Cause::Engine { first, .. } => vec![format!("DIFFERENT: the first differing step is {first}")],
        _ => vec![format!("DIFFERENT: the replay is not the recorded run somewhere from instruction {from} to {to}")],
    };
    if let Some(stopped) = stopped {
        lines.push(format!("The replay could not go on: {stopped}"));
    }
    if let Cause::Engine { ways, compared: (one, other), what, .. } = cause {
        lines.push(format!("Behind it, [{}] and [{}] have:", ways[*one].name, ways[*other].name));
        lines.extend(what.iter().map(|d| format!("  {}: {} and {}", d.thing, d.one, d.other)));
    }
    if !what.is_empty() {
        lines.push(format!("At {to}, recorded and replayed:"));
        lines.extend(named(what, *more));
    } else if stopped.is_none() {
        lines.push(format!("The digests at {to} differ; no state is recorded there to compare with."));
    }
    match cause {
        Cause::Engine { ways, .. } => lines.extend(tried(ways)),
        Cause::Unrepeated { ways } => {
            lines.extend(tried(ways));
            lines.push(
                "The difference does not come again, so no instruction can be named: this host may compute unreliably (test its \
                 memory), or it is a fault of this program that shows only at times."
                    .into(),
            );
        }
        Cause::Recorded { ways, traces } => {
            lines.extend(tried(ways));
            lines.extend(agreed(traces));
        }
        Cause::AlteredState { .. } => {}
    }
    lines
}

fn altered(at: Position, replay_agrees: Option<bool>, what: &[Differing], more: usize) -> Vec<String> {
    let mut lines = vec![format!(
        "DIFFERENT: the state that is recorded at instruction {at} is not the one its digest was taken of: it was altered"
    )];
    lines.extend(match replay_agrees {
        Some(true) => Some(
            "A replay from the checkpoint before has the recorded digest there, so only this state is wrong.".into(),
        ),
        Some(false) => Some("A replay from the checkpoint before has another digest there, too.".into()),
        None => None,
    });
    if !what.is_empty() {
        lines.push("Recorded, and replayed from the checkpoint before:".into());
        lines.extend(named(what, more));
    }
    lines
}

fn named(what: &[Differing], more: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        what.iter().map(|d| format!("  {}: recorded {}, replayed {}", d.thing, d.one, d.other)).collect();
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn tried(ways: &[WayReport]) -> Vec<String> {
    let line = |way: &WayReport| {
        let outcome = match way.outcome {
            Outcome::AsRecorded => "ends in the recorded state",
            Outcome::Different => "ends in another state",
            Outcome::Stopped => "cannot follow the recording",
            Outcome::Unknown => "comes to the end",
        };
        format!("  {}: {outcome}", way.name)
    };
    std::iter::once("Ways of replaying that were compared:".to_owned()).chain(ways.iter().map(line)).collect()
}

/// Every way agrees.
fn agreed(traces: &[Trace]) -> Vec<String> {
    let mut lines = vec![
        "All of them agree, so the recorded run had another input or state, or was made by a program that computes \
         otherwise."
            .to_owned(),
    ];
    if traces.is_empty() {
        return lines;
    }
    lines.push("In the replay, what differs got its value by these steps, the earliest first:".into());
    for trace in traces {
        lines.push(match &trace.step {
            Some(step) => format!("  {}: {step}", trace.thing),
            None => format!("  {}: it had it from the start of this stretch on", trace.thing),
        });
        lines.extend(trace.input.as_ref().map(|input| format!("    after {input}")));
    }
    lines
}
