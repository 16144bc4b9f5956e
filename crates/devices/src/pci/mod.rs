//! PCI: configuration space through ports CF8h to CFFh and through ECAM, with the host bridge
//! and the ISA bridge on bus 0.
//!
//! Other functions belong to the board. It hands them in with [`PciHost::with_slots`]; whoever
//! implements [`PciFunction`] can be one. Without slots, [`PciHost`] itself is the device.

mod chipset;
mod config_space;
mod host;
#[cfg(test)]
mod tests;

use x86::VirtualTime;

use crate::bus::{MmioDevice, PortDevice, Width, Wires};
use crate::state::{RestoreError, Saved, within};
use chipset::Chipset;
pub use config_space::{CONFIG_LEN, ConfigSpace};
use host::{Access, Host};

/// CONFIG_ADDRESS; `offset` of port accesses counts from here. Byte accesses to CF9h are the reset
/// register's ([`crate::acpi_pm::ResetControl`]), not this device's.
pub const PORT_BASE: u16 = 0xcf8;
/// Number of ports: address and data.
pub const PORT_COUNT: u16 = 8;
/// Bytes of configuration space mapped to memory: 256 buses of 1 MiB (PCIe 5.0, section 7.2.2).
pub const ECAM_LEN: u64 = 256 << 20;

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionAddress {
    /// Bus number.
    pub bus: u8,
    /// Device (bits 7:3) and function (bits 2:0).
    pub devfn: u8,
}

/// The configuration space of one function.
pub trait PciFunction {
    /// Reads a byte, word or doubleword at a naturally aligned `offset` below 1000h.
    fn config_read(&mut self, offset: u16, width: Width) -> u32;
    /// Writes a byte, word or doubleword at a naturally aligned `offset` below 1000h.
    fn config_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires);
}

/// The functions that the board has plugged in.
pub trait PciSlots {
    /// The function at an address, if there is one. The bridges' own addresses are not asked for.
    fn function(&mut self, at: FunctionAddress) -> Option<&mut dyn PciFunction>;
}

/// Nothing is plugged in.
struct NoSlots;

impl PciSlots for NoSlots {
    fn function(&mut self, _at: FunctionAddress) -> Option<&mut dyn PciFunction> {
        None
    }
}

/// The PCI host bridge with bus 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciHost {
    host: Host,
    ecam_base: u64,
}

impl PciHost {
    /// The bridge after firmware has set it up, with configuration space mapped at `ecam_base`, a
    /// multiple of [`ECAM_LEN`].
    pub fn new(ecam_base: u64) -> Self {
        PciHost { host: Host { address: 0, chipset: Chipset::new(ecam_base) }, ecam_base }
    }

    /// The bridge together with the board's own functions, for one access.
    pub fn with_slots<'a>(&'a mut self, slots: &'a mut dyn PciSlots) -> PciView<'a> {
        PciView { host: &mut self.host, slots }
    }
}

/// A [`PciHost`] and the functions that are plugged in. Port offsets count from [`PORT_BASE`],
/// memory offsets from the ECAM base.
pub struct PciView<'a> {
    host: &'a mut Host,
    slots: &'a mut dyn PciSlots,
}

impl PortDevice for PciView<'_> {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.host.read_port(offset, width, &mut Access { slots: self.slots, now, wires })
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.host.write_port(offset, width, value, &mut Access { slots: self.slots, now, wires });
    }
}

/// The parts of an ECAM offset.
fn ecam_target(offset: u64) -> (FunctionAddress, u16) {
    (FunctionAddress { bus: (offset >> 20) as u8, devfn: (offset >> 12) as u8 }, (offset & 0xfff) as u16)
}

impl MmioDevice for PciView<'_> {
    fn mmio_read(&mut self, offset: u64, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u64 {
        let (at, register) = ecam_target(offset);
        let access = &mut Access { slots: self.slots, now, wires };
        if width == Width::Qword {
            let low = self.host.read(at, register, Width::Dword, access);
            let high = self.host.read(at, register + 4, Width::Dword, access);
            return u64::from(high) << 32 | u64::from(low);
        }
        u64::from(self.host.read(at, register, width, access))
    }

    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime, wires: &mut dyn Wires) {
        let (at, register) = ecam_target(offset);
        let access = &mut Access { slots: self.slots, now, wires };
        if width == Width::Qword {
            self.host.write(at, register, Width::Dword, value as u32, access);
            self.host.write(at, register + 4, Width::Dword, (value >> 32) as u32, access);
        } else {
            self.host.write(at, register, width, value as u32, access);
        }
    }
}

impl PortDevice for PciHost {
    fn port_read(&mut self, offset: u16, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u32 {
        self.with_slots(&mut NoSlots).port_read(offset, width, now, wires)
    }

    fn port_write(&mut self, offset: u16, width: Width, value: u32, now: VirtualTime, wires: &mut dyn Wires) {
        self.with_slots(&mut NoSlots).port_write(offset, width, value, now, wires);
    }
}

impl MmioDevice for PciHost {
    fn mmio_read(&mut self, offset: u64, width: Width, now: VirtualTime, wires: &mut dyn Wires) -> u64 {
        self.with_slots(&mut NoSlots).mmio_read(offset, width, now, wires)
    }

    fn mmio_write(&mut self, offset: u64, width: Width, value: u64, now: VirtualTime, wires: &mut dyn Wires) {
        self.with_slots(&mut NoSlots).mmio_write(offset, width, value, now, wires);
    }
}

/// Saved state of a [`PciHost`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PciHostState {
    #[prost(uint32, tag = "1")]
    address: u32,
    #[prost(bytes = "vec", tag = "2")]
    host_bridge: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    isa_bridge: Vec<u8>,
}

impl Saved for PciHost {
    type State = PciHostState;

    fn save(&self) -> PciHostState {
        let Self { host: Host { address, chipset }, ecam_base: _ } = self;
        let Chipset { host_bridge, isa_bridge } = chipset;
        PciHostState { address: *address, host_bridge: host_bridge.save(), isa_bridge: isa_bridge.save() }
    }

    fn restore(&mut self, state: PciHostState) -> Result<(), RestoreError> {
        let fresh = Chipset::new(self.ecam_base);
        let host = Host {
            address: within("pci-host", "address", state.address, host::ADDRESS_BITS)?,
            chipset: Chipset {
                host_bridge: fresh.host_bridge.restored(&state.host_bridge, "pci-host-bridge")?,
                isa_bridge: fresh.isa_bridge.restored(&state.isa_bridge, "pci-isa-bridge")?,
            },
        };
        self.host = host;
        Ok(())
    }
}
