//! `chronovisor pack`: writes a recording anew as one checked file that needs nothing else.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use session::SessionError;
use timeline::Recording;
use timeline::pack::PackError;

use crate::failure::{self, Failure, print_line};

/// Write a recording anew as one checked file that needs nothing else
#[derive(clap::Args)]
pub struct Arguments {
    /// The recording
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
    let recording = Recording::open(&arguments.file).map_err(SessionError::from)?;
    let output = &arguments.output;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(output);
    let file = file.with_context(|| format!("cannot create {}", output.display())).map_err(Failure::bad_request)?;
    if let Err(error) = timeline::pack::pack(&recording, Box::new(file), !arguments.without_checkpoints) {
        // Half a file is of no use. Should it not go away, it still says that it is cut short.
        let _ = fs::remove_file(output);
        return Err(match error {
            PackError::Write(_) => Failure::host(error),
            PackError::Digest(_) => Failure { error: error.into(), status: session::STATUS_DIFFERENT },
            PackError::Read(_) => Failure::bad_request(error),
        });
    }
    let from_bytes = recording.sizes().file;
    let bytes = fs::metadata(output).map_or(0, |metadata| metadata.len());
    print_line(&if arguments.json {
        json!({ "file": output.display().to_string(), "file_bytes": bytes, "from_bytes": from_bytes }).to_string()
    } else {
        format!("{} has {bytes} bytes; {} has {from_bytes}", output.display(), arguments.file.display())
    })?;
    Ok(0)
}
