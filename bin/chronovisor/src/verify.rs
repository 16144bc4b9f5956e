//! `chronovisor verify`: replays a recording and compares every digest in it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use session::{STATUS_DIFFERENT, SessionError};
use timeline::{Recording, ReplayError, Verification};

use crate::failure::{self, Failure, print_line};
use crate::progress;

const AFTER_HELP: &str = "\
Exit status:
  0    every digest is the same
  1    one differs: the stretch of instructions in which the first difference arose, and what differs, are named
  2    the recording cannot be used
  4    the host failed";

/// Replay a recording and compare every digest in it
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The recording
    file: PathBuf,

    /// Stretches that are replayed at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

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
    let result = timeline::verify(&recording, arguments.jobs.into(), &|done, _| bar.set_position(done as u64));
    bar.finish_and_clear();
    let (report, diverged) = match result {
        Ok(report) => (report, None),
        Err(error @ ReplayError::Diverged { .. }) => (Verification::default(), Some(error.to_string())),
        Err(error) => return Err(SessionError::from(error).into()),
    };
    let same = report.difference.is_none() && diverged.is_none();
    let text = if arguments.json {
        json(&recording, &report, diverged.as_deref(), start)
    } else {
        sentences(&recording, &report, diverged.as_deref(), start)
    };
    print_line(&text)?;
    Ok(if same { 0 } else { STATUS_DIFFERENT })
}

fn json(recording: &Recording, report: &Verification, diverged: Option<&str>, start: Instant) -> String {
    let difference = report.difference.as_ref().map(|difference| {
        json!({
            "from_insns": difference.from.insns,
            "from_virtual_ns": difference.from.time.as_ns(),
            "to_insns": difference.to.insns,
            "to_virtual_ns": difference.to.time.as_ns(),
            "what": difference.what,
        })
    });
    let object = json!({
        "same": difference.is_none() && diverged.is_none(),
        "stretches": report.stretches,
        "digests": report.digests,
        "instructions": recording.end_position().insns - recording.start().insns,
        "cut_short": recording.is_cut_short(),
        "difference": difference,
        "diverged": diverged,
        "host_seconds": start.elapsed().as_secs_f64(),
    });
    object.to_string()
}

fn sentences(recording: &Recording, report: &Verification, diverged: Option<&str>, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    if let Some(diverged) = diverged {
        return format!("DIFFERENT: {diverged}");
    }
    let Some(difference) = &report.difference else {
        let cut = if recording.is_cut_short() { "; the recording was cut short, so its end has none" } else { "" };
        return format!(
            "the same: {} digests over {} instructions compared in {seconds:.1} s{cut}",
            report.digests,
            recording.end_position().insns - recording.start().insns,
        );
    };
    let mut text = if difference.to.insns - difference.from.insns <= 1 {
        format!("DIFFERENT: the first differing instruction is number {}", difference.from)
    } else {
        format!(
            "DIFFERENT: the first differing instruction lies behind {} and before {}",
            difference.from, difference.to
        )
    };
    for what in &difference.what {
        text.push_str("\n  ");
        text.push_str(what);
    }
    text
}
