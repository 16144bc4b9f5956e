//! Recordings of guests whose time follows the host's: what an idle and a busy one log, and how fast idle time is replayed.
//!
//! Only what happens while the guest idles (or works) is recorded, from when it says that it has begun.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::Running;
use crate::vm::{Guest, QemuLog, number};

/// To boot, beside what is recorded.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// Stopped by the user.
const STATUS_QUIT: i32 = 10;

/// What was recorded.
struct Recorded {
    info: Value,
    /// `log_bytes` of a recording in which nothing happens: header, index, end.
    empty_bytes: f64,
    file: PathBuf,
}

impl Recorded {
    fn seconds(&self) -> Result<f64> {
        Ok(number(&self.info, "/virtual_ns")? / 1e9)
    }

    /// By how much the log grows in a second of the guest's time.
    fn bytes_per_second(&self) -> Result<f64> {
        Ok((number(&self.info, "/log_bytes")? - self.empty_bytes) / self.seconds()?)
    }

    fn how(&self) -> Result<String> {
        let (bytes, inputs) = (number(&self.info, "/log_bytes")?, &self.info["inputs"]);
        let (seconds, fixed) = (self.seconds()?, self.empty_bytes);
        Ok(format!(
            "`run --clock real`, `ctl record start` when it has begun: {bytes} B in {seconds:.0} s, less the {fixed} B of an empty \
             recording; inputs {inputs}; QEMU: by how much its rr file grows"
        ))
    }
}

/// Measures it.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let (idle_seconds, busy_seconds) = (bench.effort.idle_seconds, bench.effort.busy_seconds);
    let idle = record(bench, "idle", idle_seconds)?;
    let qemu_idle = qemu_growth(bench, "idle", idle_seconds)?;
    let busy = record(bench, "churn", busy_seconds)?;
    let qemu_busy = qemu_growth(bench, "churn", busy_seconds)?;
    let log_idle = Figure::new(
        "log of an idle guest, `--clock real`",
        Unit::BytesPerMinute,
        Reading::of(idle.bytes_per_second()? * 60.0),
    )
    .floor(Floor::AtMost(1024.0))
    .peer(Reading::of(qemu_idle * 60.0))
    .how(idle.how()?);
    let log_busy =
        Figure::new("log of a busy guest, `--clock real`", Unit::BytesPerSecond, Reading::of(busy.bytes_per_second()?))
            .floor(Floor::AtMost(2048.0))
            .peer(Reading::of(qemu_busy))
            .how(busy.how()?);
    (bench.note)("replay of the idle guest");
    let replays = bench.in_turns(&["replay of the idle guest"], |_| {
        let mut command = bench.files.command("replay");
        command.arg(&idle.file).args(["--speed", "max"]);
        Ok(Running::start(&mut command, BOOT_LIMIT)?.finish(0)?.at)
    })?;
    let took = Reading::seconds(&replays[0]);
    let seconds = idle.seconds()?;
    let skipping =
        Figure::new("replay of idle time, times as fast as it passed", Unit::Times, Reading::of(seconds).over(&took))
            .floor(Floor::AtLeast(100.0))
            .how(format!("`replay --speed max` of {seconds:.0} s: {}", took.show(Unit::Seconds)));
    Ok(vec![log_idle, log_busy, skipping])
}

/// Boots the guest, and records it for some seconds from when it says that it has begun.
fn record(bench: &Bench<'_>, part: &str, seconds: u32) -> Result<Recorded> {
    (bench.note)(&format!("recording: {part}, {seconds} s"));
    let files = &bench.files;
    let socket = files.fresh("control")?;
    let file = files.fresh(&format!("{part}.cvr"))?;
    let snapshot = files.fresh(&format!("{part}-snapshot.cvr"))?;
    let mut command = files.run(&Guest::suite(files, part, 100), None);
    command.args(["--clock", "real", "--control"]).arg(&socket);
    let span = Duration::from_secs(seconds.into());
    let mut running = Running::start(&mut command, BOOT_LIMIT + span)?;
    running.wait_for("START ")?;
    let name = |path: &Path| path.display().to_string();
    files.ctl(&socket, &["record", "start", &name(&file)])?;
    thread::sleep(span);
    files.ctl(&socket, &["record", "stop"])?;
    files.ctl(&socket, &["snapshot", &name(&snapshot)])?;
    files.ctl(&socket, &["quit"])?;
    running.finish(STATUS_QUIT)?;
    let empty_bytes = number(&files.info(&snapshot)?, "/log_bytes")?;
    Ok(Recorded { info: files.info(&file)?, empty_bytes, file })
}

/// Bytes a second by which QEMU's log grows in the same guest.
fn qemu_growth(bench: &Bench<'_>, part: &str, seconds: u32) -> Result<f64> {
    (bench.note)(&format!("QEMU recording: {part}, {seconds} s"));
    let log = bench.files.fresh(&format!("{part}.rr"))?;
    let guest = Guest::suite(&bench.files, part, 100);
    let span = Duration::from_secs(seconds.into());
    let mut running = Running::start(&mut bench.files.qemu(&guest, Some(QemuLog::Record(&log))), BOOT_LIMIT + span)?;
    running.wait_for("START ")?;
    let size = || Ok::<_, anyhow::Error>(std::fs::metadata(&log).context("looking at QEMU's log")?.len());
    let before = size()?;
    thread::sleep(span);
    // Dropped, and so killed, after this: the guest never ends by itself.
    Ok((size()? - before) as f64 / span.as_secs_f64())
}
