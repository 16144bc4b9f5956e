//! The one way in which machines are started: a guest, and the machine that runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// How long questions such as `chronovisor info` may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What the measurements need from outside.
#[derive(Clone, Debug)]
pub struct Files {
    /// The program `chronovisor`.
    pub chronovisor: PathBuf,
    /// The program made of `examples/seeks.rs`.
    pub seeks: PathBuf,
    /// Debian's kernel.
    pub kernel: PathBuf,
    /// The initramfs whose init prints one line and powers off.
    pub initrd: PathBuf,
    /// The initramfs that has the suite in it, whose init starts `run.sh`.
    pub suite_initrd: PathBuf,
    /// The suite's files, to run natively.
    pub suite: PathBuf,
    /// A directory for what is recorded.
    pub scratch: PathBuf,
}

/// Kernel options of every guest. QEMU's CPU models have faults that Linux works around, at each system call, where ours says that it
/// has none: without these work-arounds both do the same work.
const SAME_WORK: &str = "mitigations=off";

/// What runs inside of the machine.
#[derive(Clone, Debug)]
pub struct Guest {
    initrd: PathBuf,
    kernel_options: String,
    cpus: u8,
    memory_mib: u32,
}

impl Guest {
    /// The line that a guest prints that only boots.
    pub const BOOTED: &str = "chronovisor: init is running";

    /// Boots, prints [`Self::BOOTED`] and powers off.
    pub fn boot(files: &Files) -> Guest {
        let kernel_options = format!("console=ttyS0 panic=-1 {SAME_WORK} chronovisor.quiet");
        Guest { initrd: files.initrd.clone(), kernel_options, cpus: 1, memory_mib: 512 }
    }

    /// Runs a part of `run.sh`, so much of it, then powers off.
    pub fn suite(files: &Files, part: &str, scale_percent: u32) -> Guest {
        let kernel_options = format!("console=ttyS0 quiet panic=-1 {SAME_WORK} BENCH={part} SCALE={scale_percent}");
        Guest { initrd: files.suite_initrd.clone(), kernel_options, cpus: 1, memory_mib: 512 }
    }

    /// Its RAM.
    pub fn ram_kib(&self) -> u64 {
        u64::from(self.memory_mib) * 1024
    }

    /// With so many vCPUs, and as many copies of its program.
    #[must_use]
    pub fn cpus(mut self, cpus: u8) -> Guest {
        self.kernel_options += &format!(" COPIES={cpus}");
        self.cpus = cpus;
        self
    }
}

/// A file of QEMU's record and replay.
#[derive(Clone, Copy, Debug)]
pub enum QemuLog<'a> {
    /// Written.
    Record(&'a Path),
    /// Run again.
    Replay(&'a Path),
}

impl Files {
    /// A path for something that is recorded; the file or directory that was there before is removed.
    ///
    /// # Errors
    /// If the directory around it cannot be made, or what was there not removed.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.scratch).with_context(|| format!("making {}", self.scratch.display()))?;
        let path = self.scratch.join(name);
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false if path.exists() => std::fs::remove_file(&path),
            false => Ok(()),
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
        Ok(path)
    }

    /// `chronovisor` with a subcommand.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.chronovisor);
        command.arg(subcommand);
        command
    }

    /// Chronovisor with this guest; `engine` as `--engine` knows it, `None` for what is built in.
    pub fn run(&self, guest: &Guest, engine: Option<&str>) -> Command {
        let mut command = self.command("run");
        command.arg("--kernel").arg(&self.kernel).arg("--initrd").arg(&guest.initrd);
        command.args(["--append", &guest.kernel_options, "--memory", &format!("{}M", guest.memory_mib)]);
        command.args(["--cpus", &guest.cpus.to_string(), "--no-reboot"]);
        if let Some(engine) = engine {
            command.args(["--engine", engine]);
        }
        command
    }

    /// The same, by instructions alone, and recorded if `record` names a file.
    pub fn run_virtual(&self, guest: &Guest, engine: Option<&str>, record: Option<&Path>) -> Command {
        let mut command = self.run(guest, engine);
        command.args(["--clock", "virtual"]);
        if let Some(path) = record {
            command.arg("--record").arg(path);
        }
        command
    }

    /// QEMU with this guest: its own CPU model of the level that ours has, all vCPUs on one thread.
    pub fn qemu(&self, guest: &Guest, log: Option<QemuLog<'_>>) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg,thread=single", "-nographic", "-no-reboot", "-nic", "none", "-cpu", "Nehalem"]);
        command.args(["-m", &guest.memory_mib.to_string(), "-smp", &guest.cpus.to_string()]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&guest.initrd);
        command.args(["-append", &guest.kernel_options]);
        if let Some(log) = log {
            let (mode, path) = match log {
                QemuLog::Record(path) => ("record", path),
                QemuLog::Replay(path) => ("replay", path),
            };
            command.args(["-icount", &format!("shift=0,rr={mode},rrfile={}", path.display())]);
        }
        command
    }

    /// The suite's script on the host itself.
    pub fn native(&self, part: &str, scale_percent: u32) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.suite.join("run.sh"));
        command.env("SUITE", &self.suite).env("BENCH", part).env("SCALE", scale_percent.to_string());
        command
    }

    /// The engines that `chronovisor run` can be told to use, the default first; one `None` if there is no choice.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn engines(&self) -> Result<Vec<Option<String>>> {
        let help = process::answer(self.command("run").arg("--help"), ANSWER_LIMIT)?;
        Ok(engines_in(&help))
    }

    /// What `chronovisor info --json` says of a recording.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn info(&self, recording: &Path) -> Result<Value> {
        let text = process::answer(self.command("info").arg(recording).arg("--json"), ANSWER_LIMIT)?;
        serde_json::from_str(&text).context("what `chronovisor info --json` printed is no JSON")
    }

    /// What `chronovisor ctl --json` answers.
    ///
    /// # Errors
    /// If the session does not do it.
    pub fn ctl(&self, socket: &Path, words: &[&str]) -> Result<Value> {
        let text = process::answer(self.command("ctl").arg(socket).args(words).arg("--json"), ANSWER_LIMIT)?;
        serde_json::from_str(&text).context("what `chronovisor ctl --json` printed is no JSON")
    }
}

/// A command line without the directories of this host.
pub fn shown(command: &Command) -> String {
    let name = |word: &std::ffi::OsStr| {
        let path = Path::new(word);
        let short = if path.is_absolute() { path.file_name().unwrap_or(word) } else { word };
        let text = short.to_string_lossy().into_owned();
        if text.contains(' ') { format!("\"{text}\"") } else { text }
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(name).collect::<Vec<_>>().join(" ")
}

/// A number of [`Files::info`] or [`Files::ctl`].
///
/// # Errors
/// If there is none of this name.
pub fn number(answer: &Value, name: &str) -> Result<f64> {
    answer.pointer(name).and_then(Value::as_f64).with_context(|| format!("chronovisor's answer has no {name}"))
}

/// Checks that QEMU is there.
///
/// # Errors
/// With a sentence that says what to install.
pub fn require_qemu() -> Result<()> {
    match Command::new("qemu-system-x86_64").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(
            "every figure is measured beside QEMU, and there is no qemu-system-x86_64 here: install Debian's \
             qemu-system-x86"
        ),
    }
}

/// The engines that a help text names behind `--engine`.
fn engines_in(help: &str) -> Vec<Option<String>> {
    let Some((_, after)) = help.split_once("--engine ") else { return vec![None] };
    let about = after.split("\n      --").next().unwrap_or(after);
    let mut known = ["jit", "interp"].map(str::to_owned).to_vec();
    known.retain(|name| about.split(|c: char| !c.is_alphanumeric()).any(|word| word == name));
    if known.is_empty() { vec![None] } else { known.into_iter().map(Some).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_found_in_the_help() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(engines_in("  --append STRING\n  --cpus N\n"), [None]);
        let help = "\n      --engine <ENGINE>\n          What executes\n\n          Possible values:\n          - interp: x\n          \
                    - jit:    y\n\n      --record <FILE>\n          interp\n";
        assert_eq!(engines_in(help), [some("jit"), some("interp")]);
        let help = "\n      --engine <ENGINE>\n          Only interp\n\n      --record <FILE>\n          jit\n";
        assert_eq!(engines_in(help), [some("interp")]);
    }

    #[test]
    fn guests_say_what_they_do_on_the_kernels_command_line() {
        let path = |name: &str| PathBuf::from(name);
        let files = Files {
            chronovisor: path("/somewhere/chronovisor"),
            seeks: path("seeks"),
            kernel: path("vmlinuz"),
            initrd: path("initrd"),
            suite_initrd: path("suite-initrd"),
            suite: path("suite"),
            scratch: path("scratch"),
        };
        let guest = Guest::suite(&files, "several", 30).cpus(4);
        let ours = shown(&files.run_virtual(&guest, Some("jit"), Some(Path::new("a.cvr"))));
        assert!(ours.contains("--cpus 4"), "{ours}");
        assert!(ours.starts_with("chronovisor run --kernel vmlinuz"), "{ours}");
        assert!(ours.contains("BENCH=several SCALE=30 COPIES=4\" --memory"), "{ours}");
        assert!(ours.ends_with("--engine jit --clock virtual --record a.cvr"), "{ours}");
        let theirs = shown(&files.qemu(&guest, Some(QemuLog::Record(Path::new("a.rr")))));
        assert!(theirs.contains("-smp 4") && theirs.ends_with("-icount shift=0,rr=record,rrfile=a.rr"), "{theirs}");
    }
}
