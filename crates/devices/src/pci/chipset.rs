//! The functions that are always there: host bridge and ISA bridge, with the identities of
//! Intel's Q35 and ICH9, which every system knows.

use x86::VirtualTime;

use super::config_space::ConfigSpace;
use super::{FunctionAddress, PciFunction};
use crate::acpi_pm::PM_BASE;
use crate::bus::{Width, Wires};

const INTEL: u16 = 0x8086;
/// 00:1f.0.
const ISA_BRIDGE_DEVFN: u8 = 0x1f << 3;
/// The bits of the command register that a bridge lets the guest change: parity and system errors.
const COMMAND_ERRORS: u32 = 0x0140;

/// Both bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chipset {
    pub host_bridge: ConfigSpace,
    pub isa_bridge: ConfigSpace,
}

impl Chipset {
    /// `ecam_base`: where the board maps configuration space.
    pub fn new(ecam_base: u64) -> Self {
        Chipset { host_bridge: host_bridge(ecam_base), isa_bridge: isa_bridge() }
    }

    pub fn function(&mut self, at: FunctionAddress) -> Option<&mut dyn PciFunction> {
        match (at.bus, at.devfn) {
            (0, 0) => Some(&mut self.host_bridge),
            (0, ISA_BRIDGE_DEVFN) => Some(&mut self.isa_bridge),
            _ => None,
        }
    }
}

impl PciFunction for ConfigSpace {
    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.read(offset, width)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32, _now: VirtualTime, _wires: &mut dyn Wires) {
        self.write(offset, width, value);
    }
}

/// 00:00.0, the memory controller hub (Intel 3 Series data sheet, section 5).
fn host_bridge(ecam_base: u64) -> ConfigSpace {
    let mut space = ConfigSpace::new(INTEL, 0x29c0, 0x06_0000, 0x02);
    space.set(0x04, Width::Word, 0x0006); // memory and bus master, always on
    space.set_writable(0x04, Width::Word, COMMAND_ERRORS);
    // PCIEXBAR: enabled, 256 buses. Here it cannot be moved.
    space.set(0x60, Width::Dword, ecam_base as u32 | 1);
    space.set(0x64, Width::Dword, (ecam_base >> 32) as u32);
    space
}

/// 00:1f.0, the LPC interface (Intel ICH9 data sheet, section 13.1).
fn isa_bridge() -> ConfigSpace {
    let mut space = ConfigSpace::new(INTEL, 0x2918, 0x06_0100, 0x02);
    space.set(0x04, Width::Word, 0x0007); // ports, memory and bus master, always on
    space.set_writable(0x04, Width::Word, COMMAND_ERRORS);
    space.set(0x40, Width::Dword, u32::from(PM_BASE) | 1); // PMBASE: in port space
    space.set(0x44, Width::Byte, 0x80); // ACPI_CNTL: decoded, SCI on IRQ 9
    for pirq in [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b] {
        space.set(pirq, Width::Byte, 0x80); // not routed to the 8259s
        space.set_writable(pirq, Width::Byte, 0x8f);
    }
    space.set_writable(0x3c, Width::Byte, 0xff);
    space
}
