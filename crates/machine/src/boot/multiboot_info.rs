//! What a multiboot kernel is told: command line, modules and memory map.
//!
//! Source: Multiboot Specification 0.6.96, section 3.3.

use x86::GuestPhysAddr;

use super::bytes::KernelFile;
use super::placement::Placement;
use super::tables::PREFERRED_INFO;
use super::{BootError, BootRequest, GuestRamWriter, c_string};
use crate::memory_map::{CONVENTIONAL_END, EXTENDED_START, MemoryLayout, PAGE_BYTES};

/// Bytes of the information structure, up to the framebuffer fields (which stay zero).
const INFO_LEN: usize = 116;
const MODULE_LEN: usize = 16;
const MAP_ENTRY_LEN: usize = 24;
/// Set in `flags`: memory sizes, command line, modules, memory map, boot loader name.
const FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
const LOADER_NAME: &[u8] = b"chronovisor\0";
/// The specification sets no bound; this one leaves conventional memory to the kernel.
const COMMAND_LINE_MAX: usize = 0xffff;

/// A module in RAM.
struct Module {
    start: u64,
    end: u64,
}

/// Puts the modules and the information structure into RAM; returns the latter's address.
pub(super) fn write(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    request: &BootRequest,
) -> Result<u64, BootError> {
    // The first word is the kernel's name, as boot loaders of this kind have it.
    let command_line = match request.command_line {
        "" => request.kernel_path.to_owned(),
        arguments => format!("{} {arguments}", request.kernel_path),
    };
    let command_line = c_string(kernel, &command_line, COMMAND_LINE_MAX)?;
    let modules = load_modules(ram, placement, request)?;
    let names: Vec<Vec<u8>> = request.initrds.iter().map(|initrd| [initrd.name.as_bytes(), b"\0"].concat()).collect();
    let map = memory_map(ram.layout());

    let tables_len = INFO_LEN + MODULE_LEN * modules.len() + map.len();
    let strings_len = command_line.len() + LOADER_NAME.len() + names.iter().map(Vec::len).sum::<usize>();
    let info = placement.place(PREFERRED_INFO, (tables_len + strings_len) as u64, "multiboot information")?;
    let modules_at = info as u32 + INFO_LEN as u32;
    let map_at = modules_at + (MODULE_LEN * modules.len()) as u32;
    let command_line_at = map_at + map.len() as u32;
    let loader_name_at = command_line_at + command_line.len() as u32;

    let mut bytes = vec![0; INFO_LEN];
    let mut put = |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    put(0, FLAGS);
    put(4, (CONVENTIONAL_END >> 10) as u32);
    put(8, ((ram.layout().low_end() - EXTENDED_START) >> 10) as u32);
    put(16, command_line_at);
    put(20, modules.len() as u32);
    put(24, modules_at);
    put(44, map.len() as u32);
    put(48, map_at);
    put(64, loader_name_at);
    let mut name_at = loader_name_at + LOADER_NAME.len() as u32;
    for (module, name) in modules.iter().zip(&names) {
        for field in [module.start as u32, module.end as u32, name_at, 0] {
            bytes.extend(field.to_le_bytes());
        }
        name_at += name.len() as u32;
    }
    bytes.extend(map);
    bytes.extend(command_line);
    bytes.extend(LOADER_NAME);
    bytes.extend(names.concat());
    assert_eq!(bytes.len(), tables_len + strings_len, "the parts were counted above");
    ram.write(GuestPhysAddr(info), &bytes)?;
    Ok(info)
}

/// Puts each initrd at the next free page above the kernel.
fn load_modules(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    request: &BootRequest,
) -> Result<Vec<Module>, BootError> {
    let mut modules = Vec::new();
    for initrd in request.initrds {
        let len = initrd.content.len() as u64;
        let start = placement.place(placement.extended_top().next_multiple_of(PAGE_BYTES), len, "initrd")?;
        ram.write(GuestPhysAddr(start), initrd.content)?;
        modules.push(Module { start, end: start + len });
    }
    Ok(modules)
}

/// Entries of 20 bytes, each after its length.
fn memory_map(layout: MemoryLayout) -> Vec<u8> {
    let mut bytes = Vec::new();
    for range in layout.map() {
        bytes.extend((MAP_ENTRY_LEN as u32 - 4).to_le_bytes());
        bytes.extend(range.start.0.to_le_bytes());
        bytes.extend(range.len_bytes.to_le_bytes());
        bytes.extend((range.kind as u32).to_le_bytes());
    }
    bytes
}
