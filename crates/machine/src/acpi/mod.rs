//! The tables by which firmware describes the board: ACPI, and the older MultiProcessor tables for systems
//! that know no ACPI.
//!
//! [`load`] puts them at the start of the firmware area (E0000h). Each module makes one table; the DSDT's
//! bytecode comes from `acpi_tables`, the fixed tables are written here field by field. Register addresses come
//! from the devices that have the registers and from [`crate::memory_map`].
//!
//! Source: ACPI Specification 6.5, chapter 5.

mod dsdt;
mod fadt;
mod hpet;
mod madt;
mod mcfg;
mod mp_table;
mod root;
mod table;
#[cfg(test)]
mod tests;

pub use dsdt::pci_interrupt_gsi;
pub use hpet::HPET_BLOCK_ID;

use x86::GuestPhysAddr;

use crate::boot::{BootError, GuestRamWriter};
use crate::memory_map::{EXTENDED_START, FIRMWARE_START};

/// The identification of the board's one I/O APIC in all tables; its ID register holds it after reset.
pub const IOAPIC_ID: u8 = 0;
/// Tables begin on multiples of this: the FACS needs it, the others like it.
const ALIGN: u64 = 64;

/// Writes all tables for a machine with `vcpus` vCPUs, whose APIC IDs count from zero.
///
/// Returns the address of the RSDP. A system that is not told finds it by searching E0000h to FFFFFh.
pub fn load(ram: &mut dyn GuestRamWriter, vcpus: u8) -> Result<GuestPhysAddr, BootError> {
    for (at, bytes) in build(vcpus) {
        ram.write(at, &bytes)?;
    }
    Ok(GuestPhysAddr(FIRMWARE_START))
}

/// All tables with their addresses, the RSDP first.
fn build(vcpus: u8) -> Vec<(GuestPhysAddr, Vec<u8>)> {
    let mut area = Area { next: FIRMWARE_START + ALIGN, tables: Vec::new() };
    let dsdt = area.add(dsdt::build(vcpus));
    let facs = area.add(fadt::facs());
    let listed =
        [fadt::build(facs, dsdt), madt::build(vcpus), mcfg::build(), hpet::build()].map(|table| area.add(table));
    let xsdt = area.add(root::xsdt(&listed));
    let rsdt = area.add(root::rsdt(&listed));
    area.tables.push((GuestPhysAddr(FIRMWARE_START), root::rsdp(rsdt, xsdt)));
    let configuration = area.add(mp_table::configuration(vcpus));
    area.tables.push((mp_table::POINTER, mp_table::pointer(configuration)));
    assert!(area.next <= mp_table::POINTER.0, "the tables fit below the MP pointer for any number of vCPUs");
    area.tables
}

/// The firmware area as it fills up.
struct Area {
    next: u64,
    tables: Vec<(GuestPhysAddr, Vec<u8>)>,
}

impl Area {
    /// Places a table; its address fits in 32 bits.
    fn add(&mut self, table: Vec<u8>) -> u32 {
        let at = self.next;
        assert!(at < EXTENDED_START);
        self.next = (at + table.len() as u64).next_multiple_of(ALIGN);
        self.tables.push((GuestPhysAddr(at), table));
        at as u32
    }
}
