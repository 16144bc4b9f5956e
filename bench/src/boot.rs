//! The boot of Debian's kernel: to the line that its init prints, and to the end of the machine's program.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::figure::{Figure, Floor, Reading, Unit};
use crate::page::{Section, Table};
use crate::process::{Running, Span};
use crate::vm::{self, Guest};
use crate::{Bench, our_name};

/// No machine takes this long.
const LIMIT: Duration = Duration::from_secs(600);

/// Measures the part.
///
/// # Errors
/// If a boot fails.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let guest = Guest::boot(&bench.files);
    let engines = bench.files.engines()?;
    let mut machines = Vec::new();
    for engine in &engines {
        machines.push((our_name(engine.as_deref()), Some((engine.as_deref(), false))));
        machines.push((format!("{}, recording", our_name(engine.as_deref())), Some((engine.as_deref(), true))));
    }
    machines.push(("QEMU, TCG".into(), None));
    let names: Vec<&str> = machines.iter().map(|(name, _)| name.as_str()).collect();
    let command = |index: usize| -> Result<Command> {
        Ok(match machines[index].1 {
            None => bench.files.qemu(&guest, None),
            Some((engine, recording)) => {
                let file = bench.files.fresh("boot.cvr")?;
                bench.files.run_virtual(&guest, engine, recording.then_some(&file))
            }
        })
    };
    let runs = bench.in_turns(&names, |index| boot(&mut command(index)?))?;
    let of = |runs: &[(Span, Span)], pick: fn(&(Span, Span)) -> Span| {
        Reading::seconds(&runs.iter().map(pick).collect::<Vec<_>>())
    };
    let readings: Vec<[Reading; 2]> = runs.iter().map(|runs| [of(runs, |run| run.0), of(runs, |run| run.1)]).collect();
    let qemu = &readings[readings.len() - 1];
    let rows = names.iter().zip(&readings).map(|(name, reading)| (String::from(*name), reading.to_vec())).collect();
    // The default engine, recording.
    let figure =
        Figure::new("Debian boot to init, recording, in times of QEMU's", Unit::Times, readings[1][0].over(&qemu[0]))
            .floor(Floor::AtMost(1.0))
            .how("`run --record` against QEMU that does not record, from starting the program to init's line");
    let intro = "Debian's unmodified kernel and a busybox initramfs, one vCPU, 512 MB: from starting the program to the line that the \
                 guest's init prints, and to the program's end after the guest has powered off.";
    let table = Table {
        title: "Times".into(),
        unit: Unit::Seconds,
        columns: ["machine", "to init", "to the end"].map(String::from).to_vec(),
        rows,
    };
    let commands = names.iter().enumerate();
    let commands = commands.map(|(index, name)| Ok((String::from(*name), vm::shown(&command(index)?))));
    Ok(Section {
        title: "Boot",
        intro: intro.into(),
        figures: vec![figure],
        tables: vec![table],
        commands: commands.collect::<Result<_>>()?,
    })
}

/// Boots once: to init, to the end.
fn boot(command: &mut Command) -> Result<(Span, Span)> {
    let mut running = Running::start(command, LIMIT)?;
    let init = running.wait_for(Guest::BOOTED)?.at;
    Ok((init, running.finish(0)?.at))
}
