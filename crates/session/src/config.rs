//! What a run is asked to do, and what it reports.

use std::time::Duration;

use machine::MachineConfig;

use crate::ending::Ending;

/// How the guest's time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// By instructions alone; an idle machine jumps to its next timer.
    Virtual,
    /// Beside the host's clock; an idle machine waits.
    Real,
}

/// A file that the machine boots from, in memory.
#[derive(Clone, Debug)]
pub struct BootFile {
    /// Its name, for errors and for kernels that are told it.
    pub name: String,
    /// All of it.
    pub content: Vec<u8>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The machine.
    pub machine: MachineConfig,
    /// The kernel.
    pub kernel: BootFile,
    /// The initial RAM disk.
    pub initrd: Option<BootFile>,
    /// The kernel's command line.
    pub command_line: String,
    /// How the guest's time passes.
    pub clock: ClockMode,
    /// Stop exactly before this instruction, counted from 0 over all starts.
    pub max_insns: Option<u64>,
    /// Whether a reset starts the guest again instead of ending the run.
    pub reboot: bool,
    /// Whether the report shall have the digest.
    pub digest: bool,
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
