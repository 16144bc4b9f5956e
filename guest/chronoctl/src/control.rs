//! What the program says to the device, over any [`Ports`]: the real ones, or a device in a test.

use crate::protocol::{
    CLEAR, LATCH_POSITION, POSITION, SIGNATURE, SIGNATURE_AND_COMMAND, STATUS, STATUS_RECORDING, TEXT,
};

/// The device's I/O ports. Offsets count from its first port.
pub trait Ports {
    /// Reads four bytes.
    fn read_dword(&mut self, offset: u16) -> u32;
    /// Writes one byte.
    fn write_byte(&mut self, offset: u16, value: u8);
}

/// The device, known to be there.
pub struct Control<P> {
    ports: P,
}

impl<P: Ports> Control<P> {
    /// The device behind `ports`; `None` if something else is there, or nothing (which reads as ones).
    pub fn find(mut ports: P) -> Option<Self> {
        (ports.read_dword(SIGNATURE_AND_COMMAND) == SIGNATURE).then_some(Control { ports })
    }

    /// Gives `command` with its text, which is at most [`crate::protocol::MAX_TEXT`] bytes long.
    pub fn request(&mut self, command: u8, text: &str) {
        // A program that was killed half-way may have left a piece of its text.
        self.ports.write_byte(SIGNATURE_AND_COMMAND, CLEAR);
        for byte in text.bytes() {
            self.ports.write_byte(TEXT, byte);
        }
        self.ports.write_byte(SIGNATURE_AND_COMMAND, command);
    }

    /// Whether this run is recorded. A replay answers what the recorded run was answered.
    pub fn recording(&mut self) -> bool {
        self.ports.read_dword(STATUS) & STATUS_RECORDING != 0
    }

    /// The position: nanoseconds of virtual time since power-on.
    pub fn position_ns(&mut self) -> u64 {
        self.ports.write_byte(SIGNATURE_AND_COMMAND, LATCH_POSITION);
        let low = self.ports.read_dword(POSITION);
        let high = self.ports.read_dword(POSITION);
        u64::from(high) << 32 | u64::from(low)
    }

    /// Looks whether the run is recorded until it is, calling `pause` between two looks: at most
    /// `pauses` times, or for ever. Says whether it is.
    pub fn wait_recording(&mut self, pauses: Option<u64>, mut pause: impl FnMut()) -> bool {
        let mut paused = 0;
        while !self.recording() {
            if pauses == Some(paused) {
                return false;
            }
            pause();
            paused += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use devices::bus::OutputChannel;
    use devices::guest_control::{ControlRequest, GuestControl};
    use devices::{IrqLine, PortDevice, PowerEvent, Width, Wires};
    use x86::VirtualTime;

    use super::*;
    use crate::protocol::{MARK, MAX_TEXT, RECORD_START, RECORD_STOP, SNAPSHOT};

    /// The ports of the machine's own device.
    #[derive(Default)]
    struct Device {
        chip: GuestControl,
        requests: Requests,
    }

    #[derive(Default)]
    struct Requests(Vec<ControlRequest>);

    impl Wires for Requests {
        fn control(&mut self, request: ControlRequest) {
            self.0.push(request);
        }
        fn set_irq(&mut self, _: IrqLine, _: bool) {
            panic!("the device has no interrupt");
        }
        fn power(&mut self, _: PowerEvent) {
            panic!("the device switches nothing off");
        }
        fn set_a20(&mut self, _: bool) {
            panic!("the device has no A20 gate");
        }
        fn output(&mut self, _: OutputChannel, _: u8) {
            panic!("the device prints nothing");
        }
    }

    const NOW: VirtualTime = VirtualTime::from_ns(0x1_8765_4321);

    impl Ports for Device {
        fn read_dword(&mut self, offset: u16) -> u32 {
            self.chip.port_read(offset, Width::Dword, NOW, &mut self.requests)
        }
        fn write_byte(&mut self, offset: u16, value: u8) {
            self.chip.port_write(offset, Width::Byte, value.into(), NOW, &mut self.requests);
        }
    }

    fn control() -> Control<Device> {
        let mut control = Control::find(Device::default()).expect("the device has its signature");
        // That it was looked for is told, for whoever can say whether it is recorded.
        assert_eq!(std::mem::take(&mut control.ports.requests.0), [ControlRequest::Looked]);
        control
    }

    #[test]
    fn nothing_on_the_bus_is_not_chronovisor() {
        struct Nothing;
        impl Ports for Nothing {
            fn read_dword(&mut self, _: u16) -> u32 {
                u32::MAX
            }
            fn write_byte(&mut self, offset: u16, _: u8) {
                panic!("a write to offset {offset} of something unknown");
            }
        }
        assert!(Control::find(Nothing).is_none());
    }

    #[test]
    fn the_device_understands_each_request() {
        let mut control = control();
        let long = "x".repeat(MAX_TEXT);
        control.request(RECORD_START, "boot.cvr");
        control.request(MARK, "größer");
        control.request(SNAPSHOT, &long);
        control.request(RECORD_START, "");
        control.request(RECORD_STOP, "");
        let expected = [
            ControlRequest::RecordStart("boot.cvr".into()),
            ControlRequest::Mark("größer".into()),
            ControlRequest::Snapshot(long),
            ControlRequest::RecordStart(String::new()),
            ControlRequest::RecordStop,
        ];
        assert_eq!(control.ports.requests.0, expected);
    }

    #[test]
    fn a_text_left_by_another_program_does_not_mix_in() {
        let mut control = control();
        control.ports.write_byte(TEXT, b'z');
        control.request(MARK, "login");
        assert_eq!(control.ports.requests.0, [ControlRequest::Mark("login".into())]);
    }

    #[test]
    fn the_position_has_both_halves() {
        let mut control = control();
        assert_eq!(control.position_ns(), NOW.as_ns());
        assert_eq!(control.position_ns(), NOW.as_ns());
        assert_eq!(control.ports.requests.0, []);
    }

    #[test]
    fn waiting_ends_with_the_recording_or_with_patience() {
        let mut control = control();
        let mut pauses = 0;
        assert!(!control.wait_recording(Some(3), || pauses += 1));
        assert_eq!(pauses, 3);
        control.ports.chip.set_recording(true);
        assert!(control.recording());
        assert!(control.wait_recording(Some(0), || panic!("nothing to wait for")));
        assert!(control.wait_recording(None, || panic!("nothing to wait for")));
    }
}
