//! `chronovisor run`: boots a kernel with its serial port on this terminal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use session::{Boot, BootFile, ClockMode, CpuModel, EngineKind, FromConfig, MachineConfig, SessionConfig};

use crate::failure::{self, Failure};
use crate::options::{self, LiveOptions};
use crate::values;

/// When the guest's real-time clock starts unless `--rtc-start` says otherwise: 2026-01-01 00:00:00 UTC.
const DEFAULT_RTC_START: u64 = 1_767_225_600;

const AFTER_HELP: &str = "\
Keys of the console (when standard input is a terminal):
  Ctrl-A X       quit
  Ctrl-A P       press the guest's power button
  Ctrl-A Ctrl-A  send Ctrl-A to the guest
  Ctrl-A H       list these keys

Where things go: the guest's serial port to standard output, its debug console (port E9h) and what
chronovisor has to say to standard error. --digest adds the last line of standard output; --json
makes the last line of standard error one JSON object: reason, status, insns, virtual_ns, digest,
host_seconds.

Standard input: a terminal is put into raw mode; from a pipe bytes are taken as they come; a regular
file is fed at fixed points of the guest's own progress, so that the run can be repeated exactly.
Bytes from a pipe or a file wait until the guest's serial port requests them (its RTS line).

--record writes every input down with its place; `chronovisor replay` runs the same again. If the
disk is full, the machine pauses, says so, and goes on when there is room. With --control, another
program says when to record: `chronovisor ctl SOCKET record start FILE`.

With --tree DIR, this VM has a tree: --record NAME records into it, and snapshots and recordings that are
asked for later (`chronovisor ctl`, in the guest chronoctl) become nodes of it, which share their pages. What
looks like a path (has a slash or ends in .cvr) is a file of its own as without a tree. `chronovisor tree
DIR` draws it, --from DIR:NODE goes on from a snapshot of it, `replay DIR:NODE` replays a recording.

Exit status:
  0    the guest powered off
  2    a kernel, an initrd or an option cannot be used
  4    the host failed: the console cannot be written, memory ran out
  6    triple fault
  8    --max-insns reached
  10   stopped by the user: Ctrl-A X, SIGINT, SIGTERM or SIGHUP
  12   halted for ever: every CPU is halted, no timer is set, no input will come
  14   the guest reset the machine, with --no-reboot
  odd  debug exit: the guest wrote VALUE to port F4h with --debug-exit; (VALUE << 1) | 1, as in QEMU

Examples:
  chronovisor run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0
  chronovisor run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0 --cpus 4 --digest </dev/null
  chronovisor run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0 --record boot.cvr
  chronovisor run --kernel test.elf --debug-exit --max-insns 100M --json
  chronovisor run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0 --tree vm --record boot --control sock
  chronovisor run --from vm:ready --record try";

/// Boot a kernel, with its serial port on this terminal
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The kernel: a Linux bzImage, an ELF vmlinux or PVH kernel, or a multiboot 1 kernel
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    kernel: Option<PathBuf>,

    /// Instead of booting, go on from this snapshot of a tree; the machine is the one that was saved
    #[arg(
        long,
        value_name = "DIR:NODE",
        conflicts_with_all = ["kernel", "initrd", "append", "memory", "cpus", "cpu", "rtc_start", "chaos", "debug_exit"]
    )]
    from: Option<PathBuf>,

    /// An initial RAM disk; for a multiboot kernel, a module
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,

    /// The kernel's command line, such as "console=ttyS0"
    #[arg(long, value_name = "STRING", default_value = "", allow_hyphen_values = true)]
    append: String,

    /// The guest's memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = values::size_bytes)]
    memory: u64,

    /// Virtual CPUs, 1 to 8
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=8))]
    cpus: u8,

    /// What the guest's CPUs can do
    #[arg(long, value_name = "MODEL", default_value = "x86-64-v2")]
    cpu: Cpu,

    /// When the guest's real-time clock starts: seconds since 1970 or a date in UTC
    /// [default: 2026-01-01, or the host's time with --clock real]
    #[arg(long, value_name = "TIME", value_parser = values::unix_seconds)]
    rtc_start: Option<u64>,

    /// Vary the turns of the virtual CPUs by this seed, to hunt race conditions; the run stays reproducible
    #[arg(long, value_name = "SEED")]
    chaos: Option<u64>,

    /// At the end print "digest <hex> insns <n>": the digest of the complete state (CPU, RAM, devices, clock)
    #[arg(long)]
    digest: bool,

    /// Give the guest QEMU's isa-debug-exit device at port F4h, and its pc-testdev for conformance suites
    #[arg(long)]
    debug_exit: bool,

    /// At the end print one JSON object to standard error instead of a sentence
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    live: LiveOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cpu {
    /// SSE4.2, POPCNT, CMPXCHG16B
    #[value(name = "x86-64-v2")]
    V2,
    /// AVX2, BMI, FMA, F16C, MOVBE, LZCNT as well
    #[value(name = "x86-64-v3")]
    V3,
}

/// Runs the subcommand and returns the status that the process ends with.
pub fn main(arguments: &Arguments) -> ExitCode {
    failure::exit(run(arguments))
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let report = match (&arguments.from, &arguments.kernel) {
        (Some(from), _) => session::run_from(go_on(arguments, from))?,
        (None, Some(kernel)) => session::run(configure(arguments, kernel).map_err(Failure::bad_request)?)?,
        (None, None) => {
            return Err(Failure::bad_request(anyhow!("name a --kernel to boot, or a node to go on --from")));
        }
    };
    options::print_report(&report, arguments.digest, arguments.json).map_err(Failure::host)?;
    Ok(report.ending.status())
}

fn go_on(arguments: &Arguments, from: &Path) -> FromConfig {
    let live = &arguments.live;
    let clock = match live.clock {
        None if session::stdin_is_terminal() => Some(ClockMode::Real),
        clock => clock.map(ClockMode::from),
    };
    let options = live.options(ClockMode::Virtual, arguments.digest || arguments.json);
    FromConfig { from: from.into(), options, clock, engine: live.engine.map(EngineKind::from) }
}

fn configure(arguments: &Arguments, kernel: &Path) -> Result<SessionConfig> {
    let exact = arguments.digest || arguments.live.max_insns.is_some() || !session::stdin_is_terminal();
    let clock = match arguments.live.clock {
        Some(clock) => clock.into(),
        None if exact => ClockMode::Virtual,
        None => ClockMode::Real,
    };
    let rtc_start = match (arguments.rtc_start, clock) {
        (Some(seconds), _) => seconds,
        (None, ClockMode::Virtual) => DEFAULT_RTC_START,
        (None, ClockMode::Real) => session::host_unix_seconds(),
    };
    let initrd = match &arguments.initrd {
        Some(path) => Some(read("the initrd", path, arguments.memory)?),
        None => None,
    };
    Ok(SessionConfig {
        machine: MachineConfig {
            ram_bytes: arguments.memory,
            vcpus: arguments.cpus,
            cpu_model: match arguments.cpu {
                Cpu::V2 => CpuModel::V2,
                Cpu::V3 => CpuModel::V3,
            },
            debug_exit: arguments.debug_exit,
            rtc_start_unix_seconds: rtc_start,
            chaos_seed: arguments.chaos,
        },
        boot: Boot {
            kernel: read("the kernel", kernel, arguments.memory)?,
            initrd,
            command_line: arguments.append.clone(),
        },
        options: arguments.live.options(clock, arguments.digest || arguments.json),
    })
}

/// Reads a file that must fit into the guest's memory.
fn read(what: &str, path: &Path, memory_bytes: u64) -> Result<BootFile> {
    let file =
        BootFile::read(path, memory_bytes).with_context(|| format!("{what} {} cannot be read", path.display()))?;
    let too_large = || anyhow!("{what} {} is larger than the guest's memory; give more with --memory", path.display());
    file.ok_or_else(too_large)
}
