//! Taking over from a snapshot: from starting the program to the guest's first new instruction.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::Running;
use crate::vm::{Guest, number};

const LIMIT: Duration = Duration::from_secs(600);
/// `--max-insns` reached.
const STATUS_MAX_INSNS: i32 = 8;
/// Stopped by the user.
const STATUS_QUIT: i32 = 10;

/// Measures it with a snapshot of a guest that works.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>) -> Result<Figure> {
    let files = &bench.files;
    (bench.note)("a snapshot");
    let (tree, socket) = (files.fresh("tree")?, files.fresh("control")?);
    let mut command = files.run_virtual(&Guest::suite(files, "churn", 100), None, None);
    command.arg("--tree").arg(&tree).arg("--control").arg(&socket);
    let mut running = Running::start(&mut command, LIMIT)?;
    running.wait_for("START ")?;
    let snapshot = files.ctl(&socket, &["snapshot", "ready"])?;
    files.ctl(&socket, &["quit"])?;
    running.finish(STATUS_QUIT)?;

    let first_new = number(&snapshot, "/insns")? as u64 + 1;
    let runs = bench.in_turns(&["a branch from a snapshot"], |_| {
        let mut command = files.command("run");
        command.args(["--from", &format!("{}:ready", tree.display()), "--clock", "virtual"]);
        command.args(["--max-insns", &first_new.to_string()]);
        Ok(Running::start(&mut command, LIMIT)?.finish(STATUS_MAX_INSNS)?.at)
    })?;
    let ms = Reading::seconds(&runs[0]).times(1e3);
    Ok(Figure::new("branch from a snapshot to the first new instruction, 512 MB", Unit::Milliseconds, ms)
        .floor(Floor::AtMost(100.0))
        .how("`run --from DIR:NODE --max-insns N+1`, from starting the program to its end, one instruction later"))
}
