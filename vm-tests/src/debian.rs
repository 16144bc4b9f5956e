//! Debian's kernel in the test's own process, with a script that its init runs and a 32-bit program.

use std::fs;
use std::path::PathBuf;

use machine::{BootSource, EngineKind, Machine, MachineConfig};
use x86::CpuModel;

use crate::{assemble, cpio, guest_directory};

/// A boot that does not end after this many steps hangs.
pub const MAX_INSNS: u64 = 20_000_000_000;

/// A machine to boot Debian's kernel on.
#[derive(Clone, Debug)]
pub struct Debian {
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    command_line: String,
    config: MachineConfig,
}

impl Debian {
    /// With one vCPU of the smaller model and 128 MiB, running `guests/commands.sh`.
    /// `None`, said loudly, if there is no assembler for the 32-bit program.
    ///
    /// # Panics
    /// If `cargo xtask guest` did not run before.
    pub fn new() -> Option<Self> {
        if !assemble::available("Debian's kernel") {
            return None;
        }
        let program = assemble::program("linux32", 32).unwrap_or_else(|error| panic!("{error:#}"));
        let script = fs::read(assemble::sources().join("commands.sh")).expect("the script is in the repository");
        Some(Debian::with_files(&[("run.sh", &script), ("program32", &program)]))
    }

    /// With one vCPU of the smaller model and 128 MiB, running `script` in a shell, then powering off.
    ///
    /// # Panics
    /// If `cargo xtask guest` did not run before.
    pub fn with_script(script: &str) -> Self {
        Debian::with_files(&[("run.sh", script.as_bytes())])
    }

    fn with_files(files: &[(&str, &[u8])]) -> Self {
        let file = |name: &str| {
            let path = guest_directory().join(name);
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask guest`", path.display()))
        };
        // A second archive behind the first: the kernel unpacks both, and init runs /run.sh.
        let mut added = cpio::Archive::default();
        for (path, content) in files {
            added.executable(path, content);
        }
        let mut initrd = file("initrd");
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(added.finish());
        let config = MachineConfig {
            rtc_start_unix_seconds: 1_767_225_600, // 2026-01-01
            ..MachineConfig::new(128 << 20)
        };
        let command_line = "console=ttyS0 panic=-1 quiet".into();
        Debian { kernel: file("vmlinuz"), initrd, command_line, config }
    }

    /// With another number of vCPUs.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.config.vcpus = vcpus;
        self
    }

    /// With the larger CPU model.
    #[must_use]
    pub fn v3(mut self) -> Self {
        self.config.cpu_model = CpuModel::V3;
        self
    }

    /// With turns of the vCPUs that vary by a seed.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Self {
        self.config.chaos_seed = Some(seed);
        self
    }

    /// With another option on the kernel's command line.
    #[must_use]
    pub fn append(mut self, option: &str) -> Self {
        self.command_line.push(' ');
        self.command_line.push_str(option);
        self
    }

    /// The initial RAM disk, for a run of the program.
    pub fn initrd(&self) -> &[u8] {
        &self.initrd
    }

    /// The machine without a kernel, for a saved state.
    pub fn empty_machine(&self) -> Machine {
        Machine::new(self.config).expect("the configuration is a possible one")
    }

    /// The machine at power-on with the kernel loaded.
    pub fn machine(&self) -> Machine {
        self.executed_by(EngineKind::Interpreter)
    }

    /// The machine at power-on with the kernel loaded, executed by `engine`.
    pub fn executed_by(&self, engine: EngineKind) -> Machine {
        let machine = Machine::executed_by(self.config, engine);
        let mut machine = machine.unwrap_or_else(|error| panic!("the configuration is a possible one: {error}"));
        let source = BootSource {
            kernel: &self.kernel,
            kernel_name: "vmlinuz",
            initrd: Some(&self.initrd),
            initrd_name: "initrd",
            command_line: &self.command_line,
        };
        machine.load(&source).expect("Debian's kernel and initrd can be loaded");
        machine
    }
}

/// The kernel's file, for a run of the program.
pub fn kernel_file() -> PathBuf {
    guest_directory().join("vmlinuz")
}

/// Demands that the console shows what the commands print.
///
/// # Panics
/// If a line is missing.
pub fn expect_commands(console: &str, vcpus: u8) {
    let lines = [
        &format!("cpus: {vcpus}"),
        "machine: x86_64",
        "year: 2026",
        "jobs: 1 2 3 4",
        "slept",
        "32-bit: DAA",
        "32-bit: GS",
        "32-bit: x87",
        "32-bit: signal",
        "32-bit: child",
        "program32 ended with 42",
        "killed: 139",
        "run.sh ended with status 0",
    ];
    let start = console.len().saturating_sub(3000);
    for line in lines.iter() {
        assert!(console.contains(line), "no '{line}' on the console; its end:\n{}", &console[start..]);
    }
}
