//! The loop that runs one machine: a slice of instructions, then a look outside.
//!
//! Everything from outside goes into the machine here and nowhere else, between two slices.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use timeline::RecordError;

use crate::console::Console;
use crate::control::{self, Request};
use crate::ending::Ending;
use crate::error::SessionError;
use crate::escape::{self, Command, Escapes, Key};
use crate::input::Input;
use crate::mailbox::Mailbox;
use crate::real_clock::{Drift, RealClock};
use crate::slice::Slice;
use crate::vm::{Stop, Vm};
use x86::VirtualTime;

/// The longest wait before the session looks outside again, while the machine could run.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// The longest wait while the machine does nothing: a recording is looked after at least as often.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// The same while a state is being saved.
const SHORT_REST: Duration = Duration::from_millis(1);
/// How often a recording that cannot be written is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait while the machine does nothing.
fn longest_rest(vm: &dyn Vm) -> Duration {
    if vm.is_busy() { SHORT_REST } else { LONGEST_REST }
}

/// Whether a recording goes on when there is room on the disk.
pub fn waits_for_room(error: &RecordError) -> bool {
    matches!(error, RecordError::Write(_) | RecordError::NoRoom(_))
}

/// One machine and the outside.
pub struct Runner<'a> {
    /// Where the outside leaves what comes.
    pub mailbox: Arc<Mailbox>,
    /// What goes to the guest's serial port.
    pub input: &'a mut Input,
    /// Where the guest's output goes.
    pub console: &'a mut Console,
    /// The host's clock, if the guest is to follow it.
    pub clock: Option<RealClock>,
    escapes: Escapes,
    slice: Slice,
    paused: bool,
}

impl<'a> Runner<'a> {
    /// A runner; `clock` makes the guest's time follow the host's.
    pub fn new(
        mailbox: Arc<Mailbox>,
        input: &'a mut Input,
        console: &'a mut Console,
        clock: Option<RealClock>,
    ) -> Self {
        Runner { mailbox, input, console, clock, escapes: Escapes::default(), slice: Slice::default(), paused: false }
    }

    /// Runs `vm` until it ends by itself, the user ends it, or its instruction count is `limit`.
    ///
    /// # Errors
    /// If the host fails.
    pub fn run(&mut self, vm: &mut dyn Vm, limit: Option<u64>) -> Result<Ending, SessionError> {
        let mut idle = false;
        loop {
            if let Some(ending) = self.look_outside(vm)? {
                return Ok(ending);
            }
            if let Err(error) = vm.tend()
                && let Some(ending) = self.wait_for_room(vm, error)?
            {
                return Ok(ending);
            }
            if self.paused {
                self.mailbox.wait(Some(longest_rest(vm)), self.input.room() > 0);
                self.restart_clock(vm);
                continue;
            }
            if limit.is_some_and(|limit| vm.insn_count() >= limit) {
                return Ok(Ending::MaxInsns);
            }
            let fed = self.feed(vm, idle)?;
            // A file's bytes go in when the guest idles. If it takes none then, time goes on for it.
            let jump = self.clock.is_none() && (fed == 0 && idle || !self.input.has_more_now());
            idle = false;
            match self.run_slice(vm, limit, jump)? {
                Stop::Until => {}
                Stop::PowerOff => return Ok(Ending::PowerOff),
                Stop::Reset => return Ok(Ending::Reset),
                Stop::TripleFault => return Ok(Ending::TripleFault),
                Stop::DebugExit(status) => return Ok(Ending::DebugExit(status)),
                Stop::Dead => return Ok(Ending::HaltedForEver),
                Stop::Idle { wake } => {
                    idle = true;
                    if self.stays_idle(vm, wake) {
                        return Ok(Ending::HaltedForEver);
                    }
                    self.wait_for(vm, wake);
                    continue;
                }
            }
            self.follow_host_clock(vm);
        }
    }

    /// Whether an idle guest can never be woken: no timer, and no byte that will come or fit.
    fn stays_idle(&self, vm: &dyn Vm, wake: Option<VirtualTime>) -> bool {
        let none_fits = self.input.is_complete() && !self.takes_bytes(vm);
        wake.is_none() && (self.input.is_exhausted() || none_fits)
    }

    /// Whether the guest's serial port should be given a byte, if there is one.
    ///
    /// What a person types goes in whenever there is room. Other input is not lost on a guest
    /// that has not started to listen: it waits for the port's RTS line, as a sender with
    /// hardware flow control does.
    fn takes_bytes(&self, vm: &dyn Vm) -> bool {
        vm.serial_can_receive() && (self.input.has_keys() || vm.serial_requests_to_send())
    }

    fn run_slice(&mut self, vm: &mut dyn Vm, limit: Option<u64>, jump: bool) -> Result<Stop, SessionError> {
        let from = vm.insn_count();
        let until = [Some(from.saturating_add(self.slice.insns())), self.input.next_feed(from), limit];
        let until = until.into_iter().flatten().min().unwrap_or(from);
        let start = Instant::now();
        let stop = vm.run(until, jump);
        self.slice.learn(vm.insn_count() - from, start.elapsed());

        let (serial, debug) = vm.take_output();
        self.console.serial(&serial).map_err(SessionError::host("writing the console to standard output"))?;
        self.console.debug(&debug).map_err(SessionError::host("writing the debug console to standard error"))?;
        for notice in vm.take_notices() {
            self.console.message(&notice);
        }
        Ok(stop)
    }

    /// Takes what came from outside. Returns how the run ends if the user ends it.
    fn look_outside(&mut self, vm: &mut dyn Vm) -> Result<Option<Ending>, SessionError> {
        let arrived = self.mailbox.take(self.input.room());
        if arrived.signal.is_some() {
            return Ok(Some(Ending::Quit));
        }
        for request in arrived.requests {
            if let Some(ending) = self.serve(vm, request) {
                return Ok(Some(ending));
            }
        }
        if let Some(error) = arrived.error {
            return Err(SessionError::host("reading standard input")(error));
        }
        for byte in arrived.bytes {
            let key = if self.input.has_keys() { self.escapes.key(byte) } else { Some(Key::Guest(byte)) };
            match key {
                Some(Key::Guest(byte)) => self.input.push(byte),
                Some(Key::Session(Command::Quit)) => return Ok(Some(Ending::Quit)),
                Some(Key::Session(Command::PowerButton)) => vm.power_button(),
                Some(Key::Session(Command::Help)) => {
                    self.console.notice(escape::HELP).map_err(SessionError::host("writing to the terminal"))?;
                }
                None => {}
            }
        }
        if arrived.ended {
            self.input.end();
        }
        Ok(None)
    }

    /// Does what another program asks for. Returns how the run ends if that ends it.
    fn serve(&mut self, vm: &mut dyn Vm, request: Request) -> Option<Ending> {
        match request.command {
            // Whoever asked waits until the run has really ended, with all that was recorded in its file.
            control::Command::Quit => {
                self.mailbox.put_farewell(request);
                return Some(Ending::Quit);
            }
            control::Command::Pause => self.paused = true,
            control::Command::Resume => self.paused = false,
            _ => {}
        }
        vm.serve(request, if self.paused { "paused" } else { "running" });
        None
    }

    /// The recording cannot be written: the machine stands still until it can.
    fn wait_for_room(&mut self, vm: &mut dyn Vm, error: RecordError) -> Result<Option<Ending>, SessionError> {
        let mut error = error;
        let mut told = false;
        loop {
            if !waits_for_room(&error) {
                return Err(error.into());
            }
            if !std::mem::replace(&mut told, true) {
                self.console.message(&format!("the machine is paused: {error}"));
            }
            self.mailbox.wait(Some(RETRY_INTERVAL), false);
            if let Some(ending) = self.look_outside(vm)? {
                return Ok(Some(ending));
            }
            match vm.retry() {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        self.console.message("the recording can be written again: the machine goes on");
        self.restart_clock(vm);
        Ok(None)
    }

    /// Time in which the machine stood still is no time for the guest.
    fn restart_clock(&mut self, vm: &dyn Vm) {
        if self.clock.is_some() {
            self.clock = Some(RealClock::start(vm.now(), Instant::now()));
        }
    }

    /// Gives the guest what it takes of the bytes that are there; returns how many.
    fn feed(&mut self, vm: &mut dyn Vm, idle: bool) -> Result<usize, SessionError> {
        let mut fed = 0;
        if self.input.may_feed(vm.insn_count(), idle) {
            while self.takes_bytes(vm) {
                match self.input.next_byte().map_err(SessionError::host("reading standard input"))? {
                    Some(byte) => vm.serial_byte(byte),
                    None => break,
                }
                fed += 1;
            }
        }
        Ok(fed)
    }

    /// Every vCPU waits, the next timer is due at `wake`: waits for it or for something from outside.
    fn wait_for(&mut self, vm: &mut dyn Vm, wake: Option<VirtualTime>) {
        if self.takes_bytes(vm) && self.input.has_more_now() {
            return;
        }
        let for_bytes = self.input.room() > 0;
        let Some(clock) = &self.clock else {
            // Virtual time does not wait for a timer, only for the outside.
            if wake.is_none() {
                self.mailbox.wait(Some(longest_rest(vm)), for_bytes);
            }
            return;
        };
        let until_wake = wake.map(|wake| clock.until(wake, Instant::now()));
        let news = self.mailbox.wait(Some(until_wake.unwrap_or(LONGEST_REST).min(longest_rest(vm))), for_bytes);
        let now = Instant::now();
        let target = clock.target(now);
        if let Some(wake) = wake.filter(|wake| *wake <= target) {
            // On a host that was late the guest catches up by itself, from timer to timer: no input is needed.
            vm.jump_to_timer(wake);
        } else if news && target > vm.now() {
            // What ended the wait happens at the host's time, however short the wait was.
            vm.clock_to(target);
        }
    }

    /// Keeps a busy guest's time beside the host's.
    fn follow_host_clock(&mut self, vm: &mut dyn Vm) {
        let Some(clock) = &self.clock else { return };
        match clock.drift(vm.now(), Instant::now()) {
            Drift::None => {}
            Drift::Behind(target) => vm.clock_to(target),
            Drift::Ahead(by) => {
                self.mailbox.wait(Some(by.min(LONGEST_PAUSE)), self.input.room() > 0);
            }
        }
    }
}
