//! Building the programs that the chores start.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::{cargo, root, run};

/// Builds `chronovisor` with the profile that boots guests, and returns its path.
pub fn chronovisor() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--quiet", "--package", "chronovisor", "--profile", "fast"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(root().join(target).join("fast/chronovisor"))
}
