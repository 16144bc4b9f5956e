//! The guest suite: the same programs natively, recorded, replayed, and under QEMU, each with a checksum.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::figure::{Reading, Unit};
use crate::memory::beside_ram_bytes;
use crate::page::Table;
use crate::process::{Running, Span};
use crate::stats::geometric_mean;
use crate::vm::Guest;
use crate::{Bench, our_name};

const LIMIT: Duration = Duration::from_secs(3600);

/// A program that was run.
#[derive(Clone, Debug, PartialEq)]
struct Work {
    name: String,
    checksum: String,
    took: Span,
}

/// A part of the suite, run once.
struct Run {
    works: Vec<Work>,
    /// The most memory that was seen beside the guest's RAM.
    beside_ram_bytes: u64,
}

/// Who runs the suite.
#[derive(Clone, Debug)]
enum Runner {
    Native,
    Recording(Option<String>),
    /// Of what the runner before it recorded.
    Replay(Option<String>),
    Qemu,
}

impl Runner {
    /// Whether this one is so slow that one run has to do.
    fn interprets(&self) -> bool {
        matches!(self, Runner::Recording(Some(engine)) | Runner::Replay(Some(engine)) if engine == "interp")
    }
}

/// The column of a runner.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// For each program, in their order.
    pub times: Vec<Reading>,
    /// The most memory beside the guest's RAM.
    pub beside_ram: Reading,
}

/// A part of the suite, as all have run it.
pub struct Results {
    /// The programs.
    pub programs: Vec<String>,
    /// The runners: native, then recording and replay of each engine, then QEMU.
    pub columns: Vec<Column>,
}

impl Results {
    /// How many times as long as the column `other` the column `this` takes, for each program.
    pub fn ratios(&self, this: usize, other: usize) -> Vec<Reading> {
        self.columns[this].times.iter().zip(&self.columns[other].times).map(|(this, other)| this.over(other)).collect()
    }

    /// The column of QEMU.
    pub fn qemu(&self) -> usize {
        self.columns.len() - 1
    }

    /// Times, how many times as long as natively, and memory.
    pub fn tables(&self, what: &str) -> Vec<Table> {
        let heads = |columns: &[Column]| -> Vec<String> {
            std::iter::once("program".to_owned()).chain(columns.iter().map(|column| column.name.clone())).collect()
        };
        let row = |(index, name): (usize, &String)| {
            (name.clone(), self.columns.iter().map(|column| column.times[index].clone()).collect())
        };
        let times = Table {
            title: format!("{what}, times"),
            unit: Unit::Seconds,
            columns: heads(&self.columns),
            rows: self.programs.iter().enumerate().map(row).collect(),
        };
        let ratios: Vec<Vec<Reading>> = (1..self.columns.len()).map(|column| self.ratios(column, NATIVE)).collect();
        let row = |(index, name): (usize, &String)| {
            (name.clone(), ratios.iter().map(|column| column[index].clone()).collect::<Vec<_>>())
        };
        let mut rows: Vec<_> = self.programs.iter().enumerate().map(row).collect();
        rows.push(("geometric mean".into(), ratios.iter().map(|column| mean(column)).collect()));
        let slow_downs = Table {
            title: format!("{what}, in times of native"),
            unit: Unit::Times,
            columns: heads(&self.columns[1..]),
            rows,
        };
        let memory = Table {
            title: format!("{what}, the most memory that was seen beside the guest's RAM"),
            unit: Unit::Bytes,
            columns: ["machine", "memory"].map(String::from).to_vec(),
            rows: self.columns[1..].iter().map(|it| (it.name.clone(), vec![it.beside_ram.clone()])).collect(),
        };
        vec![times, slow_downs, memory]
    }
}

/// The column of the host itself.
pub const NATIVE: usize = 0;
/// The column of the default engine, recording, and behind it its replay.
pub const RECORDING: usize = 1;

/// The geometric mean of ratios, by each clock.
pub fn mean(ratios: &[Reading]) -> Reading {
    let cpu = |reading: &Reading| match reading {
        Reading::Is { cpu, .. } => *cpu,
        _ => None,
    };
    let cpus: Option<Vec<f64>> = ratios.iter().map(cpu).collect();
    let values: Option<Vec<f64>> = ratios.iter().map(Reading::value).collect();
    values.map_or(Reading::None, |values| Reading::Is { value: geometric_mean(values), cpu: cpus.map(geometric_mean) })
}

/// Runs a part of the suite everywhere.
///
/// # Errors
/// If a run fails, or a checksum differs from the native one.
pub fn measure(bench: &Bench<'_>, part: &str) -> Result<Results> {
    let mut runners = vec![Runner::Native];
    for engine in bench.files.engines()? {
        runners.extend([Runner::Recording(engine.clone()), Runner::Replay(engine)]);
    }
    runners.push(Runner::Qemu);
    let names: Vec<String> = runners.iter().map(name).collect();
    let labels: Vec<String> = names.iter().map(|name| format!("suite, {part}, {name}")).collect();
    let runs = |runner: &Runner| if runner.interprets() { 1 } else { bench.effort.runs };
    let turns: Vec<(&str, u32)> = labels.iter().map(String::as_str).zip(runners.iter().map(runs)).collect();
    let runs = bench.in_turns_of(&turns, |index| run(bench, part, &runners[index]))?;
    let native = &runs[NATIVE][0].works;
    for (name, run) in names.iter().zip(&runs).flat_map(|(name, runs)| runs.iter().map(move |run| (name, run))) {
        same_results(native, &run.works)
            .with_context(|| format!("the suite's results, {name}, differ from the host's"))?;
    }
    let column = |(name, runs): (String, &Vec<Run>)| {
        let times =
            |program: usize| Reading::seconds(&runs.iter().map(|run| run.works[program].took).collect::<Vec<_>>());
        let most = runs.iter().map(|run| run.beside_ram_bytes).max().unwrap_or(0);
        let beside_ram = if most == 0 { Reading::None } else { Reading::of(most as f64) };
        Column { name, times: (0..native.len()).map(times).collect(), beside_ram }
    };
    Ok(Results {
        programs: native.iter().map(|work| work.name.clone()).collect(),
        columns: names.into_iter().zip(&runs).map(column).collect(),
    })
}

fn name(runner: &Runner) -> String {
    match runner {
        Runner::Native => "native".into(),
        Runner::Recording(engine) => format!("{}, recording", our_name(engine.as_deref())),
        Runner::Replay(engine) => format!("{}, replay", our_name(engine.as_deref())),
        Runner::Qemu => "QEMU, TCG".into(),
    }
}

fn run(bench: &Bench<'_>, part: &str, runner: &Runner) -> Result<Run> {
    let files = &bench.files;
    let guest = Guest::suite(files, part, bench.effort.scale_percent);
    let ram = Some(guest.ram_kib());
    match runner {
        Runner::Native => watch(&mut files.native(part, bench.effort.scale_percent), None),
        Runner::Recording(engine) => {
            let file = files.fresh("suite.cvr")?;
            watch(&mut files.run_virtual(&guest, engine.as_deref(), Some(&file)), ram)
        }
        Runner::Replay(_) => {
            let mut command = files.command("replay");
            command.arg(files.scratch.join("suite.cvr")).args(["--speed", "max"]);
            watch(&mut command, ram)
        }
        Runner::Qemu => watch(&mut files.qemu(&guest, None), ram),
    }
}

/// Runs the suite's script, wherever it is, and times what is between its lines START and END.
/// `ram_kib` is that of the guest, if there is one.
fn watch(command: &mut Command, ram_kib: Option<u64>) -> Result<Run> {
    let mut running = Running::start(command, LIMIT)?;
    let mut run = Run { works: Vec::new(), beside_ram_bytes: 0 };
    let mut started: Option<(String, Span)> = None;
    while let Some(line) = running.line()? {
        match marker(&line.text) {
            Some(Marker::Start(name)) => started = Some((name.to_owned(), line.at)),
            Some(Marker::End(name, checksum)) => {
                let Some((started, at)) = started.take().filter(|(started, _)| started == name) else {
                    bail!("'{}' without its START", line.text);
                };
                run.works.push(Work { name: started, checksum: checksum.to_owned(), took: line.at.since(at) });
                if let Some(ram_kib) = ram_kib {
                    // Between two programs, so it costs neither of them anything.
                    run.beside_ram_bytes = run.beside_ram_bytes.max(beside_ram_bytes(running.id(), ram_kib)?);
                }
            }
            None => {}
        }
    }
    running.finish(0)?;
    if run.works.is_empty() {
        bail!("the suite ran no program");
    }
    Ok(run)
}

/// What a line says.
#[derive(Debug, PartialEq)]
enum Marker<'a> {
    Start(&'a str),
    End(&'a str, &'a str),
}

/// The marker at the end of a line; a machine's firmware may have left something before it.
fn marker(line: &str) -> Option<Marker<'_>> {
    if let Some((_, name)) = line.split_once("START ") {
        return Some(Marker::Start(name.trim()));
    }
    let (_, rest) = line.split_once("END ")?;
    let (name, checksum) = rest.trim().split_once(' ')?;
    Some(Marker::End(name, checksum))
}

fn same_results(native: &[Work], other: &[Work]) -> Result<()> {
    if native.len() != other.len() {
        bail!("{} programs ran, not {}", other.len(), native.len());
    }
    for (native, other) in native.iter().zip(other) {
        if (&native.name, &native.checksum) != (&other.name, &other.checksum) {
            bail!("{} {} instead of {} {}", other.name, other.checksum, native.name, native.checksum);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found_behind_what_firmware_printed() {
        assert_eq!(marker("\u{1b}c\u{1b}[2JSTART integer\r"), Some(Marker::Start("integer")));
        assert_eq!(marker("END pipe 0123"), Some(Marker::End("pipe", "0123")));
        assert_eq!(marker("END pipe"), None);
        assert_eq!(marker("run.sh ended with status 0"), None);
    }

    #[test]
    fn programs_are_timed_between_their_lines() {
        let mut script = Command::new("sh");
        script.args(["-c", "echo START a; echo END a 1; echo noise; echo START b; echo END b 2"]);
        let works = watch(&mut script, None).unwrap().works;
        let found: Vec<_> = works.iter().map(|work| (work.name.as_str(), work.checksum.as_str())).collect();
        assert_eq!(found, [("a", "1"), ("b", "2")]);
        let mut script = Command::new("sh");
        assert!(watch(script.args(["-c", "echo START a; echo END b 1"]), None).is_err());
        let mut script = Command::new("sh");
        assert!(watch(script.args(["-c", "echo nothing"]), None).is_err());
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let work = |checksum: &str| Work { name: "a".into(), checksum: checksum.into(), took: Span::default() };
        assert!(same_results(&[work("1")], &[work("1")]).is_ok());
        let error = same_results(&[work("1")], &[work("2")]).unwrap_err().to_string();
        assert_eq!(error, "a 2 instead of a 1");
        assert!(same_results(&[work("1")], &[]).is_err());
    }

    #[test]
    fn means_are_taken_clock_by_clock() {
        let is = |value, cpu| Reading::Is { value, cpu };
        let close = |reading: Reading, value: f64| reading.value().is_some_and(|it| (it - value).abs() < 1e-9);
        assert!(close(mean(&[is(2.0, Some(1.0)), is(8.0, Some(1.0))]), 4.0));
        assert!(matches!(mean(&[is(2.0, None), is(8.0, Some(1.0))]), Reading::Is { cpu: None, .. }));
        assert_eq!(mean(&[Reading::None]), Reading::None);
    }
}
