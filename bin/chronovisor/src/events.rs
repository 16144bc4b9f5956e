//! `chronovisor events`: the inputs and marks of a recording, one a line.

use std::path::PathBuf;
use std::process::ExitCode;

use machine_input::describe;
use serde_json::json;
use session::SessionError;
use timeline::format::log::{Event, EventKind};
use timeline::{PositionSpec, Recording, Target};

use crate::failure::{self, Failure, print_line};

mod machine_input;

pub use machine_input::kind_name;

/// List the inputs and marks of a recording
#[derive(clap::Args)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree
    file: PathBuf,

    /// Only from this position on (as for `replay --to`)
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    from: Option<PositionSpec>,

    /// Only before this position
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    to: Option<PositionSpec>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(events(arguments))
}

fn events(arguments: &Arguments) -> Result<u8, Failure> {
    let recording = Recording::open(&arguments.file).map_err(SessionError::from)?;
    let resolve = |spec: &Option<PositionSpec>| spec.as_ref().map(|spec| spec.resolve(&recording)).transpose();
    let from = resolve(&arguments.from).map_err(SessionError::from)?;
    let to = resolve(&arguments.to).map_err(SessionError::from)?.unwrap_or(Target::End);
    let end = recording.end_position();
    let begun = |event: &Event| match from {
        None => true,
        Some(Target::End) => event.position >= end,
        Some(from) => from.is_reached(event.position),
    };
    let wanted = recording.events().iter().filter(|event| begun(event) && to.is_after_event(event.position));
    for event in wanted {
        print_line(&if arguments.json { json(event) } else { line(event) })?;
    }
    Ok(0)
}

fn json(event: &Event) -> String {
    let mut object = json!({
        "insns": event.position.insns,
        "virtual_ns": event.position.time.as_ns(),
        "kind": kind_name(&event.kind),
    });
    let value = match &event.kind {
        EventKind::Mark(name) => json!({ "name": name }),
        EventKind::Input(input) => machine_input::fields(input),
    };
    if let (Some(object), serde_json::Value::Object(fields)) = (object.as_object_mut(), value) {
        object.extend(fields);
    }
    object.to_string()
}

fn line(event: &Event) -> String {
    let ns = event.position.time.as_ns();
    format!(
        "{:>14}  {:>6}.{:09} s  {}",
        event.position.insns,
        ns / 1_000_000_000,
        ns % 1_000_000_000,
        describe(&event.kind)
    )
}
