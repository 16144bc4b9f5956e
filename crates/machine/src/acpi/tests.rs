//! The tables as a system finds them: by address, with right lengths and sums.

use super::*;
use crate::ram::RamMapping;

/// Length of the header that all tables have (ACPI 6.5, table 5.4).
const TABLE_HEADER_LEN: usize = 36;

/// The firmware area of a machine with `vcpus` vCPUs.
fn firmware(vcpus: u8) -> Vec<u8> {
    let mut ram = RamMapping::new(1 << 20).expect("RAM for a test");
    assert_eq!(load(&mut ram, vcpus), Ok(GuestPhysAddr(FIRMWARE_START)));
    let mut area = vec![0; (EXTENDED_START - FIRMWARE_START) as usize];
    ram.read(FIRMWARE_START, &mut area).expect("RAM");
    area
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The table at a guest-physical address; its sum is checked.
fn table(area: &[u8], at: u32) -> &[u8] {
    let rest = &area[(u64::from(at) - FIRMWARE_START) as usize..];
    let table = &rest[..u32_at(rest, 4) as usize];
    assert_eq!(table::checksum(table), 0);
    table
}

/// The table with `signature` among those of the RSDT.
fn listed<'a>(area: &'a [u8], signature: &[u8; 4]) -> &'a [u8] {
    let rsdt = table(area, u32_at(area, 16));
    let tables = rsdt[TABLE_HEADER_LEN..].chunks(4).map(|entry| table(area, u32_at(entry, 0)));
    tables.into_iter().find(|table| table.starts_with(signature)).expect("a listed table")
}

#[test]
fn all_tables_are_found_from_the_rsdp() {
    let area = firmware(8);
    assert_eq!(&area[..8], b"RSD PTR ");
    assert_eq!((table::checksum(&area[..20]), table::checksum(&area[..36]), area[15]), (0, 0, 2));
    let rsdt = table(&area, u32_at(&area, 16));
    let xsdt = table(&area, u32_at(&area, 24));
    let wide: Vec<u8> = rsdt[36..].chunks(4).flat_map(|entry| [entry, &[0; 4]].concat()).collect();
    assert_eq!(&xsdt[36..], wide);
    assert_eq!(rsdt.len(), 36 + 4 * 4);
}

#[test]
fn the_fadt_names_facs_and_dsdt() {
    let area = firmware(1);
    let fadt = listed(&area, b"FACP");
    assert_eq!(fadt.len(), 276);
    let facs = u32_at(fadt, 36);
    assert_eq!(facs % 64, 0);
    let facs = &area[(u64::from(facs) - FIRMWARE_START) as usize..];
    assert_eq!((&facs[..4], u32_at(facs, 4)), (&b"FACS"[..], 64));
    let dsdt = table(&area, u32_at(fadt, 40));
    assert!(dsdt.starts_with(b"DSDT"));
    assert_eq!(u32_at(fadt, 140), u32_at(fadt, 40), "both addresses of the DSDT");
    assert_eq!((u32_at(fadt, 56), u32_at(fadt, 64), u32_at(fadt, 76)), (0x600, 0x604, 0x608));
    assert_eq!((u32_at(fadt, 48), fadt[52], fadt[53]), (0xb2, 2, 3));
    assert_eq!((fadt[116], fadt[117], u32_at(fadt, 120), fadt[128]), (1, 8, 0xcf9, 6));
    assert_eq!(u32_at(fadt, 152), 0x600, "the generic address of the PM1a event block");
}

#[test]
fn power_off_is_where_simple_systems_look() {
    let area = firmware(1);
    let dsdt = table(&area, u32_at(listed(&area, b"FACP"), 40));
    let name = dsdt.windows(4).position(|name| name == b"_S5_").expect("a name");
    assert_eq!(&dsdt[name - 2..name], b"\x08\\");
    // Package, its length in one byte, four elements, the first a byte.
    assert_eq!(&dsdt[name + 4..name + 9], [0x12, 8, 4, 0x0a, 5]);
}

#[test]
fn the_madt_lists_each_vcpu() {
    for vcpus in [1, 8] {
        let madt_area = firmware(vcpus);
        let madt = listed(&madt_area, b"APIC");
        assert_eq!(madt.len(), 44 + 8 * usize::from(vcpus) + 12 + 2 * 10 + 6);
        let mut at = 44;
        let mut kinds = Vec::new();
        while at < madt.len() {
            kinds.push(madt[at]);
            at += usize::from(madt[at + 1]);
        }
        assert_eq!(kinds[usize::from(vcpus)..], [1, 2, 2, 4]);
    }
}

#[test]
fn the_mp_table_is_found_and_sums_up() {
    let area = firmware(4);
    let pointer = &area[0x1_0000..0x1_0010];
    assert_eq!((&pointer[..4], table::checksum(pointer)), (&b"_MP_"[..], 0));
    let config = &area[(u64::from(u32_at(pointer, 4)) - FIRMWARE_START) as usize..];
    let len = usize::from(u16::from_le_bytes([config[4], config[5]]));
    assert_eq!((&config[..4], table::checksum(&config[..len])), (&b"PCMP"[..], 0));
    let count = usize::from(u16::from_le_bytes([config[34], config[35]]));
    let mut at = 44;
    for _ in 0..count {
        at += if config[at] == 0 { 20 } else { 8 };
    }
    assert_eq!(at, len);
}
