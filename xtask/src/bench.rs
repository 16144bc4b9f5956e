//! `cargo xtask bench`: the same boot here and in QEMU, in turns, written to docs/benchmarks.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bench::contest::{self, Contestant};
use bench::page::{self, Circumstances};

use crate::guest::GuestFiles;
use crate::process::{command, output, root};
use crate::{apt, build, guest};

/// The line of the guest's init that ends the first time.
const MARKER: &str = "chronovisor: init is running";
const KERNEL_OPTIONS: &str = "console=ttyS0 panic=-1 chronovisor.quiet";

/// Holds the contest, `runs` times each, and writes the page.
///
/// # Errors
/// If a run fails, or something must be installed first.
pub fn run(runs: u32) -> Result<()> {
    apt::install(&["qemu-system-x86"])?;
    let files = guest::build(false)?;
    let program = build::chronovisor()?;
    let mut contestants = [
        Contestant { name: "Chronovisor, interpreter".into(), command: chronovisor(&program, &files) },
        Contestant { name: "QEMU, TCG".into(), command: qemu(&files) },
    ];
    let circumstances = circumstances(&contestants, &files)?;
    let scores = contest::hold(&mut contestants, runs, MARKER, |name, round, times| {
        let (init, end) = (times.to_marker.as_secs_f64(), times.to_end.as_secs_f64());
        println!("run {round} of {runs}, {name}: init after {init:.2} s, end after {end:.2} s");
    })?;
    println!("\n{}", page::table(&scores));
    let path = root().join("docs/benchmarks.md");
    fs::write(&path, page::write(&scores, &circumstances)).with_context(|| format!("writing {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn chronovisor(program: &Path, files: &GuestFiles) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg("--kernel").arg(&files.kernel).arg("--initrd").arg(&files.initrd);
    command.args(["--append", KERNEL_OPTIONS, "--memory", "512M", "--cpus", "1", "--clock", "virtual", "--no-reboot"]);
    command
}

/// QEMU's own processor model of the level that ours has.
fn qemu(files: &GuestFiles) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-nographic", "-no-reboot", "-m", "512", "-smp", "1", "-cpu", "Nehalem"]);
    command.arg("-kernel").arg(&files.kernel).arg("-initrd").arg(&files.initrd).args(["-append", KERNEL_OPTIONS]);
    command
}

fn circumstances(contestants: &[Contestant], files: &GuestFiles) -> Result<Circumstances> {
    let first_line = |program: &str, args: &[&str]| -> Result<String> {
        let text = output(&mut command(program, args))?;
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    };
    let processors = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    Ok(Circumstances {
        date: first_line("date", &["-u", "+%F"])?,
        host: format!("{}, {cores} cores", model.map_or("unknown processor", |(_, name)| name)),
        versions: vec![
            ("Chronovisor".into(), first_line("git", &["describe", "--always", "--dirty"])?),
            ("compiler".into(), first_line("rustc", &["--version"])?),
            ("QEMU".into(), first_line("qemu-system-x86_64", &["--version"])?),
            ("guest kernel".into(), files.kernel_package.trim().to_owned()),
        ],
        commands: contestants.iter().map(|it| (it.name.clone(), shown(&it.command))).collect(),
    })
}

/// A command line without the directories of this host.
fn shown(command: &Command) -> String {
    let name = |word: &std::ffi::OsStr| {
        let path = Path::new(word);
        let short = if path.is_absolute() { path.file_name().unwrap_or(word) } else { word };
        let text = short.to_string_lossy().into_owned();
        if text.contains(' ') { format!("\"{text}\"") } else { text }
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(name).collect::<Vec<_>>().join(" ")
}
