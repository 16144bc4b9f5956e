//! What is in the initramfs: busybox with a name for each of its commands, `chronoctl`, the console,
//! and [`init`](INIT).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::process::{command, output};

/// The guest's first process.
const INIT: &str = include_str!("init.sh");

/// Makes the archive.
///
/// # Errors
/// If a program cannot be read, or busybox does not run here.
pub fn build(busybox: &Path, chronoctl: &Path) -> Result<Vec<u8>> {
    let read = |program: &Path| fs::read(program).with_context(|| format!("reading {}", program.display()));
    let names = output(&mut command(&busybox.to_string_lossy(), &["--list"]))?;

    let mut archive = Archive::default();
    for path in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        archive.directory(path);
    }
    archive.character_device("dev/console", 5, 1);
    archive.executable("bin/chronoctl", &read(chronoctl)?);
    archive.executable("bin/busybox", &read(busybox)?);
    for name in String::from_utf8_lossy(&names).lines().filter(|name| *name != "busybox") {
        archive.symlink(&format!("bin/{name}"), "busybox");
    }
    archive.executable("init", INIT.as_bytes());
    Ok(archive.finish())
}
