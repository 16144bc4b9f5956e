//! What the session needs of a machine, and how [`machine::Machine`] gives it.
//!
//! The trait is there for the tests of the loop, which run it with a guest of a few lines.

use machine::{Idle, Input, Machine, StopReason};
use x86::{InsnCount, VirtualTime};

/// Why the machine came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the instruction count asked for.
    Until,
    /// Powered off.
    PowerOff,
    /// The guest reset the machine.
    Reset,
    /// Triple fault.
    TripleFault,
    /// Debug exit with this exit status.
    DebugExit(u8),
    /// Every vCPU waits for a timer or an input.
    Idle {
        /// When the next timer is due; `None`: no timer is set.
        wake: Option<VirtualTime>,
    },
    /// Every vCPU is halted, and no input could wake one.
    Dead,
}

/// A machine as the session sees it.
pub trait Vm {
    /// Runs until the machine's instruction count is `until` or something else ends the run.
    ///
    /// With `jump`, an idle machine jumps to its next timer; it may still come back with [`Stop::Idle`].
    fn run(&mut self, until: u64, jump: bool) -> Stop;
    /// The machine's instruction count.
    fn insn_count(&self) -> u64;
    /// Virtual time.
    fn now(&self) -> VirtualTime;
    /// Whether the serial port has room for a byte.
    fn serial_can_receive(&self) -> bool;
    /// Whether the guest asks for bytes (its RTS line).
    fn serial_requests_to_send(&self) -> bool;
    /// Gives the serial port a byte.
    fn serial_byte(&mut self, byte: u8);
    /// Presses the power button.
    fn power_button(&mut self);
    /// Moves the virtual clock forward to `time`.
    fn clock_to(&mut self, time: VirtualTime);
    /// What the serial port and the debug console sent since the last call.
    fn take_output(&mut self) -> (Vec<u8>, Vec<u8>);
}

impl Vm for Machine {
    fn run(&mut self, until: u64, jump: bool) -> Stop {
        let idle = if jump { Idle::Jump } else { Idle::Stop };
        let reason = loop {
            match Machine::run(self, InsnCount(until), idle) {
                // Recordings come from the timeline; a session without one has nothing to answer.
                StopReason::Request => drop(self.take_requests()),
                reason => break reason,
            }
        };
        match reason {
            StopReason::Until => Stop::Until,
            StopReason::PowerOff => Stop::PowerOff,
            StopReason::Reset => Stop::Reset,
            StopReason::TripleFault => Stop::TripleFault,
            StopReason::DebugExit(status) => Stop::DebugExit(status),
            StopReason::Idle(wake) => Stop::Idle { wake: (wake != VirtualTime::NEVER).then_some(wake) },
            StopReason::Halted => Stop::Dead,
            StopReason::Request => unreachable!("handled above"),
        }
    }

    fn insn_count(&self) -> u64 {
        Machine::insn_count(self).0
    }

    fn now(&self) -> VirtualTime {
        Machine::now(self)
    }

    fn serial_can_receive(&self) -> bool {
        Machine::serial_can_receive(self)
    }

    fn serial_requests_to_send(&self) -> bool {
        Machine::serial_requests_to_send(self)
    }

    fn serial_byte(&mut self, byte: u8) {
        self.input(Input::SerialByte(byte));
    }

    fn power_button(&mut self) {
        self.input(Input::PowerButton);
    }

    fn clock_to(&mut self, time: VirtualTime) {
        self.input(Input::ClockTo(time));
    }

    fn take_output(&mut self) -> (Vec<u8>, Vec<u8>) {
        let output = Machine::take_output(self);
        (output.serial, output.debug_console)
    }
}
