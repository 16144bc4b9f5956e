//! The descriptor and page tables that a kernel is entered with.

use x86::GuestPhysAddr;

use super::placement::Placement;
use super::state::{ATTR_CODE32, ATTR_CODE64, ATTR_DATA32, ATTR_TSS_BUSY, BootTable, Entry};
use super::{BootError, GuestRamWriter};

/// Where the tables and structures of the loaders go if the kernel does not lie there itself.
pub(super) const PREFERRED_GDT: u64 = 0x600;
pub(super) const PREFERRED_PAGE_TABLES: u64 = 0x1000;
pub(super) const PREFERRED_STACK: u64 = 0x7000;
/// The boot parameters of Linux, PVH's start info or multiboot's information.
pub(super) const PREFERRED_INFO: u64 = 0x9000;
pub(super) const PREFERRED_COMMAND_LINE: u64 = 0x2_0000;

const PAGE: u64 = 0x1000;
const PRESENT_WRITABLE: u64 = 0x3;
const LARGE: u64 = 0x80;
/// PML4, page-directory-pointer table and four page directories.
const PAGE_TABLES: u64 = 6;

/// Which selectors a protocol wants.
#[derive(Clone, Copy)]
pub(super) enum GdtKind {
    /// Linux, entered in 64-bit mode: code 10h, data 18h (Documentation/arch/x86/boot.rst).
    Linux64,
    /// Linux, entered in 32-bit mode: the same selectors.
    Linux32,
    /// PVH and multiboot ask for flat segments only: code 08h, data 10h.
    Flat32,
}

/// Writes a GDT and makes room for a stack; returns where `rip` will be entered with them.
pub(super) fn entry(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kind: GdtKind,
    rip: u64,
) -> Result<Entry, BootError> {
    let code = match kind {
        GdtKind::Linux64 => descriptor(ATTR_CODE64),
        GdtKind::Linux32 | GdtKind::Flat32 => descriptor(ATTR_CODE32),
    };
    let tss = u64::from(ATTR_TSS_BUSY) << 40 | 0x67;
    let (descriptors, first): (&[u64], u16) = match kind {
        // A 64-bit TSS descriptor has two entries, the second zero here.
        GdtKind::Linux64 | GdtKind::Linux32 => (&[0, 0, code, descriptor(ATTR_DATA32), tss, 0], 0x10),
        GdtKind::Flat32 => (&[0, code, descriptor(ATTR_DATA32), tss], 0x08),
    };
    let bytes: Vec<u8> = descriptors.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let base = placement.place(PREFERRED_GDT, bytes.len() as u64, "descriptor table")?;
    ram.write(GuestPhysAddr(base), &bytes)?;
    let stack = placement.place(PREFERRED_STACK, PAGE, "first stack")?;
    Ok(Entry {
        rip,
        rsp: stack + PAGE,
        gdt: BootTable { base, limit: (bytes.len() - 1) as u16 },
        code_selector: first,
        data_selector: first + 8,
        tss_selector: first + 16,
    })
}

/// A flat descriptor: base 0, limit FFFFFh (times 4 KiB by the attributes' G).
fn descriptor(attributes: u16) -> u64 {
    u64::from(attributes) << 40 | 0xf << 48 | 0xffff
}

/// Writes page tables that map the first 4 GiB to themselves with 2 MiB pages; returns CR3.
pub(super) fn identity_pages(ram: &mut dyn GuestRamWriter, placement: &mut Placement) -> Result<u64, BootError> {
    let pml4 = placement.place(PREFERRED_PAGE_TABLES, PAGE_TABLES * PAGE, "page tables")?;
    let directories = pml4 + 2 * PAGE;
    ram.zero(GuestPhysAddr(pml4), 2 * PAGE)?;
    ram.write(GuestPhysAddr(pml4), &((pml4 + PAGE) | PRESENT_WRITABLE).to_le_bytes())?;
    let pointers: Vec<u8> = (0..4).flat_map(|i| ((directories + i * PAGE) | PRESENT_WRITABLE).to_le_bytes()).collect();
    ram.write(GuestPhysAddr(pml4 + PAGE), &pointers)?;
    let entries: Vec<u8> = (0..4 * 512_u64).flat_map(|i| (i << 21 | LARGE | PRESENT_WRITABLE).to_le_bytes()).collect();
    ram.write(GuestPhysAddr(directories), &entries)?;
    Ok(pml4)
}
