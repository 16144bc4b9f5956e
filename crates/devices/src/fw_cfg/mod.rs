//! The little of QEMU's firmware configuration device that kernels under test ask for: how many
//! CPUs there are, and how much RAM (QEMU, docs/specs/fw_cfg). No DMA, no files.

use x86::VirtualTime;

use crate::bus::{PortDevice, Width, Wires, read_bytewise};
use crate::state::{RestoreError, Saved, within};

/// Selector (16 bits, written) at this port, data (8 bits, read) at the next.
pub const PORT_BASE: u16 = 0x510;
/// Number of ports.
pub const PORT_COUNT: u16 = 2;

mod key {
    pub const SIGNATURE: u16 = 0x00;
    pub const ID: u16 = 0x01;
    pub const RAM_SIZE: u16 = 0x03;
    pub const CPU_COUNT: u16 = 0x05;
    pub const MAX_CPUS: u16 = 0x0f;
    /// A big-endian count of files. There is none, so the zeros of an unknown key are the directory.
    #[cfg(test)]
    pub const FILE_DIRECTORY: u16 = 0x19;
}

/// Bit 0 of the ID: the traditional interface through ports. Bit 1 would be DMA.
const TRADITIONAL: u8 = 1;

/// What the device tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FwCfgConfig {
    /// All RAM, in bytes.
    pub ram_bytes: u64,
    /// Number of vCPUs.
    pub vcpus: u16,
}

/// The device. `offset` of port accesses counts from [`PORT_BASE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfg {
    config: FwCfgConfig,
    selected: u16,
    /// How many bytes of the item have been read; it stops counting where all items have ended.
    position: u8,
}

impl FwCfg {
    /// The device with item 0 selected.
    pub fn new(config: FwCfgConfig) -> Self {
        FwCfg { config, selected: 0, position: 0 }
    }

    /// The selected item; beyond its end all items go on with zeros.
    fn item(&self) -> [u8; 8] {
        let number = match self.selected {
            key::SIGNATURE => u64::from(u32::from_le_bytes(*b"QEMU")),
            key::ID => u64::from(TRADITIONAL),
            key::RAM_SIZE => self.config.ram_bytes,
            key::CPU_COUNT | key::MAX_CPUS => u64::from(self.config.vcpus),
            _ => 0,
        };
        number.to_le_bytes()
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.item().get(usize::from(self.position)).copied();
        self.position = self.position.saturating_add(1);
        byte.unwrap_or(0)
    }
}

impl PortDevice for FwCfg {
    fn port_read(&mut self, offset: u16, width: Width, _now: VirtualTime, _wires: &mut dyn Wires) -> u32 {
        read_bytewise(width, offset, |port| if port == 1 { self.next_byte() } else { 0xff })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, _wires: &mut dyn Wires) {
        // Only a word selects; items cannot be written.
        if offset == 0 && width == Width::Word {
            self.selected = value as u16;
            self.position = 0;
        }
    }
}

/// Saved state of a [`FwCfg`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct FwCfgState {
    #[prost(uint32, tag = "1")]
    selected: u32,
    #[prost(uint32, tag = "2")]
    position: u32,
}

impl Saved for FwCfg {
    type State = FwCfgState;

    fn save(&self) -> FwCfgState {
        let Self { config: _, selected, position } = self;
        FwCfgState { selected: u32::from(*selected), position: u32::from(*position) }
    }

    fn restore(&mut self, state: FwCfgState) -> Result<(), RestoreError> {
        let selected = within("fw-cfg", "selected", state.selected, 0xffff)? as u16;
        let position = within("fw-cfg", "position", state.position, 0xff)? as u8;
        *self = FwCfg { config: self.config, selected, position };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{check, port_step};
    use crate::test_wires::TestWires;

    const CONFIG: FwCfgConfig = FwCfgConfig { ram_bytes: 0x1_2345_6789, vcpus: 4 };

    fn read(key: u16, len: usize) -> Vec<u8> {
        let (mut device, mut wires) = (FwCfg::new(CONFIG), TestWires::default());
        device.port_write(0, Width::Word, u32::from(key), VirtualTime::ZERO, &mut wires);
        (0..len).map(|_| device.port_read(1, Width::Byte, VirtualTime::ZERO, &mut wires) as u8).collect()
    }

    #[test]
    fn items() {
        assert_eq!(read(key::SIGNATURE, 5), b"QEMU\0");
        assert_eq!(read(key::ID, 4), [1, 0, 0, 0]);
        assert_eq!(read(key::RAM_SIZE, 8), [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0]);
        assert_eq!(read(key::CPU_COUNT, 300)[..3], [4, 0, 0]);
        assert_eq!(read(key::MAX_CPUS, 2), [4, 0]);
        assert_eq!(read(key::FILE_DIRECTORY, 4), [0; 4]);
    }

    #[test]
    fn conformance() {
        check(
            || FwCfg::new(CONFIG),
            |device, mut step| {
                if step.rng.one_in(8) {
                    let key = step.rng.below(6) as u32;
                    device.port_write(0, Width::Word, key, *step.now, step.trace);
                }
                port_step(device, &[0, 1], &mut step);
            },
        );
    }
}
