//! Two ports for kernels under test: one that ends the run, and one that prints.
//!
//! Both behave as QEMU's `isa-debug-exit` and `isa-debugcon` do, which kernel test suites expect.

use x86::VirtualTime;

use crate::bus::{OutputChannel, PortDevice, PowerEvent, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved};

/// Where kvm-unit-tests and most kernels look for the exit port (four ports, first one counts).
pub const EXIT_PORT: u16 = 0xf4;
/// Number of ports of the exit device.
pub const EXIT_PORT_COUNT: u16 = 4;
/// The debug console's port.
pub const CONSOLE_PORT: u16 = 0xe9;

/// Ends the run when written: exit status `(value << 1) | 1`, so never 0. Reads return 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugExit;

impl PortDevice for DebugExit {
    fn port_read(&mut self, _offset: u16, _width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        0
    }

    fn port_write(&mut self, _offset: u16, _width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        // An exit status has eight bits; a process's does, too.
        wires.power(PowerEvent::DebugExit((value << 1) as u8 | 1));
    }
}

/// Prints each byte written; reads return E9h, by which a guest can tell that it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugConsole;

impl PortDevice for DebugConsole {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| if port == 0 { CONSOLE_PORT as u8 } else { 0xff })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| {
            if port == 0 {
                wires.output(OutputChannel::DebugConsole, byte);
            }
        });
    }
}

/// Saved state of a device that has none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NoState {}

impl Saved for DebugExit {
    type State = NoState;

    fn save(&self) -> NoState {
        let Self = self;
        NoState {}
    }

    fn restore(&mut self, NoState {}: NoState) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl Saved for DebugConsole {
    type State = NoState;

    fn save(&self) -> NoState {
        let Self = self;
        NoState {}
    }

    fn restore(&mut self, NoState {}: NoState) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_wires::TestWires;

    #[test]
    fn the_exit_status_is_twice_the_value_plus_one() {
        let mut wires = TestWires::default();
        for (value, status) in [(0, 1), (0x10, 0x21), (0x7f, 0xff), (0x1_0080, 1)] {
            DebugExit.port_write(0, Width::Dword, value, VirtualTime::ZERO, &mut wires);
            assert_eq!(wires.power.pop(), Some(PowerEvent::DebugExit(status)));
        }
    }

    #[test]
    fn the_console_prints_and_identifies_itself() {
        let mut wires = TestWires::default();
        assert_eq!(DebugConsole.port_read(0, Width::Byte, VirtualTime::ZERO, &mut wires), 0xe9);
        DebugConsole.port_write(0, Width::Word, 0x4241, VirtualTime::ZERO, &mut wires);
        assert_eq!(wires.output, [(OutputChannel::DebugConsole, b'A')]);
    }

    #[test]
    fn conformance() {
        use crate::conformance::{check, port_step};
        check(|| DebugExit, |device, mut step| port_step(device, &[0, 1, 2, 3], &mut step));
        check(|| DebugConsole, |device, mut step| port_step(device, &[0], &mut step));
    }
}
