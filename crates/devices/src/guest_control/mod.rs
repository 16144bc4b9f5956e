//! The guest control port: software in the guest starts and stops recording, sets marks, takes
//! snapshots and asks where it is, without a kernel module (I/O ports suffice).
//!
//! A text is written byte by byte, then a command. What the outside makes of it comes back through
//! the door ([`GuestControl::set_recording`]), so that a replay answers as the recorded run did: a
//! guest can ask whether it is recorded, and never learns that it is replayed. The outside is told
//! when the guest looks for the device, so it need not say to every guest what few ask: recording
//! a guest that does not ask changes nothing in its machine.
//!
//! | offset | read | written |
//! |---|---|---|
//! | 0 | dword: "CHRV", little-endian | byte: a command, see [`command`] |
//! | 4 | dword: bit 0 a recording is under way | – |
//! | 8 | byte: length of the text so far | byte: appended to the text, at most [`MAX_TEXT`] |
//! | 12 | dword: the position latched by [`command::LATCH_POSITION`], low half first, then high | – |

use x86::VirtualTime;

use crate::bus::{PortDevice, Width, Wires};
use crate::state::{RestoreError, Saved};

/// First port.
pub const PORT_BASE: u16 = 0x5c0;
/// Number of ports.
pub const PORT_COUNT: u16 = 16;
/// "CHRV".
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"CHRV");
/// Bytes of text kept; more are dropped.
pub const MAX_TEXT: usize = 255;

/// Bytes written to offset 0.
pub mod command {
    /// Forgets the text.
    pub const CLEAR: u8 = 0;
    /// Starts a recording in the file named by the text, or in one that the host names.
    pub const RECORD_START: u8 = 1;
    /// Stops the recording.
    pub const RECORD_STOP: u8 = 2;
    /// Sets a mark with the text as its name.
    pub const MARK: u8 = 3;
    /// Takes a snapshot with the text as its name.
    pub const SNAPSHOT: u8 = 4;
    /// Latches the position, in nanoseconds of virtual time, for two reads of offset 12.
    pub const LATCH_POSITION: u8 = 5;
}

/// What the guest asks of the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Start a recording; the text names it, or is empty.
    RecordStart(String),
    /// Stop the recording.
    RecordStop,
    /// Set a mark of this name.
    Mark(String),
    /// Take a snapshot of this name.
    Snapshot(String),
    /// The guest looked for the device: it may ask next whether a recording is under way.
    Looked,
}

/// The device. `offset` of accesses counts from [`PORT_BASE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestControl {
    text: Vec<u8>,
    recording: bool,
    latched_ns: u64,
    /// The next read of offset 12 gives the high half.
    high_next: bool,
}

impl GuestControl {
    /// At power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outside started or stopped recording.
    pub fn set_recording(&mut self, recording: bool) {
        self.recording = recording;
    }

    fn command(&mut self, command: u8, now: VirtualTime, wires: &mut dyn Wires) {
        if command == command::LATCH_POSITION {
            self.latched_ns = now.as_ns();
            self.high_next = false;
            return;
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned();
        match command {
            command::RECORD_START => wires.control(ControlRequest::RecordStart(text)),
            command::RECORD_STOP => wires.control(ControlRequest::RecordStop),
            command::MARK => wires.control(ControlRequest::Mark(text)),
            command::SNAPSHOT => wires.control(ControlRequest::Snapshot(text)),
            // CLEAR, and what has no meaning yet.
            _ => {}
        }
    }

    fn position(&mut self) -> u32 {
        let high = self.high_next;
        self.high_next = !high;
        (self.latched_ns >> if high { 32 } else { 0 }) as u32
    }
}

impl PortDevice for GuestControl {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        let value = match offset {
            0 => {
                wires.control(ControlRequest::Looked);
                SIGNATURE
            }
            4 => u32::from(self.recording),
            8 => self.text.len() as u32,
            12 => self.position(),
            _ => u32::MAX,
        };
        value & width.mask() as u32
    }

    fn port_write(&mut self, offset: u16, _width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        match offset {
            0 => self.command(value as u8, now, wires),
            8 if self.text.len() < MAX_TEXT => self.text.push(value as u8),
            _ => {}
        }
    }
}

/// Saved state of a [`GuestControl`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct GuestControlState {
    #[prost(bytes = "vec", tag = "1")]
    text: Vec<u8>,
    #[prost(bool, tag = "2")]
    recording: bool,
    #[prost(uint64, tag = "3")]
    latched_ns: u64,
    #[prost(bool, tag = "4")]
    high_next: bool,
}

impl Saved for GuestControl {
    type State = GuestControlState;

    fn save(&self) -> GuestControlState {
        let Self { text, recording, latched_ns, high_next } = self.clone();
        GuestControlState { text, recording, latched_ns, high_next }
    }

    fn restore(&mut self, state: GuestControlState) -> Result<(), RestoreError> {
        let GuestControlState { text, recording, latched_ns, high_next } = state;
        if text.len() > MAX_TEXT {
            let value = text.len() as u64;
            return Err(RestoreError::Invalid { device: "guest-control", field: "text (length)", value });
        }
        *self = GuestControl { text, recording, latched_ns, high_next };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{check, port_step};
    use crate::test_wires::TestWires;

    fn write(device: &mut GuestControl, wires: &mut TestWires, offset: u16, value: u8) {
        device.port_write(offset, Width::Byte, value.into(), VirtualTime::from_ns(0x1_2345_6789), wires);
    }

    fn read(device: &mut GuestControl, wires: &mut TestWires, offset: u16) -> u32 {
        device.port_read(offset, Width::Dword, VirtualTime::ZERO, wires)
    }

    #[test]
    fn a_text_and_a_command_make_a_request() {
        let (mut device, mut wires) = (GuestControl::new(), TestWires::default());
        for byte in *b"login" {
            write(&mut device, &mut wires, 8, byte);
        }
        write(&mut device, &mut wires, 0, command::MARK);
        write(&mut device, &mut wires, 0, command::RECORD_STOP);
        assert_eq!(wires.control, [ControlRequest::Mark("login".into()), ControlRequest::RecordStop]);
        assert_eq!(read(&mut device, &mut wires, 8), 0);
    }

    #[test]
    fn it_tells_the_position_and_whether_it_is_recorded() {
        let (mut device, mut wires) = (GuestControl::new(), TestWires::default());
        assert_eq!(read(&mut device, &mut wires, 0), SIGNATURE);
        write(&mut device, &mut wires, 0, command::LATCH_POSITION);
        assert_eq!(read(&mut device, &mut wires, 12), 0x2345_6789);
        assert_eq!(read(&mut device, &mut wires, 12), 1);
        assert_eq!(read(&mut device, &mut wires, 4), 0);
        device.set_recording(true);
        assert_eq!(read(&mut device, &mut wires, 4), 1);
    }

    #[test]
    fn a_long_text_is_cut() {
        let (mut device, mut wires) = (GuestControl::new(), TestWires::default());
        for _ in 0..1000 {
            write(&mut device, &mut wires, 8, b'x');
        }
        assert_eq!(read(&mut device, &mut wires, 8), MAX_TEXT as u32);
    }

    #[test]
    fn conformance() {
        check(GuestControl::new, |device, mut step| port_step(device, &[0, 4, 8, 12], &mut step));
    }
}
