//! One run from power-on to its end, over the resets in between.

use std::sync::Arc;
use std::time::Instant;

use machine::machine::BootSource;
use machine::{EngineKind, Machine, MachineConfig};
use timeline::Position;

use crate::config::{Boot, Report, SessionConfig};
use crate::console::Console;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::guest::Guest;
use crate::live::{self, Outside};
use crate::mailbox::Mailbox;
use crate::outside;
use crate::recording::Description;
use crate::tree::Tree;

/// Boots the guest and runs it to its end, with its serial port on standard input and output.
///
/// The terminal is in its old mode again when this returns or panics.
///
/// # Errors
/// If the machine cannot be made or booted as asked, or the host fails.
pub fn run(mut config: SessionConfig) -> Result<Report, SessionError> {
    let start = Instant::now();
    // A kernel that cannot be booted is told before the terminal is touched.
    let engine = config.options.engine;
    let machine = boot(&mut config.boot, config.machine, engine)?.ok_or(SessionError::FilesChanged)?;
    let mailbox = Arc::new(Mailbox::default());
    outside::watch_signals(Arc::clone(&mailbox), Ending::Quit.status())
        .map_err(SessionError::host("waiting for signals"))?;
    let description = Description {
        boot: config.boot.description(),
        engine,
        clock: config.options.clock,
        budget_bytes: config.options.budget_bytes,
    };
    let tree = config.options.tree.as_ref().map(|directory| Tree::open(directory, None, None)).transpose()?;
    let guest = Guest::new(machine, Position::default(), description, config.options.guest_files.clone(), tree);
    let outside = Outside { mailbox, console: Console::default(), start };
    live::run(guest, outside, &config.options, &mut |rtc| {
        let machine = MachineConfig { rtc_start_unix_seconds: rtc.seconds(&config.machine), ..config.machine };
        boot(&mut config.boot, machine, engine)
    })
}

/// A machine with its kernel loaded; `None` if the files are not what they were when they were first read.
///
/// # Errors
/// If it cannot be made, or the kernel not be booted on it, or the files cannot be read.
pub fn boot(boot: &mut Boot, config: MachineConfig, engine: EngineKind) -> Result<Option<Machine>, SessionError> {
    let mut machine = Machine::executed_by(config, engine)?;
    let (kernel_name, doing) = (boot.kernel.name().to_owned(), "reading the kernel and the initrd again");
    let initrd_name = boot.initrd.as_ref().map_or_else(String::new, |initrd| initrd.name().into());
    let Some(kernel) = boot.kernel.content().map_err(SessionError::host(doing))? else { return Ok(None) };
    let initrd = match &mut boot.initrd {
        None => None,
        Some(initrd) => match initrd.content().map_err(SessionError::host(doing))? {
            None => return Ok(None),
            content => content,
        },
    };
    machine.load(&BootSource {
        kernel: &kernel,
        kernel_name: &kernel_name,
        initrd: initrd.as_deref(),
        initrd_name: &initrd_name,
        command_line: &boot.command_line,
    })?;
    Ok(Some(machine))
}
