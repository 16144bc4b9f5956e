//! A 64-bit ELF vmlinux: entered like the kernel inside a bzImage, with the same `boot_params`.

use super::boot_params::{self, Parameters};
use super::bytes::KernelFile;
use super::elf::Elf;
use super::placement::Placement;
use super::state::BootState;
use super::tables::{self, GdtKind};
use super::{BootError, BootRequest, GuestRamWriter, c_string, joined_initrds};

/// COMMAND_LINE_SIZE of Linux on x86, without the NUL.
pub(super) const COMMAND_LINE_MAX: usize = 2047;
/// What Linux says in the setup header of its own bzImage.
const INITRD_MAX: u64 = 0x7fff_ffff;

/// Loads the kernel.
pub(super) fn load(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    elf: &Elf,
    request: &BootRequest,
) -> Result<BootState, BootError> {
    if !elf.is_x86_64 {
        return Err(kernel.bad(
            "a 64-bit ELF kernel",
            "it is 32-bit, without a multiboot header or PVH note; give the bzImage of this kernel, or one built with CONFIG_PVH",
        ));
    }
    let command_line = c_string(kernel, request.command_line, COMMAND_LINE_MAX)?;
    elf.load(ram, placement)?;
    let entry = elf.physical_entry();
    let initrd = joined_initrds(request.initrds);
    let parameters = Parameters {
        setup_header: &[],
        kernel_start: entry,
        initrd_max: INITRD_MAX,
        initrd: &initrd,
        command_line: &command_line,
        rsdp: request.rsdp,
    };
    let info = boot_params::write(ram, placement, &parameters)?;
    let entry = tables::entry(ram, placement, GdtKind::Linux64, entry)?;
    let state = BootState::long64(entry, tables::identity_pages(ram, placement)?);
    Ok(BootState { rsi: info, ..state })
}
