//! RSDP, XSDT and RSDT: the way to all other tables (ACPI 6.5, sections 5.2.5, 5.2.7 and 5.2.8).

use super::table::{OEM_ID, Table, checksum};

/// The pointer to start from, revision 2. Its first 20 bytes have a checksum of their own, for ACPI 1.0 systems.
pub(super) fn rsdp(rsdt: u32, xsdt: u32) -> Vec<u8> {
    const LEN: u8 = 36;
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM_ID);
    bytes.push(2);
    bytes.extend(rsdt.to_le_bytes());
    bytes.extend([LEN, 0, 0, 0]);
    bytes.extend(u64::from(xsdt).to_le_bytes());
    bytes.extend([0; 4]);
    bytes[8] = checksum(&bytes[..20]);
    bytes[32] = checksum(&bytes);
    bytes
}

/// The list of tables, for systems of ACPI 2.0 and later.
pub(super) fn xsdt(tables: &[u32]) -> Vec<u8> {
    tables.iter().fold(Table::new(*b"XSDT", 1), |table, &at| table.u64(at.into())).finish()
}

/// The same list for older systems.
pub(super) fn rsdt(tables: &[u32]) -> Vec<u8> {
    tables.iter().fold(Table::new(*b"RSDT", 1), |table, &at| table.u32(at)).finish()
}
