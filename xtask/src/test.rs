//! `cargo xtask test`: every lint and every test, with what they need installed first.
//!
//! The variable `CHRONOVISOR_LONG` makes some tests do more, with `--long`.
//!
//! Tests that boot guests run the `chronovisor` program named by the environment variable
//! `CHRONOVISOR`, with the files in the directory that `CHRONOVISOR_GUEST` names.

use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, run, succeeds};
use crate::{apt, build, guest, lints};

/// The packages that tests call: the assembler and linker for the bare-metal guests.
const PACKAGES: &[&str] = &["binutils"];

/// Runs the lints and the tests; `long` includes those marked `#[ignore]`, which take hours.
///
/// # Errors
/// If a lint or a test fails, or something must be installed first.
pub fn run_all(long: bool) -> Result<()> {
    apt::install(PACKAGES)?;
    let files = guest::build(false)?;
    eprintln!("guest kernel: {}", files.kernel_package.trim());
    lints::run_all()?;
    let program = build::chronovisor()?;
    let with_guest = |mut tests: Command| {
        tests.env("CHRONOVISOR", &program);
        if long {
            tests.env("CHRONOVISOR_LONG", "1");
        }
        tests.env("CHRONOVISOR_GUEST", files.kernel.parent().unwrap_or(&files.kernel));
        run(&mut tests)
    };

    if succeeds(&mut cargo(&["nextest", "--version"])) {
        // nextest leaves out the examples in the documentation; they come first so
        // that its summary, with the number of skipped tests, closes the output.
        with_guest(cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
        let mut tests = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        if long {
            tests.args(["--run-ignored", "all"]);
        }
        with_guest(tests)?;
    } else {
        let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
        if long {
            tests.args(["--", "--include-ignored"]);
        }
        with_guest(tests)?;
    }
    if !long {
        eprintln!("Tests counted as skipped or ignored are the long ones: `cargo xtask test --long` runs them.");
    }
    Ok(())
}
