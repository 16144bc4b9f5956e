//! One run from power-on to its end, over the resets in between.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use machine::machine::BootSource;
use machine::{Machine, MachineConfig};

use crate::config::{ClockMode, Report, SessionConfig};
use crate::console::Console;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::input::{Input, Source};
use crate::mailbox::Mailbox;
use crate::outside;
use crate::real_clock::RealClock;
use crate::runner::Runner;
use crate::terminal::{self, RawMode};

/// Boots the guest and runs it to its end, with its serial port on standard input and output.
///
/// The terminal is in its old mode again when this returns or panics.
///
/// # Errors
/// If the machine cannot be made or booted as asked, or the host fails.
pub fn run(config: SessionConfig) -> Result<Report, SessionError> {
    let start = Instant::now();
    // A kernel that cannot be booted is told before the terminal is touched.
    let mut machine = boot(&config, config.machine)?;
    let mailbox = Arc::new(Mailbox::default());
    outside::watch_signals(Arc::clone(&mailbox), Ending::Quit.status())
        .map_err(SessionError::host("waiting for signals"))?;
    let source = source_of_stdin().map_err(SessionError::host("looking at standard input"))?;
    let raw_mode = match source {
        Source::Terminal => Some(RawMode::enter().map_err(SessionError::host("putting the terminal into raw mode"))?),
        _ => None,
    };
    if !matches!(source, Source::File(_)) {
        outside::read_stdin(Arc::clone(&mailbox)).map_err(SessionError::host("reading standard input"))?;
    }
    let mut input = Input::new(source);
    let mut console = Console::default();
    let mut before = Before::default();
    let ending = loop {
        let clock = (config.clock == ClockMode::Real).then(|| RealClock::start(machine.now(), Instant::now()));
        let limit = config.max_insns.map(|max| max.saturating_sub(before.insns));
        let mut runner = Runner::new(Arc::clone(&mailbox), &mut input, &mut console, clock);
        match runner.run(&mut machine, limit)? {
            Ending::Reset if config.reboot => {
                before.add(&machine);
                // The old RAM goes back to the host before the new is asked for.
                drop(machine);
                machine = boot(&config, before.next_start(config.machine))?;
            }
            ending => break ending,
        }
    };
    drop(raw_mode);
    before.add(&machine);
    Ok(Report {
        ending,
        insns: before.insns,
        virtual_ns: before.virtual_ns,
        digest: config.digest.then(|| machine.digest().to_string()),
        console_in_line: console.is_in_line(),
        host_time: start.elapsed(),
    })
}

/// What happened before the last reset.
#[derive(Debug, Default)]
struct Before {
    insns: u64,
    virtual_ns: u64,
}

impl Before {
    fn add(&mut self, machine: &Machine) {
        self.insns += machine.insn_count().0;
        self.virtual_ns += machine.now().as_ns();
    }

    /// The battery keeps the real-time clock going over a reset.
    fn next_start(&self, first: MachineConfig) -> MachineConfig {
        let seconds = first.rtc_start_unix_seconds.saturating_add(self.virtual_ns / 1_000_000_000);
        MachineConfig { rtc_start_unix_seconds: seconds, ..first }
    }
}

fn boot(config: &SessionConfig, machine: MachineConfig) -> Result<Machine, SessionError> {
    let mut machine = Machine::new(machine)?;
    machine.load(&BootSource {
        kernel: &config.kernel.content,
        kernel_name: &config.kernel.name,
        initrd: config.initrd.as_ref().map(|initrd| initrd.content.as_slice()),
        initrd_name: config.initrd.as_ref().map_or("", |initrd| initrd.name.as_str()),
        command_line: &config.command_line,
    })?;
    Ok(machine)
}

fn source_of_stdin() -> io::Result<Source> {
    if terminal::stdin_is_terminal() {
        return Ok(Source::Terminal);
    }
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok(if file.metadata()?.is_file() { Source::File(file) } else { Source::Stream })
}
