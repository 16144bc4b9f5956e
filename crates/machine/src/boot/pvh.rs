//! PVH: an ELF kernel that names its 32-bit entry point in a note, and takes a `hvm_start_info`.
//!
//! Source: Xen's docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h (the layout, version 1).

use x86::GuestPhysAddr;

use super::bytes::KernelFile;
use super::elf::Elf;
use super::placement::Placement;
use super::state::BootState;
use super::tables::{self, GdtKind, PREFERRED_COMMAND_LINE, PREFERRED_INFO};
use super::{BootError, BootRequest, GuestRamWriter, c_string, joined_initrds, vmlinux};

/// XEN_ELFNOTE_PHYS32_ENTRY.
const NOTE_PHYS32_ENTRY: u32 = 18;
const START_MAGIC: u32 = 0x336e_c578;
const START_VERSION: u32 = 1;
const START_LEN: u64 = 56;
const MODULE_LEN: u64 = 32;
const MAP_ENTRY_LEN: u64 = 24;

/// The entry point in the kernel's note, if it has one.
pub(super) fn entry(kernel: &KernelFile, elf: &Elf) -> Result<Option<u64>, BootError> {
    let Some(content) = elf.note(b"Xen\0", NOTE_PHYS32_ENTRY)? else { return Ok(None) };
    match *content {
        [a, b, c, d] | [a, b, c, d, 0, 0, 0, 0] => Ok(Some(u32::from_le_bytes([a, b, c, d]).into())),
        _ => {
            Err(kernel.bad("a PVH kernel", "its entry note holds no 32-bit address; the file is damaged, get it again"))
        }
    }
}

/// Loads the kernel, to be entered at `entry`.
pub(super) fn load(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    elf: &Elf,
    entry: u64,
    request: &BootRequest,
) -> Result<BootState, BootError> {
    let command_line = c_string(kernel, request.command_line, vmlinux::COMMAND_LINE_MAX)?;
    elf.load(ram, placement)?;
    let command_line_at = placement.place(PREFERRED_COMMAND_LINE, command_line.len() as u64, "kernel command line")?;
    ram.write(GuestPhysAddr(command_line_at), &command_line)?;
    let initrd = joined_initrds(request.initrds);
    let module = if initrd.is_empty() {
        None
    } else {
        let at = placement.place_top(u64::MAX, initrd.len() as u64, "initrd")?;
        ram.write(GuestPhysAddr(at), &initrd)?;
        Some((at, initrd.len() as u64))
    };
    let info = write_start_info(ram, placement, command_line_at, module, request.rsdp)?;
    let entry = tables::entry(ram, placement, GdtKind::Flat32, entry)?;
    Ok(BootState { rbx: info, ..BootState::protected32(entry) })
}

/// Writes `hvm_start_info` with the module list and the memory map after it; returns its address.
fn write_start_info(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    command_line_at: u64,
    module: Option<(u64, u64)>,
    rsdp: Option<GuestPhysAddr>,
) -> Result<u64, BootError> {
    let map = ram.layout().map();
    let len_bytes = START_LEN + MODULE_LEN + MAP_ENTRY_LEN * map.len() as u64;
    let info = placement.place(PREFERRED_INFO, len_bytes, "PVH start info")?;
    let modules_at = info + START_LEN;
    let map_at = modules_at + MODULE_LEN;
    let (module_at, module_len) = module.unwrap_or((0, 0));

    let mut bytes = Vec::new();
    for word in [START_MAGIC, START_VERSION, 0, module.iter().len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    for address in [modules_at, command_line_at, rsdp.map_or(0, |rsdp| rsdp.0), map_at, map.len() as u64] {
        bytes.extend(address.to_le_bytes());
    }
    for field in [module_at, module_len, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    for range in &map {
        for field in [range.start.0, range.len_bytes, range.kind as u64] {
            bytes.extend(field.to_le_bytes());
        }
    }
    assert_eq!(bytes.len() as u64, len_bytes, "the parts were counted above");
    ram.write(GuestPhysAddr(info), &bytes)?;
    Ok(info)
}
