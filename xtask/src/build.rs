//! Building the programs that the chores start.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::{cargo, root, run};

/// Builds `chronovisor` with the profile that boots guests, and returns its path.
pub fn chronovisor() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--quiet", "--package", "chronovisor", "--profile", "fast"]))?;
    Ok(target().join("fast/chronovisor"))
}

/// Builds the program that seeks in a recording in one process, and returns its path.
pub fn seeks() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--quiet", "--package", "bench", "--example", "seeks", "--profile", "fast"]))?;
    Ok(target().join("fast/examples/seeks"))
}

/// Builds `chronoctl`, the control program for the inside of guests, as a static program of the
/// profile `tiny`, and returns its path.
pub fn chronoctl() -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    let mut build = cargo(&["build", "--quiet", "--package", "chronoctl", "--profile", "tiny", "--target", TRIPLE]);
    // In place of whatever flags the user has set: what runs in a guest is not tuned for this host.
    build.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    run(&mut build)?;
    Ok(target().join(TRIPLE).join("tiny/chronoctl"))
}

/// The directory in which cargo leaves what it builds.
fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(named)
}
