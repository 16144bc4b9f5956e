//! MADT: the interrupt controllers and how the ISA interrupts reach them (ACPI 6.5, section 5.2.12).

use devices::acpi_pm::SCI_IRQ;

use super::IOAPIC_ID;
use super::table::Table;
use crate::memory_map::{IOAPIC_BASE, LAPIC_BASE};

/// There are two 8259s as well.
const PCAT_COMPAT: u32 = 1;
const ENABLED: u32 = 1;
/// Trigger and polarity as the bus has them; for ISA, edge and active high.
pub(super) const AS_THE_BUS: u16 = 0;
/// Level-triggered and active high.
pub(super) const LEVEL_HIGH: u16 = 0b11_01;
/// All processors.
const ALL: u8 = 0xff;
/// The I/O APIC input of the PIT, whose ISA interrupt is 0.
pub(super) const PIT_GSI: u8 = 2;

pub(super) fn build(vcpus: u8) -> Vec<u8> {
    let mut table = Table::new(*b"APIC", 4).u32(LAPIC_BASE as u32).u32(PCAT_COMPAT);
    for id in 0..vcpus {
        // Processor local APIC: processor UID, APIC ID.
        table = table.u8(0).u8(8).u8(id).u8(id).u32(ENABLED);
    }
    table = table.u8(1).u8(12).u8(IOAPIC_ID).u8(0).u32(IOAPIC_BASE as u32).u32(0);
    for (irq, gsi, flags) in [(0, PIT_GSI, AS_THE_BUS), (SCI_IRQ.0, SCI_IRQ.0, LEVEL_HIGH)] {
        table = table.u8(2).u8(10).u8(0).u8(irq).u32(gsi.into()).u16(flags);
    }
    // Local APIC NMI: on LINT1 of all processors.
    table.u8(4).u8(6).u8(ALL).u16(AS_THE_BUS).u8(1).finish()
}
