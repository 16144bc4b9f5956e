//! `chronovisor ctl`: tells a running session what to do, over its control socket.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::Value;
use session::control::{self, Command, Destination};
use session::tree::{UNNAMED, node_name};

use crate::failure::{self, Failure, print_line};

/// Tell a running session what to do
#[derive(clap::Args)]
pub struct Arguments {
    /// The socket that was given to `run --control`
    socket: PathBuf,

    /// Print the answer as one JSON object
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Ctl,
}

#[derive(Subcommand)]
enum Ctl {
    /// Start or stop recording
    #[command(subcommand)]
    Record(Record),
    /// Let the machine stand still
    Pause,
    /// Let it run again
    Resume,
    /// Give this instant of the recording a name
    Mark {
        /// The name
        name: String,
    },
    /// Save the machine as it stands, while it runs on; returns when it is safe on the disk
    Snapshot {
        /// A name in the session's tree, from which `run --from DIR:NAME` goes on; a path, or anything if the session has no
        /// tree, is a new file (".cvr" is added), from which `replay --go-live` goes on
        name: PathBuf,
    },
    /// Tell where the machine is, whether it runs, and what is recorded
    Status,
    /// End the run; returns when the recording is complete
    Quit,
}

#[derive(Subcommand)]
enum Record {
    /// Record from now on
    Start {
        /// A name in the session's tree; a path, or anything if the session has no tree, is a new file
        name: Option<PathBuf>,
    },
    /// Stop recording; the machine runs on
    Stop,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(ctl(arguments))
}

fn ctl(arguments: &Arguments) -> Result<u8, Failure> {
    let command = match &arguments.command {
        Ctl::Record(Record::Start { name }) => Command::RecordStart(match name {
            Some(name) => destination(name, absolute(name)?),
            None => Destination { file: None, name: Some(UNNAMED.into()) },
        }),
        Ctl::Record(Record::Stop) => Command::RecordStop,
        Ctl::Pause => Command::Pause,
        Ctl::Resume => Command::Resume,
        Ctl::Mark { name } => Command::Mark(name.clone()),
        Ctl::Snapshot { name } => {
            let mut file = absolute(name)?;
            if file.extension().is_none() {
                file.set_extension("cvr");
            }
            Command::Snapshot(destination(name, file))
        }
        Ctl::Status => Command::Status,
        Ctl::Quit => Command::Quit,
    };
    let answer =
        control::ask(&arguments.socket, &command).map_err(|sentence| Failure::bad_request(anyhow!(sentence)))?;
    print_line(&if arguments.json { answer.to_string() } else { sentence(&command, &answer) })?;
    Ok(0)
}

/// The session knows whether it has a tree.
fn destination(typed: &Path, file: PathBuf) -> Destination {
    Destination { file: Some(file), name: node_name(typed).map(str::to_owned) }
}

/// The session may run in another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .with_context(|| format!("{} cannot be a path", path.display()))
        .map_err(Failure::bad_request)
}

fn sentence(command: &Command, answer: &Value) -> String {
    let text = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    let at = || {
        let seconds = answer["virtual_ns"].as_u64().unwrap_or(0) as f64 / 1e9;
        format!("instruction {}, {seconds:.3} s", answer["insns"])
    };
    let place = || match (answer["tree"].as_str(), answer["name"].as_str()) {
        (Some(tree), Some(name)) => format!("{tree}:{name}"),
        _ => text("file"),
    };
    match command {
        Command::RecordStart(_) => format!("recording {}", place()),
        Command::RecordStop => format!("the recording {} is complete", text("file")),
        Command::Pause => "paused".into(),
        Command::Resume => "running".into(),
        Command::Mark(name) => format!("mark {name} at {}", at()),
        Command::Snapshot(_) => format!("snapshot {} at {}", place(), at()),
        Command::Quit => "ended".into(),
        Command::Status => {
            let recording = match &answer["recording"] {
                Value::Null => "not recorded".to_owned(),
                recording => format!(
                    "recorded into {}, {} bytes",
                    recording["file"].as_str().unwrap_or("?"),
                    recording["file_bytes"]
                ),
            };
            format!("{} at {}, {recording}", text("state"), at())
        }
    }
}
