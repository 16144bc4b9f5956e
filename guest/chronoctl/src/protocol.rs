//! The registers of the guest control device, as `devices::guest_control` describes them.
//!
//! Repeated here so that the program carries nothing of the machine into the guest; a test holds
//! both to the same values.

/// First port.
pub const PORT_BASE: u16 = 0x5c0;
/// Number of ports.
pub const PORT_COUNT: u16 = 16;

/// Offset of the signature (dword, read) and of commands (byte, written).
pub const SIGNATURE_AND_COMMAND: u16 = 0;
/// Offset of the status (dword, read).
pub const STATUS: u16 = 4;
/// Offset of the text (byte, written: appended).
pub const TEXT: u16 = 8;
/// Offset of the latched position (dword, read twice: low half, high half).
pub const POSITION: u16 = 12;

/// What the signature reads as: "CHRV".
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"CHRV");
/// Bit of the status: a recording is under way.
pub const STATUS_RECORDING: u32 = 1 << 0;
/// The longest text that the device keeps, in bytes.
pub const MAX_TEXT: usize = 255;

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
/// Latches the position for two reads at [`POSITION`].
pub const LATCH_POSITION: u8 = 5;

#[test]
fn the_device_has_the_same_values() {
    use devices::guest_control::{self as device, command};
    assert_eq!((PORT_BASE, PORT_COUNT), (device::PORT_BASE, device::PORT_COUNT));
    assert_eq!((SIGNATURE, MAX_TEXT), (device::SIGNATURE, device::MAX_TEXT));
    let here = [CLEAR, RECORD_START, RECORD_STOP, MARK, SNAPSHOT, LATCH_POSITION];
    let there = [
        command::CLEAR,
        command::RECORD_START,
        command::RECORD_STOP,
        command::MARK,
        command::SNAPSHOT,
        command::LATCH_POSITION,
    ];
    assert_eq!(here, there);
}
