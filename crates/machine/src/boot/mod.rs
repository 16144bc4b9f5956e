//! Boot protocols: put a kernel with its command line and initrd into RAM, and say in which state the
//! first vCPU starts.
//!
//! [`load`] recognises the kernel by its content and hands it to one loader: [`bzimage`], [`multiboot`],
//! [`pvh`] or [`vmlinux`]. A loader takes its addresses from one [`placement::Placement`], so that nothing
//! overlaps, and reads the file through [`bytes::KernelFile`], so that no file can make it panic.

mod bios_area;
mod boot_params;
mod bytes;
mod bzimage;
mod error;
mod placement;
mod state;
mod tables;

pub use error::BootError;
pub use state::{ATTR_CODE32, ATTR_CODE64, ATTR_DATA32, ATTR_TSS_BUSY, BootMode, BootSegment, BootState, BootTable};

use bytes::KernelFile;
use placement::Placement;
use x86::GuestPhysAddr;

use crate::memory_map::MemoryLayout;
use crate::ram::RamMapping;

/// What a machine is to start.
#[derive(Clone, Copy, Debug)]
pub struct BootRequest<'a> {
    /// The kernel's name, for errors and for multiboot's command line.
    pub kernel_path: &'a str,
    /// The kernel file.
    pub kernel: &'a [u8],
    /// Initial RAM disks: joined for Linux and PVH, one module each for multiboot.
    pub initrds: &'a [&'a [u8]],
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
    if request.command_line.contains('\0') {
        return Err(BootError::CommandLineNul);
    }
    if let Some(empty) = request.initrds.iter().position(|initrd| initrd.is_empty()) {
        return Err(BootError::EmptyInitrd { number: empty + 1 });
    }
    let kernel = KernelFile { path: request.kernel_path, bytes: request.kernel };
    let mut placement = Placement::new(ram.layout());
    let state = if bzimage::recognises(&kernel) {
        bzimage::load(ram, &mut placement, &kernel, request)?
    } else {
        return Err(BootError::UnknownFormat { kernel: request.kernel_path.into() });
    };
    bios_area::write(ram, &mut placement)?;
    Ok(state)
}

/// The initrds one after the other, each but the last filled up to four bytes, as the kernel's unpacker wants it.
fn joined_initrds(initrds: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for initrd in initrds {
        joined.resize(joined.len().next_multiple_of(4), 0);
        joined.extend_from_slice(initrd);
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
