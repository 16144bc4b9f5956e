//! Runs a recording again with its output on standard output, and goes live from it if asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use machine::{EngineKind, Machine, MachineConfig, Output};
use timeline::replayer::{Control, Live};
use timeline::store::address;
use timeline::{BootDescription, Position, PositionSpec, Recording, RecordingHeader, Replayer, Target};

use crate::boot_file::BootFile;
use crate::config::{Boot, ClockMode, Options, Report};
use crate::console::Console;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::guest::Guest;
use crate::live::{self, Outside};
use crate::mailbox::Mailbox;
use crate::outside;
use crate::recording::Description;
use crate::tree::Tree;

/// How fast a replay runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as it can, without waiting where the guest waited.
    Max,
    /// This many times as fast as the guest's time passed, if it can.
    Times(f64),
}

/// What to replay.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// The recording.
    pub path: PathBuf,
    /// Where to begin; `None`: at its start.
    pub from: Option<PositionSpec>,
    /// Where to stop; `None`: at its end.
    pub to: Option<PositionSpec>,
    /// How fast.
    pub speed: Speed,
    /// What executes the machine; `None`: what executed it when it was recorded, if this host can run that.
    pub engine: Option<EngineKind>,
    /// Whether the report shall have the digest.
    pub digest: bool,
    /// How the machine is run on from there, if it is. The clock mode `None` is the recorded one.
    pub live: Option<(Options, Option<ClockMode>)>,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It ended as the recorded run did, in the same state.
    Matched,
    /// It ended in another state.
    Different,
    /// It came to where the recording was cut short; there is no digest to compare with.
    CutShort,
    /// It came to where it should stop.
    Reached,
    /// The user stopped it.
    Stopped,
}

/// How a replay went.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// What it came to.
    pub replayed: Replayed,
    /// Where it ended.
    pub insns: u64,
    /// The same in virtual time.
    pub virtual_ns: u64,
    /// The digest of the machine's complete state there, in hexadecimal digits.
    pub digest: Option<String>,
    /// Whether the last line on standard output is not ended.
    pub console_in_line: bool,
    /// The host's time that it took.
    pub host_time: Duration,
    /// How the live machine's run went, if there was one.
    pub live: Option<Report>,
}

/// Told now and then how far a replay has come: here, from, to, in steps.
pub type Progress<'a> = dyn FnMut(u64, u64, u64) + 'a;

/// Replays a recording.
///
/// # Errors
/// If it cannot be opened or replayed, goes another way than it went, or the host fails.
pub fn replay(config: ReplayConfig, progress: &mut Progress<'_>) -> Result<ReplayReport, SessionError> {
    let start = Instant::now();
    let recording = Arc::new(Recording::open(&config.path)?);
    let resolve = |spec: &Option<PositionSpec>| spec.as_ref().map(|spec| spec.resolve(&recording)).transpose();
    let from = resolve(&config.from)?;
    // Who goes live from a position and names no other one means this one.
    let otherwise = if config.live.is_some() { from } else { None };
    let to = resolve(&config.to)?.or(otherwise).unwrap_or(Target::End);
    if config.live.is_some() && to == Target::End && has_ended(&recording) {
        return Err(SessionError::Ended);
    }
    let mailbox = Arc::new(Mailbox::default());
    outside::watch_signals(Arc::clone(&mailbox), Ending::Quit.status())
        .map_err(SessionError::host("waiting for signals"))?;
    let mut outside = Outside { mailbox, console: Console::default(), start };
    // Going back is not asked for, so states in memory would be of no use.
    let engine = match config.engine {
        Some(engine) => engine,
        None => recorded_engine(&recording.header().engine, &mut outside.console),
    };
    let mut replayer = match from {
        Some(from) => Replayer::at(Arc::clone(&recording), engine.into(), 0, 1, from)?,
        None => Replayer::with_maker(Arc::clone(&recording), engine.into(), 0, 1)?,
    };
    let stopped = play(&mut replayer, to, config.speed, &mut outside, progress)?;
    if config.digest || (to == Target::End && !stopped) {
        replayer.load_all()?;
    }
    let mut report = examine(&mut replayer, to, stopped, &outside);
    report.digest = (config.digest && config.live.is_none()).then(|| replayer.full_digest().to_string());
    if let (Some((options, clock)), false) = (config.live, stopped) {
        let options = Options { engine, ..options };
        let tree = tree_of(&config.path, options.tree.as_deref())?;
        report.live = Some(go_live(replayer.into_live()?, recording.header(), options, clock, tree, outside)?);
    }
    Ok(report)
}

/// The engine that recorded, or else the one that runs everywhere, which is told.
pub(crate) fn recorded_engine(name: &str, console: &mut Console) -> EngineKind {
    let (engine, instead_because) = timeline::maker::recorded_engine(name);
    if let Some(why) = instead_because {
        console.message(&format!("recorded by the {name}, replayed by the {}: {why}", engine.name()));
    }
    engine
}

/// Whether the recorded machine was off or dead at the end.
fn has_ended(recording: &Recording) -> bool {
    recording.end().is_some_and(|end| end.reason != timeline::format::records::EndReason::Stopped)
}

/// Runs on to `to`; says whether the user stopped it before.
fn play(
    replayer: &mut Replayer,
    to: Target,
    speed: Speed,
    outside: &mut Outside,
    progress: &mut Progress<'_>,
) -> Result<bool, SessionError> {
    let first = replayer.position();
    let end = replayer.recording().end_position();
    let last = match to {
        Target::Insns(insns) => insns,
        Target::At(position) => position.insns,
        Target::Time(_) | Target::End => end.insns,
    };
    let Outside { mailbox, console, .. } = outside;
    let host_start = Instant::now();
    let mut failed = None;
    let control = replayer.play(to, &mut |here: Position, output: Output| {
        if let Speed::Times(times) = speed {
            let passed_ns = here.time.as_ns().saturating_sub(first.time.as_ns()) as f64;
            wait_until(mailbox, host_start, passed_ns / times);
        }
        let shown = console
            .serial(&output.serial)
            .map_err(SessionError::host("writing the console to standard output"))
            .and_then(|()| {
                let debug = console.debug(&output.debug_console);
                debug.map_err(SessionError::host("writing the debug console to standard error"))
            });
        failed = shown.err();
        progress(here.insns, first.insns, last);
        let stop = failed.is_some() || mailbox.has_signal();
        if stop { Control::Pause } else { Control::Continue }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(control == Control::Pause),
    }
}

/// Waits until `ns` have passed since `start`, or a signal came.
fn wait_until(mailbox: &Mailbox, start: Instant, ns: f64) {
    let due = Duration::try_from_secs_f64(ns / 1e9).unwrap_or(Duration::MAX);
    while let Some(rest) = due.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
        mailbox.wait(Some(rest), false);
        if mailbox.has_signal() {
            return;
        }
    }
}

/// Compares the end with the recorded one.
fn examine(replayer: &mut Replayer, to: Target, stopped: bool, outside: &Outside) -> ReplayReport {
    let here = replayer.position();
    let end = replayer.recording().end().copied();
    let replayed = match end {
        _ if stopped => Replayed::Stopped,
        _ if to != Target::End => Replayed::Reached,
        None => Replayed::CutShort,
        Some(end) if end.digest == replayer.full_digest().0 => Replayed::Matched,
        Some(_) => Replayed::Different,
    };
    ReplayReport {
        replayed,
        insns: here.insns,
        virtual_ns: here.time.as_ns(),
        digest: None,
        console_in_line: outside.console.is_in_line(),
        host_time: outside.start.elapsed(),
        live: None,
    }
}

/// The tree that the live machine goes on in: that of the recording, unless another is named.
fn tree_of(recording: &Path, named: Option<&Path>) -> Result<Option<Tree>, SessionError> {
    let file = address::recording_of(recording)?;
    let own = address::tree_around(&file).zip(file.file_stem());
    Ok(match (named, own) {
        (Some(named), Some((directory, id))) if *named == directory => {
            Some(Tree::open(named, Some(id.to_string_lossy().into()), None)?)
        }
        (Some(named), _) => Some(Tree::open(named, None, None)?),
        (None, Some((directory, id))) => Some(Tree::open(&directory, Some(id.to_string_lossy().into()), None)?),
        (None, None) => None,
    })
}

/// Runs the machine on with the outside attached.
fn go_live(
    live: Live,
    header: &RecordingHeader,
    mut options: Options,
    clock: Option<ClockMode>,
    tree: Option<Tree>,
    outside: Outside,
) -> Result<Report, SessionError> {
    options.clock = clock.unwrap_or(ClockMode::of_name(&header.clock));
    let boot = header.boot.clone().unwrap_or_default();
    let engine = options.engine;
    let description = Description { boot, engine, clock: options.clock, budget_bytes: options.budget_bytes };
    let first = header.config.as_ref().map(|config| config.to_config()).transpose();
    let first = first.map_err(timeline::ReplayError::from)?.unwrap_or(*live.machine.config());
    let guest = Guest::new(live.machine, live.base, description, options.guest_files.clone(), tree);
    live::run(guest, outside, &options, &mut |rtc| {
        let config = MachineConfig { rtc_start_unix_seconds: rtc.seconds(&first), ..first };
        start_again(header.boot.as_ref().unwrap_or(&BootDescription::default()), config, engine)
    })
}

/// Boots the recorded machine's files again, if they are still where they were and the same.
pub(crate) fn start_again(
    description: &BootDescription,
    config: MachineConfig,
    engine: EngineKind,
) -> Result<Option<Machine>, SessionError> {
    let file = |name: &str, hash: &[u8]| {
        let content = std::fs::read(Path::new(name)).ok()?;
        Some(BootFile::of(name.into(), content)).filter(|file| file.hash() == hash)
    };
    let Some(kernel) = file(&description.kernel, &description.kernel_blake3) else { return Ok(None) };
    let initrd = match description.initrd.as_str() {
        "" => None,
        name => match file(name, &description.initrd_blake3) {
            None => return Ok(None),
            found => found,
        },
    };
    let mut boot = Boot { kernel, initrd, command_line: description.command_line.clone() };
    crate::run::boot(&mut boot, config, engine)
}
