//! Linux's `boot_params` (the "zero page"): what the kernel is told of the machine.
//!
//! Source: the kernel's Documentation/arch/x86/boot.rst and zero-page.rst.

use x86::GuestPhysAddr;

use super::placement::Placement;
use super::tables::{PREFERRED_COMMAND_LINE, PREFERRED_INFO};
use super::{BootError, GuestRamWriter};
use crate::memory_map::{EXTENDED_START, MemoryLayout};

/// Bytes of `boot_params`.
pub(super) const LEN: usize = 4096;
/// Offset of the setup header, in the kernel file as well as here.
pub(super) const SETUP_HEADER: usize = 0x1f1;
/// End of the room for the setup header.
const SETUP_HEADER_END: usize = 0x290;

const ACPI_RSDP_ADDR: usize = 0x070;
const ALT_MEM_K: usize = 0x1e0;
const E820_ENTRIES: usize = 0x1e8;
const VID_MODE: usize = 0x1fa;
const BOOT_FLAG: usize = 0x1fe;
const HEADER_MAGIC: usize = 0x202;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const CODE32_START: usize = 0x214;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const E820_TABLE: usize = 0x2d0;

/// Loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
const LOADED_HIGH: u8 = 1 << 0;
/// VGA mode "normal": the kernel leaves the display alone.
const VID_MODE_NORMAL: u16 = 0xffff;

/// What the loaders found out, for the kernel.
pub(super) struct Parameters<'a> {
    /// The setup header of the file from [`SETUP_HEADER`] on; empty for a vmlinux, which has none.
    pub setup_header: &'a [u8],
    /// Where the kernel was loaded.
    pub kernel_start: u64,
    /// Highest address that the initrd may reach (inclusive).
    pub initrd_max: u64,
    /// The initrd; may be empty.
    pub initrd: &'a [u8],
    /// The command line with its NUL.
    pub command_line: &'a [u8],
    /// Where the ACPI tables start.
    pub rsdp: Option<GuestPhysAddr>,
}

/// Writes command line, initrd and `boot_params` to RAM; returns the address of the latter.
pub(super) fn write(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    parameters: &Parameters,
) -> Result<u64, BootError> {
    let info = placement.place(PREFERRED_INFO, LEN as u64, "boot parameters")?;
    let command_line = parameters.command_line;
    let command_line_at = placement.place(PREFERRED_COMMAND_LINE, command_line.len() as u64, "kernel command line")?;
    ram.write(GuestPhysAddr(command_line_at), command_line)?;
    let initrd_len = parameters.initrd.len() as u64;
    let initrd_at = if initrd_len == 0 {
        0
    } else {
        placement.place_top(parameters.initrd_max.saturating_add(1), initrd_len, "initrd")?
    };
    ram.write(GuestPhysAddr(initrd_at), parameters.initrd)?;

    let mut page = [0; LEN];
    let header_len = parameters.setup_header.len().min(SETUP_HEADER_END - SETUP_HEADER);
    page[SETUP_HEADER..SETUP_HEADER + header_len].copy_from_slice(&parameters.setup_header[..header_len]);
    put(&mut page, BOOT_FLAG, 0xaa55_u16.to_le_bytes());
    put(&mut page, HEADER_MAGIC, *b"HdrS");
    put(&mut page, VID_MODE, VID_MODE_NORMAL.to_le_bytes());
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED;
    page[LOADFLAGS] |= LOADED_HIGH;
    // All of these lie in low RAM: they have 32 bits.
    put(&mut page, CODE32_START, (parameters.kernel_start as u32).to_le_bytes());
    put(&mut page, RAMDISK_IMAGE, (initrd_at as u32).to_le_bytes());
    put(&mut page, RAMDISK_SIZE, (initrd_len as u32).to_le_bytes());
    put(&mut page, CMD_LINE_PTR, (command_line_at as u32).to_le_bytes());
    put(&mut page, ACPI_RSDP_ADDR, parameters.rsdp.map_or(0, |rsdp| rsdp.0).to_le_bytes());
    put_memory_map(&mut page, ram.layout());
    ram.write(GuestPhysAddr(info), &page)?;
    Ok(info)
}

fn put_memory_map(page: &mut [u8; LEN], layout: MemoryLayout) {
    let extended_kib = (layout.low_end() - EXTENDED_START) >> 10;
    put(page, ALT_MEM_K, (extended_kib as u32).to_le_bytes());
    let map = layout.map();
    page[E820_ENTRIES] = map.len() as u8;
    for (i, range) in map.iter().enumerate() {
        let at = E820_TABLE + 20 * i;
        put(page, at, range.start.0.to_le_bytes());
        put(page, at + 8, range.len_bytes.to_le_bytes());
        put(page, at + 16, (range.kind as u32).to_le_bytes());
    }
}

fn put<const N: usize>(page: &mut [u8; LEN], at: usize, bytes: [u8; N]) {
    page[at..at + N].copy_from_slice(&bytes);
}
