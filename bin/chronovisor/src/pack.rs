//! `chronovisor pack`: writes a recording anew as one checked file that needs nothing else.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use session::SessionError;
use timeline::Recording;
use timeline::pack::PackError;
use timeline::store::address::Address;
use timeline::store::node::{Node, NodeKind};
use timeline::store::{ExportError, Store};

use crate::failure::{self, Failure, print_line};

/// Write a recording anew as one checked file that needs nothing else
#[derive(clap::Args)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree; a snapshot becomes a recording that ends where it begins
    file: PathBuf,

    /// The new file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Leave out the checkpoints: smaller, but going to a position takes as long as running up to it
    #[arg(long)]
    without_checkpoints: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(pack(arguments))
}

fn pack(arguments: &Arguments) -> Result<u8, Failure> {
    let snapshot = snapshot(arguments)?;
    let recording = match snapshot {
        Some(_) => None,
        None => Some(Recording::open(&arguments.file).map_err(SessionError::from)?),
    };
    let output = &arguments.output;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(output);
    let file = file.with_context(|| format!("cannot create {}", output.display())).map_err(Failure::bad_request)?;
    let written = match (&snapshot, &recording) {
        (Some((store, node)), _) => store.export(node, Box::new(file)).map_err(|error| match error {
            ExportError::Record(_) => Failure::host(error),
            ExportError::Store(_) => Failure::bad_request(error),
        }),
        (None, Some(recording)) => {
            let packed = timeline::pack::pack(recording, Box::new(file), !arguments.without_checkpoints);
            packed.map_err(|error| match error {
                PackError::Write(_) => Failure::host(error),
                PackError::Digest(_) => Failure { error: error.into(), status: session::STATUS_DIFFERENT },
                PackError::Read(_) => Failure::bad_request(error),
            })
        }
        (None, None) => Ok(()),
    };
    if let Err(failure) = written {
        // Half a file is of no use. Should it not go away, it still says that it is cut short.
        let _ = fs::remove_file(output);
        return Err(failure);
    }
    let from_bytes = recording.map(|recording| recording.sizes().file);
    let bytes = fs::metadata(output).map_or(0, |metadata| metadata.len());
    print_line(&if arguments.json {
        json!({ "file": output.display().to_string(), "file_bytes": bytes, "from_bytes": from_bytes }).to_string()
    } else {
        let from = from_bytes.map_or(String::new(), |bytes| format!("; {} has {bytes}", arguments.file.display()));
        format!("{} has {bytes} bytes{from}", output.display())
    })?;
    Ok(0)
}

/// The snapshot that is meant, if it is one.
fn snapshot(arguments: &Arguments) -> Result<Option<(Store, Node)>, Failure> {
    let Some(address) = Address::parse(&arguments.file) else { return Ok(None) };
    let (store, node) = address.open().map_err(Failure::bad_request)?;
    Ok((node.record.kind() == NodeKind::Snapshot).then_some((store, node)))
}
