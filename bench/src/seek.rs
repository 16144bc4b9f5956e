//! Going to random positions of a long recording: each time in a fresh process, and in one that has replayed it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::{self, Running, Span};
use crate::stats::Seeded;
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
    let count = bench.effort.seeks;
    (bench.note)(&format!("{count} positions, each in a process of its own"));
    let fresh = in_fresh_processes(bench, &file, insns)?;
    (bench.note)(&format!("{count} positions in one process"));
    let memory = in_one_process(bench, &file)?;
    let about = format!(
        "{:.3}G instructions of processes, pipes and sorting, recorded in {:.1} s into {} with {} checkpoints, replayed in {:.1} s",
        insns as f64 / 1e9,
        recorded.wall.as_secs_f64(),
        Unit::Bytes.show(number(&info, "/file_bytes")?),
        number(&info, "/checkpoints")?,
        replay.wall.as_secs_f64(),
    );
    let mut figures = compare("fresh process", &fresh, replay, 2.0);
    figures[1].how += &format!("; {about}");
    let at = figures.len();
    figures.extend(compare("checkpoints in memory", &memory.seeks, replay, 0.5));
    figures[at].how += &format!(
        "; one process that has replayed the whole recording once, in {:.1} s, and has kept checkpoints of its own",
        memory.full.wall.as_secs_f64()
    );
    Ok(figures)
}

/// The median and the 95th percentile.
fn compare(where_: &str, seeks: &[Span], full: Span, floor_percent: f64) -> Vec<Figure> {
    let full = Reading::seconds(&[full]);
    let at = |percent| Reading::percentile(seeks, percent);
    let figure = |name: &str, percent| {
        let what = format!("seek, {where_}, {name}, as part of the whole replay");
        Figure::new(what, Unit::Percent, at(percent).over(&full).times(100.0)).how(format!(
            "{} of {}; {} seeks, the slowest {}",
            at(percent).times(1e3).show(Unit::Milliseconds),
            full.show(Unit::Seconds),
            seeks.len(),
            at(100.0).times(1e3).show(Unit::Milliseconds)
        ))
    };
    vec![figure("p50", 50.0), figure("p95", 95.0).floor(Floor::AtMost(floor_percent))]
}

/// `replay --from POS --to POS`: from starting the program to its end.
fn in_fresh_processes(bench: &Bench<'_>, file: &Path, insns: u64) -> Result<Vec<Span>> {
    let mut random = Seeded(SEED);
    let mut seeks = Vec::new();
    for _ in 0..bench.effort.seeks {
        let position = random.below(insns).to_string();
        let mut command = bench.files.command("replay");
        command.arg(file).args(["--from", &position, "--to", &position]);
        seeks.push(process::run(&mut command, LIMIT)?.at);
    }
    Ok(seeks)
}

/// What `examples/seeks.rs` measured.
#[derive(Debug, PartialEq)]
struct InMemory {
    /// The whole replay in this process, which leaves checkpoints behind.
    full: Span,
    seeks: Vec<Span>,
}

fn in_one_process(bench: &Bench<'_>, file: &Path) -> Result<InMemory> {
    let mut command = std::process::Command::new(&bench.files.seeks);
    command.arg(file).args([bench.effort.seeks.to_string(), SEED.to_string()]);
    parse(&process::answer(&mut command, LIMIT)?)
}

/// Lines `full WALL CPU` and `seek WALL CPU`, in nanoseconds.
fn parse(text: &str) -> Result<InMemory> {
    let (mut full, mut seeks) = (None, Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let name = words.next();
        let mut ns = || -> Option<Duration> { Some(Duration::from_nanos(words.next()?.parse().ok()?)) };
        let span = ns().zip(ns()).map(|(wall, cpu)| Span { wall, cpu });
        match (name, span) {
            (Some("full"), Some(span)) => full = Some(span),
            (Some("seek"), Some(span)) => seeks.push(span),
            _ => bail!("'{line}' is no measurement"),
        }
    }
    Ok(InMemory { full: full.context("the whole replay was not measured")?, seeks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(wall_ms: u64, cpu_ms: u64) -> Span {
        Span { wall: Duration::from_millis(wall_ms), cpu: Duration::from_millis(cpu_ms) }
    }

    #[test]
    fn measurements_are_read() {
        let read = parse("full 30500000000 30000000000\nseek 250000000 1000000\n").unwrap();
        assert_eq!(read, InMemory { full: span(30_500, 30_000), seeks: vec![span(250, 1)] });
        for wrong in ["seek 1 1\n", "full\n", "full 1\n", "full x 1\n", "walk 1 1\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seeks_are_held_against_the_whole_replay() {
        let seeks = [span(100, 40), span(200, 30), span(300, 20), span(400, 10)];
        let figures = compare("fresh process", &seeks, span(10_000, 1000), 2.0);
        assert_eq!(figures[0].cells()[2], "2.00 % (CPU 2.00 %)");
        assert_eq!(figures[1].cells()[2], "4.00 % (CPU 4.00 %) ✗");
    }
}
