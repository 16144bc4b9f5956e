//! Tests with whole guests, in two ways.
//!
//! [`Guest`] here starts the `chronovisor` program and holds what it printed and how it ended.
//! [`BareGuest`] and [`debian`] run a machine in the test's own process, in one go, in pieces and through saved
//! state ([`runs`]), and demand the same bits each time; their guests come from `guests/` ([`assemble`]).

pub mod assemble;
mod bare_guest;
pub mod bare_metal;
#[path = "../../xtask/src/guest/cpio.rs"]
#[allow(dead_code, reason = "the tests use fewer kinds of file than the initramfs")]
mod cpio;
pub mod debian;
pub mod lockstep;
mod rng;
pub mod runs;
pub mod state_file;

pub use assemble::Scratch;
pub use bare_guest::BareGuest;
pub use rng::Rng;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// One run of `chronovisor run`, being put together.
#[derive(Debug)]
pub struct Guest {
    command: Command,
    kernel_options: Option<String>,
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

impl Guest {
    /// A run with no option yet.
    pub fn new() -> Guest {
        let mut command = Command::new(program());
        command.arg("run").stdin(Stdio::null());
        Guest { command, kernel_options: None }
    }

    /// Debian's kernel with the initramfs of `cargo xtask guest`, 512 MB, stopping at a panic.
    pub fn linux() -> Guest {
        let directory = guest_directory();
        let (kernel, initrd) = (directory.join("vmlinuz"), directory.join("initrd"));
        assert!(kernel.exists() && initrd.exists(), "no guest in {}: run `cargo xtask guest`", directory.display());
        let mut guest = Guest::new();
        guest.command.arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
        guest.command.args(["--memory", "512M", "--no-reboot", "--clock", "virtual", "--digest"]);
        guest.kernel_options = Some("console=ttyS0 panic=-1".into());
        guest
    }

    /// A bare-metal guest.
    pub fn kernel(path: &Path) -> Guest {
        let mut guest = Guest::new();
        guest.command.arg("--kernel").arg(path);
        guest
    }

    /// Adds options of `chronovisor run`.
    pub fn options(mut self, options: &[&str]) -> Guest {
        self.command.args(options);
        self
    }

    /// Adds an option to the kernel's command line.
    pub fn append(mut self, option: &str) -> Guest {
        let options = self.kernel_options.get_or_insert_default();
        options.push(' ');
        options.push_str(option);
        self
    }

    /// Feeds `text` to standard input from a regular file.
    pub fn stdin_file(mut self, text: &str) -> Guest {
        let path = scratch_file("stdin");
        fs::write(&path, text).expect("the scratch directory can be written");
        self.command.stdin(File::open(&path).expect("the file was just written"));
        self
    }

    /// Feeds `text` to standard input through a pipe, all at once.
    pub fn stdin_pipe(mut self, text: &str) -> Guest {
        let (reader, mut writer) = std::io::pipe().expect("the host has pipes");
        std::io::Write::write_all(&mut writer, text.as_bytes()).expect("a short text fits into a pipe");
        self.command.stdin(reader);
        self
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        if let Some(options) = &self.kernel_options {
            self.command.arg("--append").arg(options);
        }
        let output = self.command.output().expect("chronovisor starts");
        let mut console = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = console.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let digest = console[at..].starts_with("digest ").then(|| console.split_off(at).trim_end().to_owned());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome { status: output.status.code(), console, digest, errors }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Guest::new()
    }
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

fn guest_directory() -> PathBuf {
    std::env::var_os("CHRONOVISOR_GUEST").map_or_else(|| target().join("guest"), PathBuf::from)
}

fn target() -> PathBuf {
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
