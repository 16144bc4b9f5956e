//! Boot protocols: put a kernel with its command line and initrd into RAM, and say in which state the
//! first vCPU starts.
//!
//! [`load`] recognises the kernel by its content and hands it to one loader: `bzimage`, `multiboot`,
//! `pvh` or `vmlinux`. A loader takes its addresses from one `Placement`, so that nothing
//! overlaps, and reads the file through `KernelFile`, so that no file can make it panic.

mod bios_area;
mod boot_params;
mod bytes;
mod bzimage;
mod elf;
mod error;
mod multiboot;
mod multiboot_info;
mod placement;
mod pvh;
mod real_mode;
mod state;
mod tables;
mod vmlinux;

pub use error::BootError;
pub use state::{ATTR_CODE32, ATTR_CODE64, ATTR_DATA32, ATTR_TSS_BUSY, BootMode, BootSegment, BootState, BootTable};

use bytes::KernelFile;
use elf::Elf;
use placement::Placement;
use x86::GuestPhysAddr;

use crate::memory_map::MemoryLayout;
use crate::ram::RamMapping;

/// One initial RAM disk.
#[derive(Clone, Copy, Debug)]
pub struct Initrd<'a> {
    /// Its name, which multiboot kernels are told.
    pub name: &'a str,
    /// The file.
    pub content: &'a [u8],
}

/// What a machine is to start.
#[derive(Clone, Copy, Debug)]
pub struct BootRequest<'a> {
    /// The kernel's name, for errors and for multiboot's command line.
    pub kernel_path: &'a str,
    /// The kernel file.
    pub kernel: &'a [u8],
    /// Initial RAM disks: joined for Linux and PVH, one module each for multiboot.
    pub initrds: &'a [Initrd<'a>],
    /// The kernel command line.
    pub command_line: &'a str,
    /// Where the ACPI tables start, if there are any ([`crate::acpi`] has put them there).
    pub rsdp: Option<GuestPhysAddr>,
}

/// RAM as the loaders see it: a place to write to.
pub trait GuestRamWriter {
    /// How the RAM is laid out.
    fn layout(&self) -> MemoryLayout;

    /// Writes `bytes` at `at`. [`BootError::WriteOutsideRam`] if not all of it is contiguous RAM.
    fn write(&mut self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), BootError>;

    /// Writes `len_bytes` zeros at `at`, with the same error.
    fn zero(&mut self, at: GuestPhysAddr, len_bytes: u64) -> Result<(), BootError> {
        const ZEROS: &[u8] = &[0; 0x1_0000];
        let mut done = 0;
        while done < len_bytes {
            let step = (len_bytes - done).min(ZEROS.len() as u64);
            let next = at.0.wrapping_add(done);
            self.write(GuestPhysAddr(next), &ZEROS[..step as usize])?;
            done += step;
        }
        Ok(())
    }
}

impl GuestRamWriter for RamMapping {
    fn layout(&self) -> MemoryLayout {
        RamMapping::layout(self)
    }

    fn write(&mut self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), BootError> {
        let offset = RamMapping::layout(self)
            .offset_of(at, bytes.len() as u64)
            .ok_or(BootError::WriteOutsideRam { at, len: bytes.len() })?;
        Ok(RamMapping::write(self, offset, bytes)?)
    }
}

/// Puts the kernel of `request` and all it needs into `ram`, and returns the state to enter it with.
///
/// RAM beside what the loaders write keeps its content.
pub fn load(ram: &mut dyn GuestRamWriter, request: &BootRequest) -> Result<BootState, BootError> {
    check(request)?;
    let kernel = KernelFile { path: request.kernel_path, bytes: request.kernel };
    let mut placement = Placement::new(ram.layout());
    let state = load_kernel(ram, &mut placement, &kernel, request)?;
    if ram.layout().offset_of(GuestPhysAddr(state.rip), 1).is_none() {
        let (start, end) = (state.rip, state.rip.saturating_add(1));
        return Err(BootError::NotRam { kernel: kernel.path.into(), what: "entry point", start, end });
    }
    bios_area::write(ram, &mut placement)?;
    real_mode::write(ram, &mut placement)?;
    Ok(state)
}

/// Recognises the kernel and calls its loader.
fn load_kernel(
    ram: &mut dyn GuestRamWriter,
    placement: &mut Placement,
    kernel: &KernelFile,
    request: &BootRequest,
) -> Result<BootState, BootError> {
    if bzimage::recognises(kernel) {
        return bzimage::load(ram, placement, kernel, request);
    }
    if let Some(header) = multiboot::recognises(kernel) {
        return multiboot::load(ram, placement, kernel, header, request);
    }
    if !elf::recognises(kernel) {
        return Err(BootError::UnknownFormat { kernel: kernel.path.into() });
    }
    let elf = Elf::read(*kernel)?;
    match pvh::entry(kernel, &elf)? {
        Some(entry) => pvh::load(ram, placement, kernel, &elf, entry, request),
        None => vmlinux::load(ram, placement, kernel, &elf, request),
    }
}

/// Refuses what no loader could hand over.
fn check(request: &BootRequest) -> Result<(), BootError> {
    let names = request.initrds.iter().map(|initrd| initrd.name);
    if [request.command_line, request.kernel_path].into_iter().chain(names).any(|text| text.contains('\0')) {
        return Err(BootError::CommandLineNul);
    }
    match request.initrds.iter().find(|initrd| initrd.content.is_empty()) {
        Some(initrd) => Err(BootError::EmptyInitrd { name: initrd.name.into() }),
        None => Ok(()),
    }
}

/// The initrds one after the other, each but the last filled up to four bytes, as the kernel's unpacker wants it.
fn joined_initrds(initrds: &[Initrd]) -> Vec<u8> {
    let mut joined = Vec::new();
    for initrd in initrds {
        joined.resize(joined.len().next_multiple_of(4), 0);
        joined.extend_from_slice(initrd.content);
    }
    joined
}

/// The command line as a C string, if the kernel takes that many bytes.
fn c_string(kernel: &KernelFile, text: &str, max: usize) -> Result<Vec<u8>, BootError> {
    if text.len() > max {
        return Err(BootError::CommandLineTooLong { kernel: kernel.path.into(), len: text.len(), max });
    }
    Ok([text.as_bytes(), b"\0"].concat())
}

#[cfg(test)]
mod tests;
