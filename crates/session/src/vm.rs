//! What the session needs of a machine.

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
    /// Every vCPU waits; the next timer is due at `wake_ns` of virtual time.
    Idle {
        /// `None`: no timer is set.
        wake_ns: Option<u64>,
    },
}

/// A machine as the session sees it.
pub trait Vm {
    /// Runs until the machine's instruction count is `until` or something else ends the run.
    fn run(&mut self, until: u64) -> Stop;
    /// The machine's instruction count.
    fn insn_count(&self) -> u64;
    /// Virtual time in nanoseconds.
    fn virtual_ns(&self) -> u64;
    /// Whether the serial port takes a byte now.
    fn serial_can_receive(&self) -> bool;
    /// Gives the serial port a byte.
    fn serial_byte(&mut self, byte: u8);
    /// Presses the power button.
    fn power_button(&mut self);
    /// Moves the virtual clock on.
    fn advance_clock(&mut self, by_ns: u64);
    /// What the serial port and the debug console sent since the last call.
    fn take_output(&mut self) -> (Vec<u8>, Vec<u8>);
}
