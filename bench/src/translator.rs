//! The part about execution: the suite against native and QEMU, memory, and several vCPUs against one.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::page::Section;
use crate::process::Running;
use crate::suite::{self, NATIVE, RECORDING, Results, mean};
use crate::vm::{Guest, shown};

const LIMIT: Duration = Duration::from_secs(1800);
/// vCPUs of the machine with several.
const VCPUS: u8 = 4;

/// Measures the part.
///
/// # Errors
/// If a run fails or computes something wrong.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let small = suite::measure(bench, "small")?;
    let real = suite::measure(bench, "real")?;
    let mut figures = against_native(&small);
    figures.push(against_qemu(&real));
    figures.extend([replay(&small, "small programs"), replay(&real, "real programs"), memory(&small, &real)]);
    figures.push(several_vcpus(bench)?);
    let mut tables = small.tables("Small programs");
    tables.extend(real.tables("Real programs"));
    let intro = format!(
        "The programs of `bench/guest`, the same static binary natively and inside of guests, and Debian's xz, sqlite3 and python3 \
         with Debian's libraries, also the same: fixed work ({} % of it), and checksums that agreed everywhere. One vCPU, 512 MB, \
         except where several are named. The figures are of {}; the interpreter ran once.",
        bench.effort.scale_percent, small.columns[RECORDING].name
    );
    let guest = Guest::suite(&bench.files, "small", bench.effort.scale_percent);
    let recording = bench.files.run_virtual(&guest, bench.files.engines()?[0].as_deref(), Some(Path::new("suite.cvr")));
    let commands = vec![
        ("Chronovisor, recording".into(), shown(&recording)),
        ("QEMU".into(), shown(&bench.files.qemu(&guest, None))),
    ];
    Ok(Section { title: "Execution", intro, figures, tables, commands })
}

fn against_native(small: &Results) -> Vec<Figure> {
    let ours = small.ratios(RECORDING, NATIVE);
    let qemu = small.ratios(small.qemu(), NATIVE);
    let how = "medians of the tables below";
    let mut figures = vec![
        Figure::new("small programs, recording, in times of native, geometric mean", Unit::Times, mean(&ours))
            .floor(Floor::AtMost(4.0))
            .peer(mean(&qemu))
            .how(how),
    ];
    for (program, floor) in [("integer", 1.5), ("simd", 2.0)] {
        if let Some(index) = small.programs.iter().position(|name| name == program) {
            figures.push(
                Figure::new(format!("`{program}`, recording, in times of native"), Unit::Times, ours[index].clone())
                    .floor(Floor::AtMost(floor))
                    .peer(qemu[index].clone())
                    .how(how),
            );
        }
    }
    figures
}

fn against_qemu(real: &Results) -> Figure {
    let faster = mean(&real.ratios(real.qemu(), RECORDING));
    let figure = Figure::new("real programs, recording, times as fast as QEMU, geometric mean", Unit::Times, faster);
    figure.floor(Floor::AtLeast(2.5)).how("medians of the tables below; QEMU does not record")
}

fn replay(results: &Results, what: &str) -> Figure {
    let ratio = mean(&results.ratios(RECORDING + 1, RECORDING));
    Figure::new(format!("replay against recording, {what}, geometric mean"), Unit::Times, ratio)
        .floor(Floor::AtMost(1.0))
        .how("`replay --speed max` of what was recorded, START to END")
}

fn memory(small: &Results, real: &Results) -> Figure {
    let most = |column: fn(&Results) -> usize| {
        let of = |results: &Results| results.columns[column(results)].beside_ram.value();
        of(small).into_iter().chain(of(real)).reduce(f64::max).map_or(Reading::None, Reading::of)
    };
    Figure::new("memory beside the guest's RAM, recording", Unit::Bytes, most(|_| RECORDING))
        .floor(Floor::AtMost(128e6))
        .peer(most(Results::qemu))
        .how("the most seen behind any program of the suite: resident size of all mappings but RAM's")
}

/// Total throughput of one program a vCPU, against one vCPU with one.
fn several_vcpus(bench: &Bench<'_>) -> Result<Figure> {
    let files = &bench.files;
    let one = Guest::suite(files, "several", bench.effort.scale_percent).cpus(1);
    let several = Guest::suite(files, "several", bench.effort.scale_percent).cpus(VCPUS);
    // The engine of the other figures.
    let engine = files.engines()?.swap_remove(0);
    let names = ["one vCPU", "four vCPUs", "QEMU, one vCPU", "QEMU, four vCPUs"];
    let runs = bench.in_turns(&names, |index| {
        let mut command = match index {
            0 | 1 => {
                let file = bench.files.fresh("several.cvr")?;
                files.run_virtual(if index == 0 { &one } else { &several }, engine.as_deref(), Some(&file))
            }
            _ => files.qemu(if index == 2 { &one } else { &several }, None),
        };
        let mut running = Running::start(&mut command, LIMIT)?;
        let start = running.wait_for("START ")?.at;
        let end = running.wait_for("END ")?.at;
        running.finish(0)?;
        Ok(end.since(start))
    })?;
    let took: Vec<Reading> = runs.iter().map(|runs| Reading::seconds(runs)).collect();
    let throughput = |one: &Reading, several: &Reading| one.over(several).times(VCPUS.into());
    let seconds = |index: usize| took[index].show(Unit::Seconds);
    Ok(Figure::new(
        "total throughput of 4 vCPUs on one thread, in times of 1 vCPU's",
        Unit::Times,
        throughput(&took[0], &took[1]),
    )
    .floor(Floor::AtLeast(0.85))
    .peer(throughput(&took[2], &took[3]))
    .how(format!(
        "`integer` once a vCPU, all at the same time, recording: {} for four, {} for one; QEMU: {} and {}",
        seconds(1),
        seconds(0),
        seconds(3),
        seconds(2)
    )))
}
