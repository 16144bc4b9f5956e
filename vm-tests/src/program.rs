//! Starts the `chronovisor` program as a user does, and holds what it printed and how it ended.

use std::fs::{self, File};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// One start of the program, being put together.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// With these arguments, and nothing on standard input.
    pub fn new(arguments: &[&str]) -> Program {
        let mut command = Command::new(program());
        command.args(arguments).stdin(Stdio::null());
        Program(command)
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Program {
        self.0.args(arguments);
        self
    }

    /// Feeds `text` to standard input from a regular file.
    #[must_use]
    pub fn stdin_file(mut self, text: &str) -> Program {
        let path = scratch_file("stdin");
        fs::write(&path, text).expect("the scratch directory can be written");
        self.0.stdin(File::open(&path).expect("the file was just written"));
        self
    }

    /// Feeds `text` to standard input through a pipe, all at once.
    #[must_use]
    pub fn stdin_pipe(mut self, text: &str) -> Program {
        let (reader, mut writer) = std::io::pipe().expect("the host has pipes");
        std::io::Write::write_all(&mut writer, text.as_bytes()).expect("a short text fits into a pipe");
        self.0.stdin(reader);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        let output = self.0.output().expect("chronovisor starts");
        let mut console = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = console.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let digest = console[at..].starts_with("digest ").then(|| console.split_off(at).trim_end().to_owned());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome { status: output.status.code(), console, digest, errors }
    }

    /// Starts it, its standard error in a pipe.
    pub fn spawn(mut self) -> Running {
        Running::start(self.0.stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    /// Starts it, nobody reading what it prints.
    pub fn spawn_unheard(mut self) -> Running {
        Running::start(self.0.stdout(Stdio::null()).stderr(Stdio::null()))
    }
}

/// A process under way, which does not outlive the test: one that is still running when this is dropped, as when the test fails,
/// is killed.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Self {
        Running(command.spawn().expect("the program starts"))
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status; `None` if a signal ended the program.
    pub status: Option<i32>,
    /// Standard output without the digest line.
    pub console: String,
    /// The digest line, with `--digest`.
    pub digest: Option<String>,
    /// Standard error.
    pub errors: String,
}

impl Outcome {
    /// Fails the test, showing the end of the console, unless the status is `status`.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Outcome {
        assert_eq!(self.status, Some(status), "{}\nend of the console:\n{}", self.errors, self.console_end());
        self
    }

    /// Fails the test unless the console holds `text`.
    #[track_caller]
    pub fn expect_console(self, text: &str) -> Outcome {
        assert!(self.console.contains(text), "no '{text}' on the console; its end:\n{}", self.console_end());
        self
    }

    /// The number of instructions of the digest line.
    #[track_caller]
    pub fn insns(&self) -> u64 {
        let digest = self.digest.as_deref().expect("the run was made with --digest");
        digest.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("the digest line ends with a number")
    }

    fn console_end(&self) -> &str {
        let mut at = self.console.len().saturating_sub(3000);
        while !self.console.is_char_boundary(at) {
            at += 1;
        }
        &self.console[at..]
    }
}

/// The program under test: what `CHRONOVISOR` names, else the one built with the profile `fast`.
pub fn program() -> PathBuf {
    let path = std::env::var_os("CHRONOVISOR").map_or_else(|| target().join("fast/chronovisor"), PathBuf::from);
    assert!(path.exists(), "no {}: run `cargo build -p chronovisor --profile fast`", path.display());
    path
}

pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").join("target")
}

/// A new file name in the directory that cargo gives to tests.
pub fn scratch_file(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let directory = target().join("vm-tests");
    fs::create_dir_all(&directory).expect("the target directory can be written");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("{}-{number}-{name}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_the_test_that_fails() {
        let mut sleeping = Command::new("sleep");
        let running = Running::start(sleeping.arg("1000"));
        let process = PathBuf::from(format!("/proc/{}", running.id()));
        assert!(process.exists());
        let failed = std::panic::catch_unwind(move || {
            let _running = running;
            panic!("as a test does");
        });
        assert!(failed.is_err() && !process.exists());
    }
}
