//! `chronovisor info`: what is in a recording.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use session::SessionError;
use timeline::format::log::EventKind;
use timeline::format::records::EndReason;
use timeline::store::address::Address;
use timeline::store::node::NodeKind;
use timeline::{Position, Recording};

use crate::events::kind_name;
use crate::failure::{self, Failure, print_line};

mod snapshot;

/// Tell what is in a recording: duration, inputs, sizes, marks, configuration
#[derive(clap::Args)]
pub struct Arguments {
    /// The recording: a file, or DIR:NODE for a node of a tree
    file: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(info(arguments))
}

fn info(arguments: &Arguments) -> Result<u8, Failure> {
    if let Some(address) = Address::parse(&arguments.file) {
        let (store, node) = address.open().map_err(Failure::bad_request)?;
        if node.record.kind() == NodeKind::Snapshot {
            let text = snapshot::told(&store, &node, arguments.json).map_err(Failure::bad_request)?;
            print_line(&text)?;
            return Ok(0);
        }
    }
    let recording = Recording::open(&arguments.file).map_err(SessionError::from)?;
    let text = if arguments.json { json(&recording).to_string() } else { text(&recording) };
    print_line(&text)?;
    Ok(0)
}

fn inputs(recording: &Recording) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for event in recording.events() {
        if let EventKind::Input(_) = event.kind {
            *counts.entry(kind_name(&event.kind)).or_default() += 1;
        }
    }
    counts
}

fn duration(recording: &Recording) -> (u64, u64) {
    let length = recording.end_position().since(recording.start());
    (length.insns, length.time.as_ns())
}

/// An instant for programs.
pub fn position_json(at: Position) -> Value {
    json!({ "insns": at.insns, "virtual_ns": at.time.as_ns() })
}

fn json(recording: &Recording) -> Value {
    let (insns, virtual_ns) = duration(recording);
    let header = recording.header();
    let config = header.config.clone().unwrap_or_default();
    let boot = header.boot.clone().unwrap_or_default();
    let sizes = recording.sizes();
    let marks: Vec<Value> = recording
        .marks()
        .map(|(name, at)| json!({ "name": name, "insns": at.insns, "virtual_ns": at.time.as_ns() }))
        .collect();
    let (major, minor) = (timeline::format::MAJOR, timeline::format::MINOR);
    json!({
        "instructions": insns,
        "virtual_ns": virtual_ns,
        "start": position_json(recording.start()),
        "end": position_json(recording.end_position()),
        "end_reason": end_name(recording),
        "digest": recording.end().map(|end| hex(&end.digest)),
        "cut_short": recording.is_cut_short(),
        "fault": recording.fault().map(ToString::to_string),
        "file_bytes": sizes.file,
        "checkpoint_bytes": sizes.checkpoints,
        "log_bytes": sizes.log,
        "inputs": inputs(recording),
        "checkpoints": recording.checkpoints().len(),
        "marks": marks,
        "configuration": {
            "memory_bytes": config.ram_bytes,
            "cpus": config.vcpus,
            "cpu": format!("x86-64-v{}", config.cpu_level),
            "debug_exit": config.debug_exit,
            "rtc_start_unix_seconds": config.rtc_start_unix_seconds,
            "chaos_seed": config.chaos_seed,
            "clock": header.clock,
            "engine": header.engine,
            "program": header.program,
            "created_unix_seconds": header.created_unix_seconds,
            "kernel": boot.kernel,
            "initrd": boot.initrd,
            "append": boot.command_line,
        },
        "format": { "newest_major_known": major, "newest_minor_known": minor },
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end_name(recording: &Recording) -> &'static str {
    recording.end().map_or("cut-short", |end| match end.reason {
        EndReason::Stopped => "stopped",
        EndReason::PowerOff => "power-off",
        EndReason::TripleFault => "triple-fault",
        EndReason::DebugExit => "debug-exit",
        EndReason::Halted => "halted",
        EndReason::Reset => "reset",
    })
}

fn text(recording: &Recording) -> String {
    let (insns, virtual_ns) = duration(recording);
    let header = recording.header();
    let config = header.config.clone().unwrap_or_default();
    let boot = header.boot.clone().unwrap_or_default();
    let sizes = recording.sizes();
    let seconds = virtual_ns as f64 / 1e9;
    let mut lines = vec![
        format!("duration       {insns} instructions, {seconds:.3} s of the guest's time"),
        format!("from           {}", recording.start()),
        format!("to             {}, {}", recording.end_position(), end_name(recording)),
    ];
    if recording.is_cut_short() {
        let why = recording.fault().map_or(String::new(), |fault| format!(" ({fault})"));
        lines.push(format!("               it was cut short: the recorder did not end it{why}"));
    }
    let per_second =
        if seconds > 0.0 { format!(", {:.0} a second", sizes.log as f64 / seconds) } else { String::new() };
    lines.push(format!("file           {} bytes", sizes.file));
    lines.push(format!("  log          {} bytes{per_second}", sizes.log));
    lines.push(format!(
        "  checkpoints  {} bytes, {} with the initial state",
        sizes.checkpoints,
        recording.checkpoints().len()
    ));
    let counts: Vec<String> = inputs(recording).iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    lines.push(format!("inputs         {}", if counts.is_empty() { "none".into() } else { counts.join(", ") }));
    lines.extend(recording.marks().map(|(name, at)| format!("mark           {name} at {at}")));
    let chaos = config.chaos_seed.map_or(String::new(), |seed| format!(", chaos {seed}"));
    lines.push(format!(
        "machine        {} MiB, {} vCPUs x86-64-v{}{chaos}",
        config.ram_bytes >> 20,
        config.vcpus,
        config.cpu_level
    ));
    lines.push(format!("clock          {}", header.clock));
    lines.push(format!("kernel         {} {}", boot.kernel, boot.command_line));
    if !boot.initrd.is_empty() {
        lines.push(format!("initrd         {}", boot.initrd));
    }
    lines.push(format!("recorded by    {}, {}", header.program, header.engine));
    lines.join("\n")
}
