//! What recording costs, in time and in bytes, and how fast the recording is run again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::{self, Running, Span, TimeUp};
use crate::vm::{Guest, QemuLog, number};

const LIMIT: Duration = Duration::from_secs(1800);
/// A replay that has diverged may never end.
const QEMU_REPLAY_LIMIT: Duration = Duration::from_secs(1800);
/// A budget for checkpoints that is below what the boot takes without one, and above what its initial state takes.
const SMALL_BUDGET_MB: u32 = 32;
/// Part of the work of `busy` that is enough.
const BUSY_PERCENT: u32 = 50;

/// The recording of the boot, among what is recorded.
pub const BOOT_FILE: &str = "boot.cvr";

/// One guest, run in every way.
struct Runs {
    plain: Reading,
    recording: Reading,
    replay: Reading,
    qemu: Reading,
    qemu_recording: Reading,
    qemu_replay: Reading,
}

/// What of a run counts.
type Pick = fn(Running) -> Result<Span>;

/// Measures it.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let files = &bench.files;
    let (boot_file, boot_log) = (files.fresh(BOOT_FILE)?, files.fresh("boot.rr")?);
    let boot = in_every_way(bench, "Debian boot", &Guest::boot(files), whole, &boot_file, &boot_log)?;
    let mut figures = compare("Debian boot", "from start to end of the program", &boot);
    figures.extend(sizes(bench, &boot_file, &boot_log)?);

    let guest = Guest::suite(files, "busy", (bench.effort.scale_percent * BUSY_PERCENT / 100).max(1));
    let (busy_file, busy_log) = (files.fresh("busy.cvr")?, files.fresh("busy.rr")?);
    let busy = in_every_way(bench, "CPU-bound guest", &guest, between_marks, &busy_file, &busy_log)?;
    figures.extend(compare("CPU-bound guest", "the suite's `integer` from START to END", &busy));
    Ok(figures)
}

fn in_every_way(bench: &Bench<'_>, name: &str, guest: &Guest, pick: Pick, file: &Path, log: &Path) -> Result<Runs> {
    let files = &bench.files;
    let ways = ["not recording", "recording", "replay", "QEMU", "QEMU recording"].map(|way| format!("{name}, {way}"));
    let once = |mut command: Command, limit| pick(Running::start(&mut command, limit)?);
    let replay = || {
        let mut command = files.command("replay");
        command.arg(file).args(["--speed", "max"]);
        command
    };
    let runs = bench.in_turns(&ways, |way| match way {
        0 => once(files.run_virtual(guest, None, None), LIMIT),
        1 => {
            // No file is recorded over.
            if file.exists() {
                std::fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
            }
            once(files.run_virtual(guest, None, Some(file)), LIMIT)
        }
        2 => once(replay(), LIMIT),
        3 => once(files.qemu(guest, None), LIMIT),
        _ => once(files.qemu(guest, Some(QemuLog::Record(log))), LIMIT),
    })?;
    let qemu_replay = if bench.effort.qemu_replay {
        (bench.note)(&format!("{name}, QEMU replay, once"));
        match once(files.qemu(guest, Some(QemuLog::Replay(log))), QEMU_REPLAY_LIMIT) {
            Ok(span) => Reading::seconds(&[span]),
            Err(error) if error.is::<TimeUp>() => Reading::NotRun("ended after half an hour"),
            Err(error) => return Err(error),
        }
    } else {
        Reading::NotRun("left out with --quick")
    };
    let [plain, recording, replay, qemu, qemu_recording] = [0, 1, 2, 3, 4].map(|way| Reading::seconds(&runs[way]));
    Ok(Runs { plain, recording, replay, qemu, qemu_recording, qemu_replay })
}

/// From the program's start to its end.
fn whole(running: Running) -> Result<Span> {
    Ok(running.finish(0)?.at)
}

/// The work alone.
fn between_marks(mut running: Running) -> Result<Span> {
    let start = running.wait_for("START ")?.at;
    let end = running.wait_for("END ")?.at;
    running.finish(0)?;
    Ok(end.since(start))
}

fn compare(guest: &str, what: &str, runs: &Runs) -> Vec<Figure> {
    let seconds = |reading: &Reading| reading.show(Unit::Seconds);
    let slow_down =
        Figure::new(format!("recording against not recording, {guest}"), Unit::Times, runs.recording.over(&runs.plain))
            .floor(Floor::AtMost(1.05))
            .peer(runs.qemu_recording.over(&runs.qemu))
            .how(format!(
                "`run --record`: {} against {}; QEMU `-icount shift=0,rr=record`: {} against {}; {what}",
                seconds(&runs.recording),
                seconds(&runs.plain),
                seconds(&runs.qemu_recording),
                seconds(&runs.qemu)
            ));
    let replay =
        Figure::new(format!("replay against recording, {guest}"), Unit::Times, runs.replay.over(&runs.recording))
            .floor(Floor::AtMost(1.0))
            .peer(runs.qemu_replay.over(&runs.qemu_recording))
            .how(format!(
                "`replay --speed max`: {}; QEMU `rr=replay`: {}",
                seconds(&runs.replay),
                seconds(&runs.qemu_replay)
            ));
    vec![slow_down, replay]
}

fn sizes(bench: &Bench<'_>, file: &Path, log: &Path) -> Result<Vec<Figure>> {
    let info = bench.files.info(file)?;
    let log_bytes = std::fs::metadata(log).with_context(|| format!("looking at {}", log.display()))?.len();
    let insns = number(&info, "/instructions")?;
    let bytes = number(&info, "/log_bytes")?;
    let small = bench.files.fresh("small.cvr")?;
    let mut command = bench.files.run_virtual(&Guest::boot(&bench.files), None, Some(&small));
    (bench.note)("Debian boot with a small budget");
    process::run(command.args(["--record-budget", &format!("{SMALL_BUDGET_MB}M")]), LIMIT)?;
    let small = bench.files.info(&small)?;
    let held = |info: &serde_json::Value| -> Result<String> {
        Ok(format!("`info --json`; {} checkpoints", number(info, "/checkpoints")?))
    };
    let log = Figure::new("log of the Debian boot, without checkpoints", Unit::Bytes, Reading::of(bytes))
        .floor(Floor::AtMost(65_536.0))
        .peer(Reading::of(log_bytes as f64))
        .how(format!("`info --json` `log_bytes` of {insns} instructions; QEMU: its rr file"));
    let whole = Figure::new(
        "file of the Debian boot, with checkpoints",
        Unit::Bytes,
        Reading::of(number(&info, "/file_bytes")?),
    )
    .floor(Floor::AtMost(150e6))
    .how(held(&info)?);
    let budget = f64::from(SMALL_BUDGET_MB) * f64::from(1 << 20);
    let with_budget = Figure::new(
        format!("the same with `--record-budget {SMALL_BUDGET_MB}M`"),
        Unit::Bytes,
        Reading::of(number(&small, "/file_bytes")?),
    )
    .floor(Floor::AtMost(budget))
    .how(held(&small)?);
    Ok(vec![log, whole, with_budget])
}
