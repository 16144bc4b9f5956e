//! A machine that runs with the outside attached, from power-on or from an instant of a recording, to its end.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use machine::{Machine, MachineConfig};
use timeline::{Position, RecordError};

use crate::config::{ClockMode, Options, Report};
use crate::console::Console;
use crate::control::Server;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::guest::Guest;
use crate::input::{Input, Source};
use crate::mailbox::Mailbox;
use crate::outside;
use crate::real_clock::RealClock;
use crate::recording::end_reason;
use crate::runner::{Runner, waits_for_room};
use crate::terminal::{self, RawMode};
use crate::vm::Vm;

/// How often the end of a recording is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What a machine is attached to.
pub struct Outside {
    /// Where signals and commands arrive.
    pub mailbox: Arc<Mailbox>,
    /// Where the guest's output goes.
    pub console: Console,
    /// When all began, on the host.
    pub start: Instant,
}

/// When a machine is started again, after all that ran before.
#[derive(Clone, Copy, Debug)]
pub struct Restart(Position);

impl Restart {
    /// Where its real-time clock starts: the battery keeps it going over a reset.
    pub fn seconds(&self, first: &MachineConfig) -> u64 {
        first.rtc_start_unix_seconds.saturating_add(self.0.time.as_ns() / 1_000_000_000)
    }
}

/// Makes the machine after a reset; `None` if what it booted from is not at hand.
pub type Reboot<'a> = dyn FnMut(Restart) -> Result<Option<Machine>, SessionError> + 'a;

/// Runs `guest` to its end.
///
/// # Errors
/// If the host fails.
pub fn run(
    mut guest: Guest,
    mut outside: Outside,
    options: &Options,
    reboot: &mut Reboot<'_>,
) -> Result<Report, SessionError> {
    let mailbox = Arc::clone(&outside.mailbox);
    let server = match &options.control {
        Some(path) => {
            let failed = |source| SessionError::Socket { path: path.clone(), source };
            Some(Server::start(path, Arc::clone(&mailbox)).map_err(failed)?)
        }
        None => None,
    };
    if let Some(record) = &options.record {
        guest.record_from_start(record)?;
    }
    let ending = attached(&mut guest, &mut outside, options, reboot)?;
    let (reason, status) = end_reason(ending);
    until_written(&mut outside, ending, &mut || guest.end_recording(reason, status))?;
    guest.finish_saving();
    for notice in guest.take_notices() {
        outside.console.message(&notice);
    }
    let at = guest.position();
    let digest = options.digest.then(|| guest.machine.digest().to_string());
    // The machine is taken apart while the recording is written.
    if let Some(mut recording) = guest.into_recording() {
        until_written(&mut outside, ending, &mut || recording.recorder.retry())?;
    }
    drop(server);
    mailbox.say_farewell();
    Ok(Report {
        ending,
        insns: at.insns,
        virtual_ns: at.time.as_ns(),
        digest,
        console_in_line: outside.console.is_in_line(),
        host_time: outside.start.elapsed(),
    })
}

/// Runs with standard input attached, and the terminal in raw mode if it is one.
fn attached(
    guest: &mut Guest,
    outside: &mut Outside,
    options: &Options,
    reboot: &mut Reboot<'_>,
) -> Result<Ending, SessionError> {
    let source = source_of_stdin().map_err(SessionError::host("looking at standard input"))?;
    let _raw_mode = match source {
        Source::Terminal => Some(RawMode::enter().map_err(SessionError::host("putting the terminal into raw mode"))?),
        _ => None,
    };
    outside.console.set_raw(matches!(source, Source::Terminal));
    if !matches!(source, Source::File(_)) {
        outside::read_stdin(Arc::clone(&outside.mailbox)).map_err(SessionError::host("reading standard input"))?;
    }
    let mut input = Input::new(source);
    let ending = loop {
        let clock = (options.clock == ClockMode::Real).then(|| RealClock::start(guest.now(), Instant::now()));
        let limit = options.max_insns.map(|max| max.saturating_sub(guest.base.insns));
        let mut runner = Runner::new(Arc::clone(&outside.mailbox), &mut input, &mut outside.console, clock);
        match runner.run(guest, limit)? {
            Ending::Reset if options.reboot => match reboot(Restart(guest.position()))? {
                Some(machine) => guest.restart(machine)?,
                None => {
                    let changed =
                        "the files that the guest booted from are not what they were: it is not started again";
                    outside.console.message(changed);
                    break Ending::Reset;
                }
            },
            ending => break ending,
        }
    };
    outside.console.set_raw(false);
    Ok(ending)
}

/// Does what is left to do about the recording; waits for room on the disk unless the user will not.
fn until_written(
    outside: &mut Outside,
    ending: Ending,
    work: &mut dyn FnMut() -> Result<(), RecordError>,
) -> Result<(), SessionError> {
    let mut told = false;
    loop {
        let Err(error) = work() else { return Ok(()) };
        if !waits_for_room(&error) || ending == Ending::Quit {
            return Err(error.into());
        }
        if !std::mem::replace(&mut told, true) {
            outside.console.message(&format!("the machine has ended, its recording not: {error}"));
        }
        outside.mailbox.wait(Some(RETRY_INTERVAL), false);
        if outside.mailbox.take(0).signal.is_some() {
            return Err(error.into());
        }
    }
}

fn source_of_stdin() -> io::Result<Source> {
    if terminal::stdin_is_terminal() {
        return Ok(Source::Terminal);
    }
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    Ok(if file.metadata()?.is_file() { Source::File(file) } else { Source::Stream })
}
