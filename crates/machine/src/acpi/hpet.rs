//! The HPET's table (IA-PC HPET Specification 1.0a, section 3.2.4).

use super::table::{Register, Table};
use crate::memory_map::HPET_BASE;

/// The lower half of the HPET's capabilities register: Intel, three comparators, 64-bit counter, legacy
/// replacement routing, revision 1.
pub const HPET_BLOCK_ID: u32 = 0x8086_a201;

/// Least ticks between periodic interrupts.
const MIN_TICK: u16 = 0x80;

pub(super) fn build() -> Vec<u8> {
    Table::new(*b"HPET", 1).u32(HPET_BLOCK_ID).register(Register::memory(HPET_BASE)).u8(0).u16(MIN_TICK).u8(0).finish()
}
