//! What a run is asked to do, and what it reports.

use std::path::PathBuf;
use std::time::Duration;

use machine::{EngineKind, MachineConfig};
use timeline::BootDescription;

use crate::boot_file::BootFile;
use crate::ending::Ending;

/// How the guest's time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// By instructions alone; an idle machine jumps to its next timer.
    Virtual,
    /// Beside the host's clock; an idle machine waits.
    Real,
}

impl ClockMode {
    /// The mode that recordings call by this name.
    pub fn of_name(name: &str) -> Self {
        if name == "real" { ClockMode::Real } else { ClockMode::Virtual }
    }
}

/// What a machine boots.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The kernel.
    pub kernel: BootFile,
    /// The initial RAM disk.
    pub initrd: Option<BootFile>,
    /// The kernel's command line.
    pub command_line: String,
}

impl Boot {
    /// As recordings say it.
    pub fn description(&self) -> BootDescription {
        BootDescription {
            kernel: self.kernel.name().into(),
            initrd: self.initrd.as_ref().map_or_else(String::new, |file| file.name().into()),
            command_line: self.command_line.clone(),
            kernel_blake3: self.kernel.hash().to_vec(),
            initrd_blake3: self.initrd.as_ref().map_or_else(Vec::new, |file| file.hash().to_vec()),
        }
    }
}

/// How a machine is run, whatever is in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What executes the guest.
    pub engine: EngineKind,
    /// How the guest's time passes.
    pub clock: ClockMode,
    /// Stop exactly before this instruction, counted from 0 over all starts.
    pub max_insns: Option<u64>,
    /// Whether a reset starts the guest again instead of ending the run.
    pub reboot: bool,
    /// Whether the report shall have the digest.
    pub digest: bool,
    /// Record into this file, or with a tree under this name, see [`crate::tree::Place`].
    pub record: Option<PathBuf>,
    /// Keep the VM's tree in this directory.
    pub tree: Option<PathBuf>,
    /// Bytes that the checkpoints of a recording may have together.
    pub budget_bytes: u64,
    /// Listen for commands at this socket.
    pub control: Option<PathBuf>,
    /// Where recordings and snapshots go that the guest asks for; `None`: it gets none.
    pub guest_files: Option<PathBuf>,
}

/// One run from power-on.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The machine.
    pub machine: MachineConfig,
    /// What it boots.
    pub boot: Boot,
    /// How it is run.
    pub options: Options,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it ended.
    pub ending: Ending,
    /// Instructions of all vCPUs, over all starts.
    pub insns: u64,
    /// The guest's time, over all starts, in nanoseconds.
    pub virtual_ns: u64,
    /// The digest of the machine's complete state, in hexadecimal digits.
    pub digest: Option<String>,
    /// Whether the last line on standard output is not ended.
    pub console_in_line: bool,
    /// The host's time.
    pub host_time: Duration,
}
