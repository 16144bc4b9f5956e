//! MCFG: where PCI configuration space is mapped to memory (PCI Firmware Specification 3.3, section 4.1.2).

use super::table::Table;
use crate::memory_map::{ECAM_BASE, ECAM_SIZE};

/// Bytes of configuration space of a bus.
const BUS_LEN: u64 = 1 << 20;

pub(super) fn build() -> Vec<u8> {
    let last_bus = (ECAM_SIZE / BUS_LEN - 1) as u8;
    Table::new(*b"MCFG", 1).u64(0).u64(ECAM_BASE).u16(0).u8(0).u8(last_bus).u32(0).finish()
}
