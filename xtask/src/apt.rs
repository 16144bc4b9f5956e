//! Debian packages: installed when they are missing, or downloaded without being installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, output, run, succeeds};

/// Something must be done as root before the chore can go on.
#[derive(Debug)]
pub struct NeedsRoot {
    /// The one line to run.
    line: String,
}

impl std::fmt::Display for NeedsRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "some Debian packages are needed first; run this line, then the same chore again:\n  {}", self.line)
    }
}

impl std::error::Error for NeedsRoot {}

/// Installs those of `packages` that are missing.
///
/// # Errors
/// [`NeedsRoot`] if something is missing and this is not root; otherwise what apt-get said.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    require_apt(&missing)?;
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        bail!(NeedsRoot { line: format!("sudo sh -c 'apt-get update && {install}'") });
    }
    refresh();
    let words: Vec<&str> = install.split(' ').skip(1).collect();
    run(command("apt-get", &words).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Downloads a package's newest version into `directory` without installing it.
///
/// # Errors
/// [`NeedsRoot`] if the download fails and this is not root; otherwise what apt-get said.
pub fn download(package: &str, directory: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let before = archives_of(package, directory)?;
    for stale in before {
        std::fs::remove_file(&stale).with_context(|| format!("removing {}", stale.display()))?;
    }
    // `apt-get download` warns, and goes on, when its own user cannot write here.
    let result = output(command("apt-get", &["download", package]).current_dir(directory));
    if result.is_err() && !is_root() {
        // Most often the lists are older than the archive.
        bail!(NeedsRoot { line: "sudo apt-get update".into() });
    }
    result.with_context(|| format!("downloading the Debian package {package}"))?;
    let mut found = archives_of(package, directory)?;
    found.pop().with_context(|| format!("apt-get download left no archive of {package} in {}", directory.display()))
}

/// Makes sure that apt knows `packages`, fetching its lists if this is root.
///
/// # Errors
/// [`NeedsRoot`] if it does not and this is not root.
pub fn know(packages: &[&str], refetch: bool) -> Result<()> {
    require_apt(packages)?;
    let known = || packages.iter().all(|package| has_candidate(package));
    if !is_root() {
        if known() {
            return Ok(());
        }
        bail!(NeedsRoot { line: "sudo apt-get update".into() });
    }
    if refetch || !known() {
        refresh();
    }
    if !known() {
        bail!("apt knows no package {}; this chore wants Debian's own package sources", packages.join(" or "));
    }
    Ok(())
}

/// The package that the metapackage `package` depends on and whose name starts with `prefix`.
pub fn dependency(package: &str, prefix: &str) -> Result<String> {
    let text = output(&mut command("apt-cache", &["depends", "--important", package]))?;
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("{package} depends on no package {prefix}*"))
}

/// `packages` and everything that they depend on, names alone.
pub fn with_dependencies(packages: &[&str]) -> Result<Vec<String>> {
    let text = output(command("apt-cache", &["depends", "--recurse", "--important"]).args(packages))?;
    // Names stand at the margin; those of virtual packages are in angle brackets.
    let names = String::from_utf8_lossy(&text);
    Ok(names.lines().filter(|line| !line.starts_with([' ', '<', '|'])).map(str::to_owned).collect())
}

fn archives_of(package: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    let start = format!("{package}_");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&start) && name.ends_with(".deb") {
            found.push(path);
        }
    }
    Ok(found)
}

fn require_apt(packages: &[&str]) -> Result<()> {
    if succeeds(&mut command("apt-get", &["--version"])) {
        return Ok(());
    }
    bail!("this needs {} from Debian, and there is no apt-get here; run it on Debian 12 or newer", packages.join(", "))
}

/// Fetches apt's lists. A mirror that is being updated fails for one list or another: what
/// matters is whether the packages can be had with the lists there are, which the caller finds out.
fn refresh() {
    if let Err(error) = run(&mut command("apt-get", &["update", "-qq"])) {
        eprintln!("xtask: {error:#}; going on with the package lists at hand");
    }
}

fn has_candidate(package: &str) -> bool {
    let policy = output(&mut command("apt-cache", &["policy", package])).unwrap_or_default();
    String::from_utf8_lossy(&policy)
        .lines()
        .any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)"))
}

fn is_installed(package: &str) -> bool {
    let query = output(&mut command("dpkg-query", &["-W", "-f", "${db:Status-Status}", package]));
    query.is_ok_and(|status| status == b"installed")
}

fn is_root() -> bool {
    output(&mut command("id", &["-u"])).is_ok_and(|id| id.trim_ascii() == b"0")
}
