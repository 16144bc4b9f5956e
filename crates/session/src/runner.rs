//! The loop that runs one machine: a slice of instructions, then a look outside.
//!
//! Everything from outside goes into the machine here and nowhere else, between two slices.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::ending::Ending;
use crate::error::SessionError;
use crate::escape::{self, Command, Escapes, Key};
use crate::input::Input;
use crate::mailbox::Mailbox;
use crate::real_clock::{Drift, RealClock};
use crate::slice::Slice;
use crate::vm::{Stop, Vm};

/// The longest wait before the session looks outside again, while the machine could run.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

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
}

impl<'a> Runner<'a> {
    /// A runner; `clock` makes the guest's time follow the host's.
    pub fn new(
        mailbox: Arc<Mailbox>,
        input: &'a mut Input,
        console: &'a mut Console,
        clock: Option<RealClock>,
    ) -> Self {
        Runner { mailbox, input, console, clock, escapes: Escapes::default(), slice: Slice::default() }
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
            if limit.is_some_and(|limit| vm.insn_count() >= limit) {
                return Ok(Ending::MaxInsns);
            }
            self.feed(vm, idle)?;
            idle = false;
            match self.run_slice(vm, limit)? {
                Stop::Until => {}
                Stop::PowerOff => return Ok(Ending::PowerOff),
                Stop::Reset => return Ok(Ending::Reset),
                Stop::TripleFault => return Ok(Ending::TripleFault),
                Stop::DebugExit(status) => return Ok(Ending::DebugExit(status)),
                Stop::Idle { wake_ns } => {
                    idle = true;
                    let takes_bytes = vm.serial_can_receive();
                    if takes_bytes && self.input.has_more_now() {
                        continue;
                    }
                    // Bytes that the port has no room for do not wake the guest either.
                    let none_will_come = self.input.is_exhausted() || (!takes_bytes && self.input.is_complete());
                    if wake_ns.is_none() && none_will_come {
                        return Ok(Ending::HaltedForEver);
                    }
                    self.wait_for(vm, wake_ns);
                }
            }
            self.follow_host_clock(vm);
        }
    }

    fn run_slice(&mut self, vm: &mut dyn Vm, limit: Option<u64>) -> Result<Stop, SessionError> {
        let from = vm.insn_count();
        let until = [Some(from.saturating_add(self.slice.insns())), self.input.next_feed(from), limit];
        let until = until.into_iter().flatten().min().unwrap_or(from);
        let start = Instant::now();
        let stop = vm.run(until);
        self.slice.learn(vm.insn_count() - from, start.elapsed());

        let (serial, debug) = vm.take_output();
        self.console.serial(&serial).map_err(SessionError::host("writing the console to standard output"))?;
        self.console.debug(&debug).map_err(SessionError::host("writing the debug console to standard error"))?;
        Ok(stop)
    }

    /// Takes what came from outside. Returns how the run ends if the user ends it.
    fn look_outside(&mut self, vm: &mut dyn Vm) -> Result<Option<Ending>, SessionError> {
        let arrived = self.mailbox.take(self.input.room());
        if arrived.signal.is_some() {
            return Ok(Some(Ending::Quit));
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

    fn feed(&mut self, vm: &mut dyn Vm, idle: bool) -> Result<(), SessionError> {
        if !self.input.may_feed(vm.insn_count(), idle) {
            return Ok(());
        }
        while vm.serial_can_receive() {
            match self.input.next_byte().map_err(SessionError::host("reading standard input"))? {
                Some(byte) => vm.serial_byte(byte),
                None => break,
            }
        }
        Ok(())
    }

    /// Every vCPU waits, the next timer is due at `wake_ns`: waits for it or for something from outside.
    fn wait_for(&mut self, vm: &mut dyn Vm, wake_ns: Option<u64>) {
        let for_bytes = self.input.room() > 0;
        let Some(clock) = &self.clock else {
            // Virtual time does not wait for a timer, only for the outside.
            if wake_ns.is_none() {
                self.mailbox.wait(None, for_bytes);
            }
            return;
        };
        self.mailbox.wait(wake_ns.map(|wake_ns| clock.until(wake_ns, Instant::now())), for_bytes);
        // Whatever ended the wait happens at the host's time, however short the wait was.
        let behind_ns = clock.target_ns(Instant::now()).saturating_sub(vm.virtual_ns());
        if behind_ns > 0 {
            vm.advance_clock(behind_ns);
        }
    }

    /// Keeps a busy guest's time beside the host's.
    fn follow_host_clock(&mut self, vm: &mut dyn Vm) {
        let Some(clock) = &self.clock else { return };
        match clock.drift(vm.virtual_ns(), Instant::now()) {
            Drift::None => {}
            Drift::Behind(by_ns) => vm.advance_clock(by_ns),
            Drift::Ahead(by) => self.mailbox.wait(Some(by.min(LONGEST_PAUSE)), self.input.room() > 0),
        }
    }
}
