//! `chronovisor verify`: replays a recording and compares every digest in it; checks all that a node of a tree holds.

mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use session::{STATUS_DIFFERENT, SessionError};
use timeline::format::FormatError;
use timeline::reader::ReadError;
use timeline::store::address::Address;
use timeline::store::node::NodeKind;
use timeline::verify::{Engines, Progress, Verification, verify_with};
use timeline::{Recording, ReplayError};

use crate::failure::{self, Failure, print_line};
use crate::options::Engine;
use crate::progress;

const AFTER_HELP: &str = "\
Exit status:
  0    every digest is the same
  1    one differs: what differs is named, and the first differing instruction, as far as it can be known: where
       two ways of replaying differ, the first instruction behind which they do; where all agree, the instructions
       that gave what differs its value
       or something is damaged: each damaged file is named, and what is lost
  2    it cannot be opened at all
  4    the host failed";

/// Replay a recording and compare every digest in it; check every page of a snapshot in a tree
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree, a recording or a snapshot
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

/// A recording, and what its replay came to.
type Verified = (Arc<Recording>, Verification);

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(verify(arguments))
}

fn verify(arguments: &Arguments) -> Result<u8, Failure> {
    let start = Instant::now();
    let mut damage = Vec::new();
    if let Some(address) = Address::parse(&arguments.file) {
        let (store, node) = address.open().map_err(Failure::bad_request)?;
        let checked = store.check(&node);
        if node.record.kind() == NodeKind::Snapshot {
            return told(&report::snapshot(&checked, start.elapsed().as_secs_f64(), arguments.json), &checked.damage);
        }
        damage = checked.damage;
    }
    // With a damaged state there is nothing to replay from.
    let verified = if damage.is_empty() { replayed(arguments, &mut damage)? } else { None };
    let seconds = start.elapsed().as_secs_f64();
    let text = if arguments.json {
        report::json(verified.as_ref(), &damage, seconds)
    } else {
        report::sentences(verified.as_ref(), &damage, seconds)
    };
    let status = told(&text, &damage)?;
    let differs = verified.is_some_and(|(_, verification)| verification.difference.is_some());
    Ok(if differs { STATUS_DIFFERENT } else { status })
}

fn told(text: &str, damage: &[String]) -> Result<u8, Failure> {
    print_line(text)?;
    Ok(if damage.is_empty() { 0 } else { STATUS_DIFFERENT })
}

/// Replays the recording; what of it cannot be read comes to `damage`.
fn replayed(arguments: &Arguments, damage: &mut Vec<String>) -> Result<Option<Verified>, Failure> {
    let file = arguments.file.display();
    let recording = Arc::new(Recording::open(&arguments.file).map_err(SessionError::from)?);
    damage.extend(recording.damage().map(|what| format!("{file}: {what}; what came behind it is lost")));
    let bar = progress::bar(recording.checkpoints().len() as u64, "stretches");
    let engines = Engines::of(&recording, arguments.engine.map(Into::into));
    let result = verify_with(&recording, &engines, arguments.jobs.into(), &|progress| match progress {
        Progress::Stretches(done, _) => bar.set_position(done as u64),
        Progress::Searching => bar.println("a difference was found; looking for the first differing instruction"),
    });
    bar.finish_and_clear();
    match result {
        Ok(verification) => Ok(Some((recording, verification))),
        Err(ReplayError::Read(error)) if is_damage(&error) => {
            damage.push(format!("{file}: {error}"));
            Ok(None)
        }
        Err(error) => Err(SessionError::from(error).into()),
    }
}

fn is_damage(error: &ReadError) -> bool {
    matches!(error, ReadError::Format(FormatError::Block { .. } | FormatError::Content(_)))
}
