//! A device for test suites of CPUs and interrupt controllers: memory behind MMIO, a latch behind
//! ports, and ports that drive interrupt lines.
//!
//! It behaves as QEMU's `pc-testdev` does, which kvm-unit-tests expect beside the exit port. A board
//! has it only where test suites run: a PC has nothing at these addresses.

use x86::VirtualTime;

use crate::bus::{IrqLine, PortDevice, Width, Wires, read_bytewise, write_bytewise};
use crate::byte_memory::ByteMemory;
use crate::state::{RestoreError, Saved};

/// The first port of the [`Latch`].
pub const LATCH_PORT: u16 = 0xe0;
/// Number of ports of the latch.
pub const LATCH_PORT_COUNT: u16 = 4;
/// The port of interrupt line 0; line 1 has the next, and so on.
pub const LINES_PORT: u16 = 0x2000;
/// Number of interrupt lines.
pub const LINES_PORT_COUNT: u16 = 24;
/// Where the memory is.
pub const MEMORY_BASE: u64 = 0xff00_0000;
/// Bytes of the memory.
pub const MEMORY_LEN: u64 = 0x1_0000;

/// The device: three parts, each with its own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestDevice {
    /// At [`LATCH_PORT`].
    pub latch: Latch,
    /// At [`LINES_PORT`].
    pub lines: Lines,
    /// At [`MEMORY_BASE`].
    pub memory: ByteMemory,
}

impl Default for TestDevice {
    fn default() -> Self {
        TestDevice { latch: Latch::default(), lines: Lines, memory: ByteMemory::new(MEMORY_LEN) }
    }
}

/// Four ports that keep what is written to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latch {
    bytes: [u8; LATCH_PORT_COUNT as usize],
}

impl PortDevice for Latch {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| self.bytes.get(usize::from(port)).copied().unwrap_or(0xff))
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, _wires: &mut dyn Wires) {
        write_bytewise(width, offset, value, |port, byte| {
            if let Some(latched) = self.bytes.get_mut(usize::from(port)) {
                *latched = byte;
            }
        });
    }
}

/// One port a line: a value other than zero asserts it, zero takes it back. Reads return zero.
///
/// It keeps nothing: the interrupt controllers know the levels of their inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines;

impl PortDevice for Lines {
    fn port_read(&mut self, _offset: u16, _width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        0
    }

    fn port_write(&mut self, offset: u16, _width: Width, value: u32, _now: VirtualTime, wires: &mut dyn Wires) {
        if offset < LINES_PORT_COUNT {
            wires.set_irq(IrqLine(offset as u8), value != 0);
        }
    }
}

/// Saved state of a [`TestDevice`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TestDeviceState {
    /// Port [`LATCH_PORT`] in the lowest byte.
    #[prost(fixed32, tag = "1")]
    latch: u32,
    /// The memory without the zeros at its end.
    #[prost(bytes = "vec", tag = "2")]
    memory: Vec<u8>,
}

impl Saved for TestDevice {
    type State = TestDeviceState;

    fn save(&self) -> TestDeviceState {
        let Self { latch: Latch { bytes: latch }, lines: Lines, memory } = self;
        TestDeviceState { latch: u32::from_le_bytes(*latch), memory: memory.save() }
    }

    fn restore(&mut self, state: TestDeviceState) -> Result<(), RestoreError> {
        let memory = ByteMemory::restored("testdev", MEMORY_LEN, state.memory)?;
        *self = TestDevice { latch: Latch { bytes: state.latch.to_le_bytes() }, lines: Lines, memory };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::MmioDevice;
    use crate::conformance::{Trace, check, mmio_step, port_step};

    #[test]
    fn a_line_follows_its_port() {
        let (mut device, mut trace) = (TestDevice::default(), Trace::default());
        for value in [1, 0] {
            device.lines.port_write(14, Width::Byte, value, VirtualTime::ZERO, &mut trace);
        }
        assert_eq!(trace.levels(IrqLine(14)), [true, false]);
    }

    #[test]
    fn accesses_of_all_widths_meet_the_same_bytes() {
        let (mut device, mut trace) = (TestDevice::default(), Trace::default());
        device.latch.port_write(0, Width::Dword, 0x4433_2211, VirtualTime::ZERO, &mut trace);
        assert_eq!(device.latch.port_read(1, Width::Byte, VirtualTime::ZERO, &mut trace), 0x22);
        let at = MEMORY_LEN - 8;
        device.memory.mmio_write(at, Width::Qword, 0x8877_6655_4433_2211, VirtualTime::ZERO, &mut trace);
        assert_eq!(device.memory.mmio_read(at + 6, Width::Word, VirtualTime::ZERO, &mut trace), 0x8877);
        assert_eq!(device.memory.mmio_read(at + 6, Width::Dword, VirtualTime::ZERO, &mut trace), 0xffff_8877);
    }

    #[test]
    fn conformance() {
        check(TestDevice::default, |device, mut step| {
            if step.rng.one_in(4) {
                port_step(&mut device.latch, &[0, 1, 2, 3], &mut step);
            } else if step.rng.one_in(2) {
                mmio_step(&mut device.memory, MEMORY_LEN, &mut step);
            } else {
                port_step(&mut device.lines, &[0, 4, 23], &mut step);
            }
        });
    }

    #[test]
    fn memory_longer_than_the_device_is_refused() {
        let state = TestDeviceState { latch: 0, memory: vec![1; MEMORY_LEN as usize + 1] };
        assert!(TestDevice::default().restore(state).is_err());
    }
}
