//! System control port A (port 92h: A20 gate and fast reset) and the POST code port (80h).

use x86::VirtualTime;

use crate::bus::{PortDevice, PowerEvent, Width, Wires, read_bytewise, write_bytewise};
use crate::state::{RestoreError, Saved, within};

/// System control port A.
pub const CONTROL_PORT: u16 = 0x92;
/// Where firmware shows how far it has come, and kernels wait a microsecond.
pub const POST_PORT: u16 = 0x80;

/// Bit 0: INIT_NOW.
const RESET: u8 = 0x01;
/// Bit 1: ALT_A20_GATE.
const A20: u8 = 0x02;

/// System control port A (Intel ICH9 data sheet, section 13.7.3). A20 is open at power-on, as
/// firmware leaves it. `offset` counts from [`CONTROL_PORT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port92 {
    a20: bool,
}

impl Default for Port92 {
    fn default() -> Self {
        Port92 { a20: true }
    }
}

impl Port92 {
    /// The port as firmware leaves it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The A20 gate was moved by someone else (the keyboard controller): bit 1 shows it from now on.
    pub fn observe_a20(&mut self, enabled: bool) {
        self.a20 = enabled;
    }
}

impl PortDevice for Port92 {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        let value = if self.a20 { A20 } else { 0 };
        read_bytewise(width, offset, |port| if port == 0 { value } else { 0xff })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| {
            if port == 0 {
                self.a20 = byte & A20 != 0;
                wires.set_a20(self.a20);
                if byte & RESET != 0 {
                    wires.power(PowerEvent::Reset);
                }
            }
        });
    }
}

/// Saved state of a [`Port92`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Port92State {
    #[prost(bool, tag = "1")]
    a20: bool,
}

impl Saved for Port92 {
    type State = Port92State;

    fn save(&self) -> Port92State {
        let Self { a20 } = self;
        Port92State { a20: *a20 }
    }

    fn restore(&mut self, state: Port92State) -> Result<(), RestoreError> {
        self.a20 = state.a20;
        Ok(())
    }
}

/// The POST code port: it keeps what was written last. `offset` counts from [`POST_PORT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostPort {
    code: u8,
}

impl PostPort {
    /// The port at power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last code written.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl PortDevice for PostPort {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| if port == 0 { self.code } else { 0xff })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, _wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| {
            if port == 0 {
                self.code = byte;
            }
        });
    }
}

/// Saved state of a [`PostPort`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PostPortState {
    #[prost(uint32, tag = "1")]
    code: u32,
}

impl Saved for PostPort {
    type State = PostPortState;

    fn save(&self) -> PostPortState {
        let Self { code } = self;
        PostPortState { code: u32::from(*code) }
    }

    fn restore(&mut self, state: PostPortState) -> Result<(), RestoreError> {
        self.code = within("post-port", "code", state.code, 0xff)? as u8;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{check, port_step};
    use crate::test_wires::TestWires;

    #[test]
    fn a20_and_fast_reset() {
        let (mut port, mut wires) = (Port92::new(), TestWires::default());
        assert_eq!(port.port_read(0, Width::Byte, VirtualTime::ZERO, &mut wires), 0x02);
        port.port_write(0, Width::Byte, 0x00, VirtualTime::ZERO, &mut wires);
        assert_eq!(wires.a20, Some(false));
        port.observe_a20(true);
        assert_eq!(port.port_read(0, Width::Byte, VirtualTime::ZERO, &mut wires), 0x02);
        assert!(wires.power.is_empty());
        port.port_write(0, Width::Byte, 0x03, VirtualTime::ZERO, &mut wires);
        assert_eq!(wires.power, [PowerEvent::Reset]);
    }

    #[test]
    fn the_post_port_reads_back() {
        let (mut port, mut wires) = (PostPort::new(), TestWires::default());
        port.port_write(0, Width::Byte, 0xa5, VirtualTime::ZERO, &mut wires);
        assert_eq!(port.port_read(0, Width::Byte, VirtualTime::ZERO, &mut wires), 0xa5);
        assert_eq!(port.code(), 0xa5);
    }

    #[test]
    fn conformance() {
        check(Port92::new, |port, mut step| port_step(port, &[0], &mut step));
        check(PostPort::new, |port, mut step| port_step(port, &[0], &mut step));
    }
}
