//! Going to random positions of a long recording: each time in a fresh process, and in one that has replayed it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::{self, Running};
use crate::stats::{Seeded, percentile};
use crate::vm::{Guest, number};

const LIMIT: Duration = Duration::from_secs(3600);
/// `--max-insns` reached.
const STATUS_MAX_INSNS: i32 = 8;
const SEED: u64 = 1;

/// Measures it.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let file = bench.files.fresh("long.cvr")?;
    let insns = bench.effort.seek_insns;
    (bench.note)(&format!("recording {insns} instructions"));
    let mut command = bench.files.run_virtual(&Guest::suite(&bench.files, "churn", 100), None, Some(&file));
    command.args(["--max-insns", &insns.to_string()]);
    let recorded = Running::start(&mut command, LIMIT)?.finish(STATUS_MAX_INSNS)?.at;
    let info = bench.files.info(&file)?;
    (bench.note)("its whole replay");
    let replay = process::run(bench.files.command("replay").arg(&file).args(["--speed", "max"]), LIMIT)?.at;
    let (full, count) = (replay.wall.as_secs_f64(), bench.effort.seeks);
    (bench.note)(&format!("{count} positions, each in a process of its own"));
    let fresh = in_fresh_processes(bench, &file, insns)?;
    (bench.note)(&format!("{count} positions in one process"));
    let memory = in_one_process(bench, &file)?;
    let about = format!(
        "{:.3}G instructions of processes, pipes and sorting, recorded in {:.1} s into {} with {} checkpoints, replayed in {full:.1} s",
        insns as f64 / 1e9,
        recorded.wall.as_secs_f64(),
        Unit::Bytes.show(number(&info, "/file_bytes")?),
        number(&info, "/checkpoints")?,
    );
    let mut figures = compare("fresh process", &fresh, full, 2.0);
    figures[1].how += &format!("; {about}");
    figures.extend(compare("checkpoints in memory", &memory.seeks, memory.full, 0.5));
    Ok(figures)
}

/// The median and the 95th percentile.
fn compare(where_: &str, seconds: &[f64], full: f64, floor_percent: f64) -> Vec<Figure> {
    let at = |percent| percentile(seconds.iter().copied(), percent);
    let figure = |name: &str, percent| {
        let what = format!("seek, {where_}, {name}, as part of the whole replay");
        Figure::new(what, Unit::Percent, Reading::of(at(percent) / full * 100.0)).how(format!(
            "{} of {full:.1} s; {} seeks, slowest {}",
            Unit::Milliseconds.show(at(percent) * 1e3),
            seconds.len(),
            Unit::Milliseconds.show(at(100.0) * 1e3)
        ))
    };
    vec![figure("p50", 50.0), figure("p95", 95.0).floor(Floor::AtMost(floor_percent))]
}

/// `replay --from POS --to POS`: from starting the program to its end.
fn in_fresh_processes(bench: &Bench<'_>, file: &Path, insns: u64) -> Result<Vec<f64>> {
    let mut random = Seeded(SEED);
    let mut seconds = Vec::new();
    for _ in 0..bench.effort.seeks {
        let position = random.below(insns).to_string();
        let mut command = bench.files.command("replay");
        command.arg(file).args(["--from", &position, "--to", &position]);
        seconds.push(process::run(&mut command, LIMIT)?.at.wall.as_secs_f64());
    }
    Ok(seconds)
}

/// What `examples/seeks.rs` measured.
#[derive(Debug, PartialEq)]
struct InMemory {
    /// The whole replay, which leaves checkpoints behind.
    full: f64,
    seeks: Vec<f64>,
}

fn in_one_process(bench: &Bench<'_>, file: &Path) -> Result<InMemory> {
    let mut command = std::process::Command::new(&bench.files.seeks);
    command.arg(file).args([bench.effort.seeks.to_string(), SEED.to_string()]);
    parse(&process::answer(&mut command, LIMIT)?)
}

/// Lines `full SECONDS` and `seek SECONDS`.
fn parse(text: &str) -> Result<InMemory> {
    let mut full = None;
    let mut seeks = Vec::new();
    for line in text.lines() {
        let (name, number) = line.split_once(' ').with_context(|| format!("'{line}' is no measurement"))?;
        let seconds: f64 = number.parse().with_context(|| format!("'{line}' has no number"))?;
        match name {
            "full" => full = Some(seconds),
            _ => seeks.push(seconds),
        }
    }
    Ok(InMemory { full: full.context("the whole replay was not measured")?, seeks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read() {
        let read = parse("full 30.5\nseek 0.25\nseek 0.5\n").unwrap();
        assert_eq!(read, InMemory { full: 30.5, seeks: vec![0.25, 0.5] });
        assert!(parse("seek 1\n").is_err());
        assert!(parse("full\n").is_err());
        assert!(parse("full x\n").is_err());
    }

    #[test]
    fn seeks_are_held_against_the_whole_replay() {
        let figures = compare("fresh process", &[0.1, 0.2, 0.3, 0.4], 10.0, 2.0);
        assert_eq!(figures[0].ours, Reading::of(2.0));
        assert_eq!(figures[1].ours.value().map(f64::round), Some(4.0));
        assert!(figures[1].cells()[2].ends_with('✗'));
    }
}
