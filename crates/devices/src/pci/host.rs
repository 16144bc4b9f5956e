//! From an access to the function that it is meant for: the two ways into configuration space.

use x86::VirtualTime;

use super::chipset::Chipset;
use super::{FunctionAddress, PciFunction, PciSlots};
use crate::bus::{Width, Wires, read_bytewise, write_bytewise};

/// Bit 31 of CONFIG_ADDRESS.
const ENABLE: u32 = 1 << 31;
/// Bus, device, function and register; the rest reads as zero.
pub(super) const ADDRESS_BITS: u32 = 0x80ff_fffc;

/// The host bridge: its address register and the functions on the board itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub address: u32,
    pub chipset: Chipset,
}

/// One access to configuration space: where it comes from does not matter any more.
pub(super) struct Access<'a> {
    pub slots: &'a mut dyn PciSlots,
    pub now: VirtualTime,
    pub wires: &'a mut dyn Wires,
}

/// Whether an access stays within one register.
fn is_aligned(offset: u16, width: Width) -> bool {
    u64::from(offset).is_multiple_of(width.bytes())
}

impl Host {
    /// Reads at `offset` from port CF8h.
    pub fn read_port(&mut self, offset: u16, width: Width, access: &mut Access<'_>) -> u32 {
        match (offset, width) {
            // Only a doubleword reaches the address register (PCI 3.0, section 3.2.2.3.2).
            (0, Width::Dword) => self.address,
            _ if !is_aligned(offset, width) => {
                read_bytewise(width, offset, |port| self.read_port(port, Width::Byte, access) as u8)
            }
            _ => self
                .data_target(offset)
                .map_or(width.mask() as u32, |(at, register)| self.read(at, register, width, access)),
        }
    }

    /// Writes at `offset` from port CF8h.
    pub fn write_port(&mut self, offset: u16, width: Width, value: u32, access: &mut Access<'_>) {
        match (offset, width) {
            (0, Width::Dword) => self.address = value & ADDRESS_BITS,
            _ if !is_aligned(offset, width) => write_bytewise(width, offset, value, |port, byte| {
                self.write_port(port, Width::Byte, u32::from(byte), access);
            }),
            _ => {
                if let Some((at, register)) = self.data_target(offset) {
                    self.write(at, register, width, value, access);
                }
            }
        }
    }

    /// Reads `width` (at most a doubleword) at a register. Where no function is, all ones.
    pub fn read(&mut self, at: FunctionAddress, register: u16, width: Width, access: &mut Access<'_>) -> u32 {
        if !is_aligned(register, width) {
            return read_bytewise(width, register, |register| self.read(at, register, Width::Byte, access) as u8);
        }
        match self.function(at, access.slots) {
            Some(function) if register < 0x1000 => function.config_read(register, width),
            _ => width.mask() as u32,
        }
    }

    /// Writes `width` (at most a doubleword) at a register.
    pub fn write(&mut self, at: FunctionAddress, register: u16, width: Width, value: u32, access: &mut Access<'_>) {
        if !is_aligned(register, width) {
            return write_bytewise(width, register, value, |register, byte| {
                self.write(at, register, Width::Byte, u32::from(byte), access);
            });
        }
        if register < 0x1000
            && let Some(function) = self.function(at, access.slots)
        {
            function.config_write(register, width, value, access.now, access.wires);
        }
    }

    /// What an access to the data ports is meant for.
    fn data_target(&self, offset: u16) -> Option<(FunctionAddress, u16)> {
        if self.address & ENABLE == 0 || !(4..8).contains(&offset) {
            return None;
        }
        let at = FunctionAddress { bus: (self.address >> 16) as u8, devfn: (self.address >> 8) as u8 };
        Some((at, (self.address & 0xfc) as u16 + offset - 4))
    }

    fn function<'a>(&'a mut self, at: FunctionAddress, slots: &'a mut dyn PciSlots) -> Option<&'a mut dyn PciFunction> {
        match self.chipset.function(at) {
            Some(function) => Some(function),
            None => slots.function(at),
        }
    }
}
