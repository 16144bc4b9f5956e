//! The guest of the benchmarks: the programs of `bench/guest`, compiled, and some of Debian's with their libraries,
//! in one directory that is used natively and, as `/suite` of an initramfs, inside of guests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::{GuestFiles, copy, unpack, write_whole};
use crate::apt;
use crate::process::{command, output, root, run};

/// Debian's programs: where each is in its package (a trailing `*` stands for a version) and its name in the suite.
const PROGRAMS: &[(&str, &str)] =
    &[("usr/bin/xz", "xz"), ("usr/bin/sqlite3", "sqlite3"), ("usr/bin/python3.*", "python3")];
/// The packages that bring them, with all they depend on.
const PACKAGES: &[&str] = &["xz-utils", "sqlite3", "python3-minimal"];
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Directories of libraries, in Debian's packages.
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// The suite, made.
#[derive(Debug)]
pub struct SuiteFiles {
    /// The initramfs of the demo with the suite in it; its init runs `run.sh`.
    pub initrd: PathBuf,
    /// The same files on the host.
    pub directory: PathBuf,
}

/// Makes the suite, downloading what is not there yet.
///
/// # Errors
/// If a program does not compile, or something must be installed or fetched first.
pub fn build(files: &GuestFiles) -> Result<SuiteFiles> {
    apt::install(&["gcc", "libc6-dev"])?;
    let guest = root().join("target/guest");
    let directory = guest.join("suite");
    // Written last, so a suite that was made in part is made again.
    let complete = guest.join("suite-packages");
    if !complete.exists() {
        fetch(&guest.join("suite-unpacked"), &directory, &complete)?;
    }
    compile(&directory)?;
    let mut initrd = fs::read(&files.initrd).with_context(|| format!("reading {}", files.initrd.display()))?;
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(archive(&directory)?);
    let path = guest.join("suite-initrd");
    if fs::read(&path).ok().as_deref() != Some(&initrd) {
        write_whole(&path, &initrd)?;
    }
    Ok(SuiteFiles { initrd: path, directory })
}

/// The suite's own programs and scripts.
fn compile(directory: &Path) -> Result<()> {
    let sources = root().join("bench/guest");
    for script in ["run.sh", "query.sql", "script.py"] {
        copy(&sources.join(script), &directory.join(script))?;
    }
    let mut gcc = command("gcc", &["-O2", "-static", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"]);
    gcc.arg(directory.join("suite")).args(listed(&sources, |name| name.ends_with(".c"))?).arg("-lm");
    run(&mut gcc)
}

/// Debian's programs with the libraries that they load.
fn fetch(unpacked: &Path, directory: &Path, complete: &Path) -> Result<()> {
    apt::know(PACKAGES, true)?;
    let archives = root().join("target/guest/packages");
    for stale in [unpacked, directory] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("removing {}", stale.display()))?;
        }
    }
    let mut label = String::new();
    for package in apt::with_dependencies(PACKAGES)? {
        let wanted = package.starts_with("lib") || package.starts_with("zlib") || package.ends_with("-minimal");
        if wanted || PACKAGES.contains(&package.as_str()) {
            let archive = apt::download(&package, &archives)?;
            unpack(&archive, unpacked)?;
            label += &format!("{}\n", archive.file_name().unwrap_or_default().to_string_lossy());
        }
    }
    for place in ["bin", "lib"] {
        let made = directory.join(place);
        fs::create_dir_all(&made).with_context(|| format!("making {}", made.display()))?;
    }
    for (place, name) in PROGRAMS {
        take_program(unpacked, place, &directory.join("bin").join(name), &directory.join("lib"))?;
    }
    take_python_library(unpacked, directory)?;
    fs::remove_dir_all(unpacked).with_context(|| format!("removing {}", unpacked.display()))?;
    write_whole(complete, label.as_bytes())
}

/// Copies a program and the libraries that the loader names for it.
fn take_program(unpacked: &Path, place: &str, program: &Path, libraries: &Path) -> Result<()> {
    let (parent, name) = place.rsplit_once('/').context("a program is in a directory")?;
    let fits = |found: &str| name.strip_suffix('*').map_or(found == name, |start| found.starts_with(start));
    let found = listed(&unpacked.join(parent), fits)?;
    let [found] = found.as_slice() else { bail!("Debian's packages have {} files {place}, not one", found.len()) };
    copy(found, program)?;
    let places = LIBRARIES.map(|place| unpacked.join(place));
    let loader = places.iter().map(|place| place.join(LOADER)).find(|loader| loader.exists());
    let loader = loader.context("the package libc6 holds no loader")?;
    copy(&loader, &libraries.join(LOADER))?;
    let path = format!("{}:{}", places[0].display(), places[1].display());
    let list = output(command(&loader.to_string_lossy(), &["--library-path", &path, "--list"]).arg(program))?;
    for from in libraries_in(&String::from_utf8_lossy(&list)) {
        if !from.starts_with(unpacked) {
            bail!("{} needs {}, which is in none of the packages", program.display(), from.display());
        }
        // By its own name, below the directory: how the program names the library may be an absolute path.
        copy(from, &libraries.join(from.file_name().context("a library has no name")?))?;
    }
    Ok(())
}

/// The files in what the loader prints with `--list`: `\tlibc.so.6 => /where/it/is/libc.so.6 (0x00007f0000000000)`,
/// but for the loader itself.
fn libraries_in(list: &str) -> Vec<&Path> {
    let mut found = Vec::new();
    for line in list.lines() {
        if let Some((_, rest)) = line.split_once(" => ") {
            let path = Path::new(rest.rsplit_once(" (").map_or(rest, |(path, _)| path).trim());
            if !path.ends_with(LOADER) {
                found.push(path);
            }
        }
    }
    found
}

fn take_python_library(unpacked: &Path, directory: &Path) -> Result<()> {
    let found = listed(&unpacked.join("usr/lib"), |name| name.starts_with("python3."))?;
    let [library] = found.as_slice() else { bail!("Debian's packages have {} Python libraries", found.len()) };
    copy_tree(library, &directory.join("lib").join(library.file_name().unwrap_or_default()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for path in listed(from, |_| true)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_tree(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

/// The files of a directory whose names fit, in order.
fn listed(directory: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let doing = || format!("listing {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        if fits(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The directory as `/suite`, and `/run.sh`, which init starts.
fn archive(directory: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    add(&mut archive, directory, "suite")?;
    archive.symlink("run.sh", "suite/run.sh");
    Ok(archive.finish())
}

fn add(archive: &mut Archive, from: &Path, name: &str) -> Result<()> {
    archive.directory(name);
    for path in listed(from, |_| true)? {
        let inside = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add(archive, &path, &inside)?;
        } else {
            archive.executable(&inside, &fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_are_taken_and_by_where_they_are() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc0)\n\tliblzma.so.5 => /u/lib/liblzma.so.5 (0x00007f1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /u/lib/ld-linux-x86-64.so.2 (0x00007f2)\n";
        assert_eq!(libraries_in(list), [Path::new("/u/lib/liblzma.so.5")]);
    }
}
