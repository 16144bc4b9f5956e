//! The part about the timeline: recording, logs, replay, seeking, branching.

use std::path::Path;

use anyhow::Result;

use crate::page::Section;
use crate::vm::{Guest, QemuLog, shown};
use crate::{Bench, branch, clocks, recording, seek};

/// Measures the part.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>) -> Result<Section> {
    let mut figures = recording::measure(bench)?;
    figures.extend(clocks::measure(bench)?);
    figures.extend(seek::measure(bench)?);
    figures.push(branch::measure(bench)?);
    let engine = bench.files.info(&bench.files.scratch.join(recording::BOOT_FILE))?["configuration"]["engine"].take();
    let intro = format!(
        "Guests with Debian's kernel, one vCPU, 512 MB, with the engine that is the default: {}. QEMU is TCG, and its record and \
         replay `-icount shift=0,rr=...`.",
        engine.as_str().unwrap_or("unknown")
    );
    let guest = Guest::boot(&bench.files);
    let (ours, theirs) = (Path::new("boot.cvr"), Path::new("boot.rr"));
    let commands = vec![
        ("Chronovisor, recording".into(), shown(&bench.files.run_virtual(&guest, None, Some(ours)))),
        ("QEMU, recording".into(), shown(&bench.files.qemu(&guest, Some(QemuLog::Record(theirs))))),
    ];
    Ok(Section { title: "Timeline", intro, figures, tables: Vec::new(), commands })
}
