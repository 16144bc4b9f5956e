//! The one door: everything that comes from outside reaches the machine as an [`Input`].

use x86::VirtualTime;

/// Something from outside, stamped by the instruction count at which [`crate::Machine::input`] got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A byte for the serial port.
    SerialByte(u8),
    /// Someone pressed the power button.
    PowerButton,
    /// Keyboard bytes of scan code set 2: one key pressed or released.
    Key(Vec<u8>),
    /// The mouse moved: right, up, wheel (in counts), and the buttons down (bit 0 left, 1 right, 2 middle).
    Mouse {
        /// Counts to the right.
        right: i32,
        /// Counts up.
        up: i32,
        /// Wheel counts.
        wheel: i32,
        /// Buttons.
        buttons: u8,
    },
    /// A recording was started or stopped: the guest can ask for it.
    Recording(bool),
    /// The clock correction of `real` mode: virtual time moves forward to this (never backwards).
    ClockTo(VirtualTime),
}
