//! Taking over from a snapshot: from starting the program to the guest's first new instruction.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::figure::{Figure, Floor, Reading, Unit};
use crate::process::Running;
use crate::vm::number;

const LIMIT: Duration = Duration::from_secs(120);
/// `--max-insns` reached.
const STATUS_MAX_INSNS: i32 = 8;

/// Measures it with a snapshot of a guest that runs.
///
/// # Errors
/// If a run fails.
pub fn measure(bench: &Bench<'_>, snapshot: &Path) -> Result<Figure> {
    let first_new = number(&bench.files.info(snapshot)?, "/end/insns")? as u64 + 1;
    let runs = bench.in_turns(&["a branch from a snapshot"], |_| {
        let mut command = bench.files.command("replay");
        command.arg(snapshot).args(["--go-live", "--clock", "virtual", "--max-insns", &first_new.to_string()]);
        Ok(Running::start(&mut command, LIMIT)?.finish(STATUS_MAX_INSNS)?.at)
    })?;
    let ms = Reading::seconds(&runs[0]).times(1e3);
    Ok(Figure::new("branch from a snapshot to the first new instruction, 512 MB", Unit::Milliseconds, ms)
        .floor(Floor::AtMost(100.0))
        .how(
            "`replay SNAPSHOT --go-live --max-insns N+1`, from starting the program to its end, one instruction later",
        ))
}
