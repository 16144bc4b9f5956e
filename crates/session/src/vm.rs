//! What the loop needs of a machine; [`crate::guest::Guest`] gives it.
//!
//! The trait is there for the tests of the loop, which run it with a guest of a few lines.

use timeline::RecordError;
use x86::VirtualTime;

use crate::control::Request;

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
    /// Moves the virtual clock of an idle machine to its next timer, at `wake`.
    fn jump_to_timer(&mut self, wake: VirtualTime) {
        self.clock_to(wake);
    }
    /// Looks after the recording; called often.
    ///
    /// # Errors
    /// If something could not be written. Then the machine must wait until [`Self::retry`] succeeds.
    fn tend(&mut self) -> Result<(), RecordError> {
        Ok(())
    }
    /// Tries again to write what could not be written.
    ///
    /// # Errors
    /// If it still cannot.
    fn retry(&mut self) -> Result<(), RecordError> {
        Ok(())
    }
    /// Sentences for the user since the last call.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// Does what another program asks for and what concerns the machine, which is in `state` (running or paused). The
    /// answer may come later.
    fn serve(&mut self, request: Request, state: &'static str) {
        let sentence = format!("{:?} means nothing here", request.command);
        request.answer_in(Err(sentence), state);
    }
    /// Whether [`Self::tend`] should be called again soon.
    fn is_busy(&self) -> bool {
        false
    }
}
