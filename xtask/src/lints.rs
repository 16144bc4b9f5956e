//! Formatting and clippy, with warnings as errors.

use anyhow::Result;

use crate::process::{cargo, run};

/// Runs both.
///
/// # Errors
/// If a file is not formatted, or clippy warns about anything.
pub fn run_all() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}
