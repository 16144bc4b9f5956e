//! Options of every command that runs a live machine, and how such a run is reported.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use session::{ClockMode, EngineKind, Options, Report};

use crate::values;

/// How the guest's time passes.
#[derive(Clone, Copy, ValueEnum)]
pub enum Clock {
    /// By instructions alone; a halt jumps to the next timer. Runs can be repeated exactly
    Virtual,
    /// Beside the host's clock; a halt waits
    Real,
}

impl From<Clock> for ClockMode {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::Virtual => ClockMode::Virtual,
            Clock::Real => ClockMode::Real,
        }
    }
}

/// What executes the guest; it cannot tell.
#[derive(Clone, Copy, ValueEnum)]
pub enum Engine {
    /// The interpreter: runs on every x86-64 host
    Interp,
    /// The translator to host code: faster; the host's CPU needs BMI2
    Jit,
}

impl From<Engine> for EngineKind {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Interp => EngineKind::Interpreter,
            Engine::Jit => EngineKind::Translator,
        }
    }
}

/// Options of a live machine.
#[derive(clap::Args)]
pub struct LiveOptions {
    /// Record the run into this new file: `replay` repeats it exactly. With a tree, a name without a slash and without
    /// the ending .cvr makes a node of it
    #[arg(long, value_name = "FILE|NAME")]
    pub record: Option<PathBuf>,

    /// Keep this VM's tree of snapshots and recordings in this directory, which is made if need be; the guest (chronoctl)
    /// may add to it. A run from a node keeps to the node's tree
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,

    /// How much room the checkpoints of a recording may take, about
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = values::size_bytes)]
    pub record_budget: u64,

    /// Listen at this Unix socket for `chronovisor ctl`
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,

    /// Let the guest (chronoctl) start recordings and take snapshots; their files go to this directory
    #[arg(long, value_name = "DIR")]
    pub guest_files: Option<PathBuf>,

    /// What executes the guest, which cannot tell [default: jit where the host can, else interp; of a replay, the engine that recorded]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<Engine>,

    /// How the guest's time passes [default: real on a terminal without --digest and --max-insns, else virtual]
    #[arg(long, value_name = "MODE")]
    pub clock: Option<Clock>,

    /// Stop exactly before instruction number N (counted from 0); K, M and G mean 10^3, 10^6, 10^9
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub max_insns: Option<u64>,

    /// End instead of starting again when the guest resets the machine
    #[arg(long)]
    pub no_reboot: bool,
}

impl LiveOptions {
    /// For the session, with this clock.
    pub fn options(&self, clock: ClockMode, digest: bool) -> Options {
        Options {
            engine: self.engine.map_or_else(EngineKind::fastest, EngineKind::from),
            clock,
            max_insns: self.max_insns,
            reboot: !self.no_reboot,
            digest,
            record: self.record.clone(),
            tree: self.tree.clone(),
            budget_bytes: self.record_budget,
            control: self.control.clone(),
            guest_files: self.guest_files.clone(),
        }
    }
}

/// Prints how a run went, the digest first if it is wanted.
///
/// # Errors
/// If it cannot be written.
pub fn print_report(report: &Report, digest: bool, json: bool) -> Result<()> {
    if let (true, Some(digest)) = (digest, &report.digest) {
        print_digest(digest, report.insns, report.console_in_line)?;
    }
    let summary = if json { report_json(report).to_string() } else { sentence(report) };
    writeln!(std::io::stderr(), "{summary}").context("the report cannot be written to standard error")
}

/// Prints the line with the digest.
///
/// # Errors
/// If it cannot be written.
pub fn print_digest(digest: &str, insns: u64, in_line: bool) -> Result<()> {
    let line_end = if in_line { "\n" } else { "" };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line_end}digest {digest} insns {insns}")
        .and_then(|()| stdout.flush())
        .context("the digest cannot be written to standard output")
}

/// The report for programs.
pub fn report_json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "reason": report.ending.name(),
        "status": report.ending.status(),
        "insns": report.insns,
        "virtual_ns": report.virtual_ns,
        "digest": report.digest,
        "host_seconds": report.host_time.as_secs_f64(),
    })
}

fn sentence(report: &Report) -> String {
    format!(
        "chronovisor: {} after {} instructions, {:.3} s of its time, {:.3} s of the host's",
        report.ending,
        report.insns,
        report.virtual_ns as f64 / 1e9,
        report.host_time.as_secs_f64()
    )
}
