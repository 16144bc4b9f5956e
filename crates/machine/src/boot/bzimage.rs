//! Linux bzImage: the kernel as distributions ship it, entered at its 64-bit entry point, or at the 32-bit
//! one if it has no other.
//!
//! Source: the kernel's Documentation/arch/x86/boot.rst. The real-mode code at the start of the file is not run;
//! `boot_params` says what it would have found out.

use x86::GuestPhysAddr;

use super::boot_params::{self, Parameters};
use super::bytes::KernelFile;
use super::placement::Placement;
use super::state::BootState;
use super::tables::{self, GdtKind};
use super::{BootError, BootRequest, GuestRamWriter, c_string, joined_initrds};
use crate::memory_map::EXTENDED_START;

const FORMAT: &str = "a Linux bzImage";
const HEADER: &str = "setup header";
/// Header versions whose later fields are read here.
const VERSION_CMDLINE_SIZE: u16 = 0x0206;
const VERSION_INIT_SIZE: u16 = 0x020a;
const VERSION_XLOADFLAGS: u16 = 0x020c;
const LOADED_HIGH: u8 = 1 << 0;
const XLF_KERNEL_64: u16 = 1 << 0;
/// The 64-bit entry point is this far into the protected-mode kernel.
const ENTRY_64_OFFSET: u64 = 0x200;

/// True if the file has a setup header.
pub(super) fn recognises(kernel: &KernelFile) -> bool {
    kernel.slice(0x202, 4, HEADER) == Ok(b"HdrS") && kernel.u16(0x1fe, HEADER) == Ok(0xaa55)
}

/// What the loader needs of the setup header.
struct Header<'a> {
    raw: &'a [u8],
    /// The protected-mode kernel.
    image: &'a [u8],
    command_line_max: usize,
    initrd_max: u64,
    pref_address: u64,
    /// RAM needed from the load address on.
    init_size: u64,
    /// The alignment of other load addresses, if the kernel can be loaded elsewhere.
    relocation_align: Option<u64>,
    is_64_bit: bool,
}

impl<'a> Header<'a> {
    fn read(kernel: &KernelFile<'a>) -> Result<Self, BootError> {
        let version = kernel.u16(0x206, HEADER)?;
        if version < VERSION_CMDLINE_SIZE || kernel.u8(0x211, HEADER)? & LOADED_HIGH == 0 {
            let problem = format!(
                "its boot protocol is {}.{:02} or it is loaded low, but 2.06 loaded high is the oldest supported; use Linux 2.6.22 or newer",
                version >> 8,
                version & 0xff,
            );
            return Err(kernel.bad(FORMAT, problem));
        }
        // Zero setup sectors mean four, for the oldest kernels' sake.
        let setup_sectors = match kernel.u8(0x1f1, HEADER)? {
            0 => 4,
            n => u64::from(n),
        };
        let image_offset = (setup_sectors + 1) * 512;
        let image_len = (kernel.bytes.len() as u64).saturating_sub(image_offset);
        let has_init_size = version >= VERSION_INIT_SIZE;
        let has_flags = version >= VERSION_XLOADFLAGS;
        let relocatable = kernel.u8(0x234, HEADER)? != 0;
        let header = Self {
            raw: kernel.slice(0x1f1, 0x11 + u64::from(kernel.u8(0x201, HEADER)?), HEADER)?,
            image: kernel.slice(image_offset, image_len.max(ENTRY_64_OFFSET + 1), "protected-mode kernel")?,
            command_line_max: kernel.u32(0x238, HEADER)? as usize,
            initrd_max: u64::from(kernel.u32(0x22c, HEADER)?),
            pref_address: if has_init_size { kernel.u64(0x258, HEADER)? } else { EXTENDED_START },
            init_size: if has_init_size { u64::from(kernel.u32(0x260, HEADER)?) } else { 0 }.max(image_len),
            relocation_align: if relocatable { Some(u64::from(kernel.u32(0x230, HEADER)?)) } else { None },
            is_64_bit: has_flags && kernel.u16(0x236, HEADER)? & XLF_KERNEL_64 != 0,
        };
        if header.relocation_align.is_some_and(|align| !align.is_power_of_two()) {
            return Err(
                kernel.bad(FORMAT, "its kernel_alignment is not a power of two; the file is damaged, get it again")
            );
        }
        Ok(header)
    }

    /// Takes the RAM from the preferred address on, or else the lowest that will do; returns the load address.
    fn place(&self, kernel: &KernelFile, placement: &mut Placement) -> Result<u64, BootError> {
        if self.pref_address >= EXTENDED_START && placement.take(self.pref_address, self.init_size) {
            return Ok(self.pref_address);
        }
        let elsewhere = self.relocation_align.and_then(|align| EXTENDED_START.checked_next_multiple_of(align));
        match elsewhere {
            // Wherever it is loaded, the kernel unpacks itself no lower than its preferred address.
            Some(start)
                if placement.take(start, self.init_size.saturating_add(self.pref_address.saturating_sub(start))) =>
            {
                Ok(start)
            }
            _ => Err(BootError::NotRam {
                kernel: kernel.path.into(),
                what: "image with its working memory",
                start: self.pref_address,
                end: self.pref_address.saturating_add(self.init_size),
            }),
        }
    }
}

/// Loads the kernel.
pub(super) fn load(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    request: &BootRequest,
) -> Result<BootState, BootError> {
    let header = Header::read(kernel)?;
    let command_line = c_string(kernel, request.command_line, header.command_line_max)?;
    let start = header.place(kernel, placement)?;
    ram.write(GuestPhysAddr(start), header.image)?;
    let initrd = joined_initrds(request.initrds);
    let parameters = Parameters {
        setup_header: header.raw,
        kernel_start: start,
        initrd_max: header.initrd_max,
        initrd: &initrd,
        command_line: &command_line,
        rsdp: request.rsdp,
    };
    let info = boot_params::write(ram, placement, &parameters)?;
    let state = if header.is_64_bit {
        let entry = tables::entry(ram, placement, GdtKind::Linux64, start + ENTRY_64_OFFSET)?;
        BootState::long64(entry, tables::identity_pages(ram, placement)?)
    } else {
        BootState::protected32(tables::entry(ram, placement, GdtKind::Linux32, start)?)
    };
    Ok(BootState { rsi: info, ..state })
}
