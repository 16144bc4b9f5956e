//! The few words of the BIOS data area that systems read without asking a BIOS: where COM1 and the EBDA
//! are and how much conventional memory there is.

use x86::GuestPhysAddr;

use super::placement::Placement;
use super::{BootError, GuestRamWriter};
use crate::memory_map::CONVENTIONAL_END;

const BDA: u64 = 0x400;
const BDA_LEN: usize = 0x100;
const COM1_PORT: u16 = 0x3f8;

/// Writes the BIOS data area, unless the kernel itself lies there, and the EBDA's size byte.
pub(super) fn write(ram: &mut dyn GuestRamWriter, placement: &mut Placement) -> Result<(), BootError> {
    if !placement.take(BDA, BDA_LEN as u64) {
        return Ok(());
    }
    let mut area = [0; BDA_LEN];
    let mut put = |offset: usize, word: u16| area[offset..offset + 2].copy_from_slice(&word.to_le_bytes());
    put(0x00, COM1_PORT);
    put(0x0e, (CONVENTIONAL_END >> 4) as u16);
    // Equipment: a mathematics coprocessor (bit 1), a PS/2 mouse (bit 2), one serial port (bits 11:9).
    put(0x10, 1 << 1 | 1 << 2 | 1 << 9);
    put(0x13, (CONVENTIONAL_END >> 10) as u16);
    ram.write(GuestPhysAddr(BDA), &area)?;
    // The EBDA begins with its size in KiB.
    ram.write(GuestPhysAddr(CONVENTIONAL_END), &[1])
}
