//! `cargo xtask fuzz`: the fuzzers of `fuzz/`, one after the other, each for a given time.
//!
//! They need a nightly compiler and cargo-fuzz; both are installed through their usual clients if they
//! are missing. Each target keeps what it learnt in `fuzz/corpus/`, so that the next run goes on from there.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, root, run, succeeds};

/// Memory a fuzzer may use, in MiB; more is a bug found.
const MEMORY_MIB: u32 = 2048;
/// Seconds that one input may take; more is a bug found.
const INPUT_SECONDS: u32 = 10;
/// Longest input, in bytes.
const MAX_LEN: u32 = 2048;

/// Runs the named target, or all of them, for `seconds` each.
///
/// # Errors
/// If there is no such target, something cannot be installed, or a fuzzer finds a bug.
pub fn run_all(only: Option<&str>, seconds: u32) -> Result<()> {
    let targets = targets()?;
    if let Some(only) = only
        && !targets.iter().any(|target| target == only)
    {
        bail!(crate::Usage(format!("there is no fuzz target '{only}'; there are {}", targets.join(", "))));
    }
    install()?;
    for target in targets.iter().filter(|target| only.is_none_or(|only| only == target.as_str())) {
        fuzz(target, seconds)?;
    }
    Ok(())
}

/// The names of the targets, in alphabetical order.
fn targets() -> Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn install() -> Result<()> {
    if !succeeds(&mut command("rustup", &["run", "nightly", "rustc", "--version"])) {
        run(&mut command("rustup", &["toolchain", "install", "nightly", "--profile", "minimal"]))?;
    }
    if !succeeds(&mut cargo(&["fuzz", "--version"])) {
        run(&mut cargo(&["install", "cargo-fuzz", "--locked"]))?;
    }
    Ok(())
}

fn fuzz(target: &str, seconds: u32) -> Result<()> {
    // The toolchain that runs this program is named in variables that would win over `nightly`.
    let mut fuzzer = command("rustup", &["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir", "fuzz"]);
    // Inputs are decisions, not texts with magic words: watching every comparison costs more than it finds.
    fuzzer.args(["--no-trace-compares", target]);
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        fuzzer.env_remove(variable);
    }
    let corpus = format!("fuzz/corpus/{target}");
    fs::create_dir_all(root().join(&corpus)).with_context(|| format!("making {corpus}"))?;
    fuzzer.arg(corpus);
    for committed in ["seeds", "regressions"] {
        let directory = format!("fuzz/{committed}/{target}");
        if root().join(&directory).is_dir() {
            fuzzer.arg(directory);
        }
    }
    fuzzer.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-max_len={MAX_LEN}"),
    ]);
    run(&mut fuzzer)
}
