//! Tests with whole guests, in two ways.
//!
//! [`Program`] starts the `chronovisor` program and holds what it printed and how it ended; [`Guest`] is one that runs a guest.
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
mod program;
mod rng;
pub mod runs;
pub mod state_file;

pub use assemble::Scratch;
pub use bare_guest::BareGuest;
pub use program::{Outcome, Program, Running, program, scratch_file};
pub use rng::Rng;

use std::path::{Path, PathBuf};

/// One run of `chronovisor run`, being put together.
#[derive(Debug)]
pub struct Guest {
    program: Program,
    kernel_options: Option<String>,
}

impl Guest {
    /// A run with no option yet.
    pub fn new() -> Guest {
        Guest { program: Program::new(&["run"]), kernel_options: None }
    }

    /// Debian's kernel with the initramfs of `cargo xtask guest`, 512 MB, stopping at a panic.
    pub fn linux() -> Guest {
        let directory = guest_directory();
        let (kernel, initrd) = (directory.join("vmlinuz"), directory.join("initrd"));
        assert!(kernel.exists() && initrd.exists(), "no guest in {}: run `cargo xtask guest`", directory.display());
        let machine = ["--memory", "512M", "--no-reboot", "--clock", "virtual", "--digest"];
        let mut guest = Guest::kernel(&kernel).options(&["--initrd", plain(&initrd)]).options(&machine);
        guest.kernel_options = Some("console=ttyS0 panic=-1".into());
        guest
    }

    /// A bare-metal guest.
    pub fn kernel(path: &Path) -> Guest {
        Guest::new().options(&["--kernel", plain(path)])
    }

    /// Adds options of `chronovisor run`.
    pub fn options(self, options: &[&str]) -> Guest {
        Guest { program: self.program.arguments(options), ..self }
    }

    /// Adds an option to the kernel's command line.
    pub fn append(mut self, option: &str) -> Guest {
        let options = self.kernel_options.get_or_insert_default();
        options.push(' ');
        options.push_str(option);
        self
    }

    /// Feeds `text` to standard input from a regular file.
    pub fn stdin_file(self, text: &str) -> Guest {
        Guest { program: self.program.stdin_file(text), ..self }
    }

    /// Feeds `text` to standard input through a pipe, all at once.
    pub fn stdin_pipe(self, text: &str) -> Guest {
        Guest { program: self.program.stdin_pipe(text), ..self }
    }

    /// Runs to the end.
    pub fn run(self) -> Outcome {
        let Guest { program, kernel_options } = self;
        match kernel_options {
            Some(options) => program.arguments(&["--append", &options]).run(),
            None => program.run(),
        }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Guest::new()
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn guest_directory() -> PathBuf {
    std::env::var_os("CHRONOVISOR_GUEST").map_or_else(|| program::target().join("guest"), PathBuf::from)
}
