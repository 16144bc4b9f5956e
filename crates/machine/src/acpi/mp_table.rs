//! The MultiProcessor tables: processors and interrupt routing for systems that know no ACPI.
//!
//! Source: Intel MultiProcessor Specification 1.4, chapter 4 and appendix D.

use x86::GuestPhysAddr;

use super::IOAPIC_ID;
use super::madt::{AS_THE_BUS, LEVEL_HIGH, PIT_GSI};
use super::table::{OEM_ID, checksum};
use crate::memory_map::{IOAPIC_BASE, LAPIC_BASE};
use devices::acpi_pm::SCI_IRQ;

/// Where the floating pointer lies: in the part of the firmware area that systems search, F0000h to FFFFFh.
pub(super) const POINTER: GuestPhysAddr = GuestPhysAddr(0xf_0000);

const SPECIFICATION: u8 = 4;
const HEADER_LEN: usize = 44;
/// An integrated local APIC.
const LAPIC_VERSION: u8 = 0x14;
/// An I/O APIC with an EOI register.
const IOAPIC_VERSION: u8 = 0x20;
const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
const ALL: u8 = 0xff;
/// Interrupt types.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

/// The MP floating pointer to the configuration table.
pub(super) fn pointer(configuration: u32) -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(configuration.to_le_bytes());
    // One paragraph long; checksum; a configuration table is there; virtual wire mode.
    bytes.extend([1, SPECIFICATION, 0, 0, 0, 0, 0, 0]);
    bytes[10] = checksum(&bytes);
    bytes
}

/// The MP configuration table.
pub(super) fn configuration(vcpus: u8) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = (0..vcpus)
        .map(processor)
        .chain([bus(PCI_BUS, b"PCI   "), bus(ISA_BUS, b"ISA   "), ioapic()])
        .chain((0..16).filter(|&irq| irq != 2).map(isa_interrupt))
        .chain([local_interrupt(EXT_INT, 0), local_interrupt(NMI, 1)])
        .collect();
    let entry_count = entries.len() as u16;
    let entries = entries.concat();

    let mut bytes = b"PCMP".to_vec();
    bytes.extend(((HEADER_LEN + entries.len()) as u16).to_le_bytes());
    bytes.extend([SPECIFICATION, 0]);
    bytes.extend(OEM_ID);
    bytes.extend(b"  VISOR PC    ");
    // No OEM table.
    bytes.extend([0; 6]);
    bytes.extend(entry_count.to_le_bytes());
    bytes.extend((LAPIC_BASE as u32).to_le_bytes());
    // No extended entries.
    bytes.extend([0; 4]);
    assert_eq!(bytes.len(), HEADER_LEN);
    bytes.extend(entries);
    bytes[7] = checksum(&bytes);
    bytes
}

fn processor(id: u8) -> Vec<u8> {
    /// Family 6; the stepping is CPUID's to say.
    const SIGNATURE: u32 = 0x600;
    /// FPU and APIC.
    const FEATURES: u32 = 1 << 0 | 1 << 9;
    let enabled_bootstrap = if id == 0 { 0b11 } else { 0b01 };
    let mut bytes = vec![0, id, LAPIC_VERSION, enabled_bootstrap];
    bytes.extend(SIGNATURE.to_le_bytes());
    bytes.extend(FEATURES.to_le_bytes());
    bytes.extend([0; 8]);
    bytes
}

fn bus(id: u8, name: &[u8; 6]) -> Vec<u8> {
    [&[1, id], &name[..]].concat()
}

fn ioapic() -> Vec<u8> {
    [&[2, IOAPIC_ID, IOAPIC_VERSION, 1], &(IOAPIC_BASE as u32).to_le_bytes()[..]].concat()
}

fn isa_interrupt(irq: u8) -> Vec<u8> {
    let input = if irq == 0 { PIT_GSI } else { irq };
    let [flags, _] = if irq == SCI_IRQ.0 { LEVEL_HIGH } else { AS_THE_BUS }.to_le_bytes();
    vec![3, INT, flags, 0, ISA_BUS, irq, IOAPIC_ID, input]
}

fn local_interrupt(kind: u8, lint: u8) -> Vec<u8> {
    vec![4, kind, 0, 0, ISA_BUS, 0, ALL, lint]
}
