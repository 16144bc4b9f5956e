//! `chronovisor verify`: replays a recording and compares every digest in it.

mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use session::{STATUS_DIFFERENT, SessionError};
use timeline::Recording;
use timeline::verify::{Engines, Progress, verify_with};

use crate::failure::{self, Failure, print_line};
use crate::options::Engine;
use crate::progress;

const AFTER_HELP: &str = "\
Exit status:
  0    every digest is the same
  1    one differs: what differs is named, and the first differing instruction, as far as it can be known: where
       two ways of replaying differ, the first instruction behind which they do; where all agree, the instructions
       that gave what differs its value
  2    the recording cannot be used
  4    the host failed";

/// Replay a recording and compare every digest in it
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree
    file: PathBuf,

    /// Stretches that are replayed at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// What replays [default: the engine that recorded]; where that differs, the others are compared with it
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,

    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(verify(arguments))
}

fn verify(arguments: &Arguments) -> Result<u8, Failure> {
    let start = Instant::now();
    let recording = Arc::new(Recording::open(&arguments.file).map_err(SessionError::from)?);
    let bar = progress::bar(recording.checkpoints().len() as u64, "stretches");
    let engines = Engines::of(&recording, arguments.engine.map(Into::into));
    let result = verify_with(&recording, &engines, arguments.jobs.into(), &|progress| match progress {
        Progress::Stretches(done, _) => bar.set_position(done as u64),
        Progress::Searching => bar.println("a difference was found; looking for the first differing instruction"),
    });
    bar.finish_and_clear();
    let verification = result.map_err(SessionError::from)?;
    let seconds = start.elapsed().as_secs_f64();
    let text = if arguments.json {
        report::json(&recording, &verification, seconds)
    } else {
        report::sentences(&recording, &verification, seconds)
    };
    print_line(&text)?;
    Ok(if verification.difference.is_none() { 0 } else { STATUS_DIFFERENT })
}
