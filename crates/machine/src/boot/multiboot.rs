//! Multiboot 1: small kernels with a header near the start of the file, entered in 32-bit protected mode.
//!
//! Source: Multiboot Specification 0.6.96, section 3. The kernel is an ELF file (32-bit, or 64-bit with a 32-bit
//! entry point) or any file whose header has the address fields.

use x86::GuestPhysAddr;

use super::bytes::KernelFile;
use super::elf::Elf;
use super::placement::Placement;
use super::state::BootState;
use super::tables::{self, GdtKind};
use super::{BootError, BootRequest, GuestRamWriter, elf, multiboot_info};

const FORMAT: &str = "a multiboot kernel";
const HEADER: &str = "multiboot header";
const HEADER_MAGIC: u32 = 0x1bad_b002;
const LOADER_MAGIC: u64 = 0x2bad_b002;
/// The header lies in this much of the file's start.
const SEARCH_LEN: usize = 8192;
/// Requirements this loader does not know: of the bits a loader must obey it knows page-aligned modules (0, always
/// done), memory information (1, always given) and a video mode (2: there is no display, and none is reported).
const UNKNOWN_REQUIREMENTS: u32 = 0xfff8;
const HAS_ADDRESSES: u32 = 1 << 16;

/// A multiboot header: where it is and its flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    offset: u64,
    flags: u32,
}

/// Finds the multiboot header.
pub(super) fn recognises(kernel: &KernelFile) -> Option<Header> {
    let start = &kernel.bytes[..kernel.bytes.len().min(SEARCH_LEN)];
    let words = start.as_chunks::<4>().0;
    words.windows(3).enumerate().find_map(|(i, window)| {
        let [magic, flags, checksum] = [0, 1, 2].map(|i| u32::from_le_bytes(window[i]));
        let sum = magic.wrapping_add(flags).wrapping_add(checksum);
        (magic == HEADER_MAGIC && sum == 0).then_some(Header { offset: 4 * i as u64, flags })
    })
}

/// Loads the kernel and its modules.
pub(super) fn load(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    header: Header,
    request: &BootRequest,
) -> Result<BootState, BootError> {
    if header.flags & UNKNOWN_REQUIREMENTS != 0 {
        let problem = format!("its header demands features (flags {:#x}) that multiboot 1 does not have", header.flags);
        return Err(kernel.bad(FORMAT, problem));
    }
    let entry = if header.flags & HAS_ADDRESSES != 0 {
        load_by_addresses(ram, placement, kernel, header)?
    } else if elf::recognises(kernel) {
        let elf = Elf::read(*kernel)?;
        elf.load(ram, placement)?;
        elf.physical_entry()
    } else {
        return Err(kernel.bad(FORMAT, "it is no ELF file and its header has no load addresses (flag 16)"));
    };
    if entry > u64::from(u32::MAX) {
        return Err(kernel.bad(FORMAT, format!("its entry point {entry:#x} lies beyond 4 GiB; link it lower")));
    }
    let info = multiboot_info::write(ram, placement, kernel, request)?;
    let entry = tables::entry(ram, placement, GdtKind::Flat32, entry)?;
    Ok(BootState { rax: LOADER_MAGIC, rbx: info, ..BootState::protected32(entry) })
}

/// Loads one stretch of the file to where the header says; returns the entry point.
fn load_by_addresses(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    header: Header,
) -> Result<u64, BootError> {
    let field = |i: u64| kernel.u32(header.offset + 12 + 4 * i, HEADER).map(u64::from);
    let [header_addr, load_addr, load_end, bss_end, entry] = [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
    let before_header = header_addr.checked_sub(load_addr).filter(|&before| before <= header.offset);
    let Some(before_header) = before_header else {
        let problem = "its header lies elsewhere in the file than its load address says; link it anew";
        return Err(kernel.bad(FORMAT, problem));
    };
    let file_offset = header.offset - before_header;
    // Zero means up to the end of the file.
    let len = match load_end {
        0 => kernel.bytes.len() as u64 - file_offset,
        end => end
            .checked_sub(load_addr)
            .ok_or_else(|| kernel.bad(FORMAT, "its load end lies before its load address; link it anew"))?,
    };
    let content = kernel.slice(file_offset, len, "text and data")?;
    let end = (load_addr + len).max(bss_end);
    if !placement.take(load_addr, end - load_addr) {
        return Err(BootError::NotRam { kernel: kernel.path.into(), what: "image", start: load_addr, end });
    }
    ram.write(GuestPhysAddr(load_addr), content)?;
    ram.zero(GuestPhysAddr(load_addr + len), end - load_addr - len)?;
    Ok(entry)
}
