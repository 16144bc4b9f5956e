//! Guest RAM: one memory file, mapped once for as long as the machine lives.
//!
//! Everything else reaches RAM through a pointer to this mapping (the CPU's memory view) or through the
//! bounded copies here. Offsets count from the start of the mapping; [`MemoryLayout`] turns guest-physical
//! addresses into them.
#![allow(unsafe_code)]

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom, fallocate, ftruncate, memfd_create, seek};
use rustix::io::{Errno, fcntl_dupfd_cloexec, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::memory_map::{MemoryLayout, PAGE_BYTES, RamSizeError};

/// Why guest RAM could not be had or reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RamError {
    /// The size is not one that a machine can have.
    #[error(transparent)]
    Size(#[from] RamSizeError),
    /// The host refused memory.
    #[error(
        "the host refused {len_bytes} bytes of memory for guest RAM ({step}: {errno}); give the machine less RAM or free memory on the host"
    )]
    Host {
        /// What was asked of the host.
        step: &'static str,
        /// How much RAM was wanted.
        len_bytes: u64,
        /// The host's answer.
        errno: rustix::io::Errno,
    },
    /// A copy would have left the mapping.
    #[error("guest RAM offset {offset:#x} with {len} bytes lies outside of the {ram_len}-byte mapping")]
    OutOfBounds {
        /// First byte of the copy, as an offset in the mapping.
        offset: u64,
        /// Bytes to copy.
        len: usize,
        /// Length of the mapping.
        ram_len: usize,
    },
}

/// All RAM of one machine, mapped into this process. It starts as zeros and takes host memory as it is written.
pub struct RamMapping {
    file: OwnedFd,
    start: NonNull<u8>,
    layout: MemoryLayout,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for RamMapping {}

impl RamMapping {
    /// Makes `len_bytes` of zeroed RAM: whole pages, 1 MiB to 64 GiB.
    pub fn new(len_bytes: u64) -> Result<Self, RamError> {
        let layout = MemoryLayout::new(len_bytes)?;
        let host = |step| move |errno| RamError::Host { step, len_bytes, errno };
        let file = memfd_create("guest-ram", MemfdFlags::CLOEXEC).map_err(host("memfd_create"))?;
        ftruncate(&file, len_bytes).map_err(host("ftruncate"))?;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no memory in use.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len_bytes as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                &file,
                0,
            )
        }
        .map_err(host("mmap"))?;
        let start = NonNull::new(start.cast()).expect("mmap never maps page zero unasked");
        Ok(Self { file, start, layout })
    }

    /// The first byte of the mapping. Valid for [`Self::len`] bytes while this value lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Length of the mapping in bytes; never zero.
    #[allow(clippy::len_without_is_empty)] // there is no machine without RAM
    pub fn len(&self) -> usize {
        self.layout.len_bytes() as usize
    }

    /// Where the RAM lies in guest-physical memory.
    pub fn layout(&self) -> MemoryLayout {
        self.layout
    }

    /// Copies RAM from `offset` on into `to`.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), RamError> {
        let from = self.bounded(offset, to.len())?;
        // SAFETY: `bounded` has checked that the source lies inside the mapping, and no slice of Rust's
        // ever refers to the mapping, so `to` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies `from` into RAM at `offset`.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), RamError> {
        let to = self.bounded(offset, from.len())?;
        // SAFETY: as in `read`, with the directions exchanged; `&mut self` keeps other copies out.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Makes all RAM zero again and gives its memory back to the host.
    pub fn clear(&mut self) -> Result<(), RamError> {
        let len_bytes = self.layout.len_bytes();
        fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, len_bytes)
            .map_err(|errno| RamError::Host { step: "fallocate", len_bytes, errno })
    }

    /// The parts of RAM that take host memory, as ascending ranges of offsets. What lies outside of
    /// them is zero, and stays free of cost as long as nobody reads it.
    pub fn populated(&self) -> Result<Vec<Range<u64>>, RamError> {
        let len_bytes = self.layout.len_bytes();
        let host = |errno| RamError::Host { step: "lseek", len_bytes, errno };
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < len_bytes {
            let start = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(host(errno)),
            };
            at = seek(&self.file, SeekFrom::Hole(start)).map_err(host)?;
            ranges.push(start..at);
        }
        Ok(ranges)
    }

    /// Something to write whole pages with, from several threads.
    pub fn writer(&mut self) -> RamWriter<'_> {
        RamWriter { file: self.file.as_fd(), len_bytes: self.layout.len_bytes() }
    }

    /// The memory file, for a reader on its own.
    pub fn file(&self) -> Result<OwnedFd, RamError> {
        let refused = |errno| RamError::Host { step: "fcntl", len_bytes: self.layout.len_bytes(), errno };
        fcntl_dupfd_cloexec(&self.file, 0).map_err(refused)
    }

    fn bounded(&self, offset: u64, len: usize) -> Result<*mut u8, RamError> {
        let ram_len = self.len();
        match offset.checked_add(len as u64) {
            // SAFETY: `offset` is at most the length of the mapping, so the pointer stays inside or one past it.
            Some(end) if end <= ram_len as u64 => Ok(unsafe { self.as_ptr().add(offset as usize) }),
            _ => Err(RamError::OutOfBounds { offset, len, ram_len }),
        }
    }
}

/// Writes whole pages of RAM through the memory file: what was never written takes memory without being cleared or mapped first.
#[derive(Clone, Copy, Debug)]
pub struct RamWriter<'a> {
    file: BorrowedFd<'a>,
    len_bytes: u64,
}

impl RamWriter<'_> {
    /// Copies `from` into RAM from the page with index `first` on. Two threads must not write the same page.
    pub fn write(&self, first: u64, from: &[u8]) -> Result<(), RamError> {
        let ram_len = self.len_bytes as usize;
        let offset = first.saturating_mul(PAGE_BYTES);
        if offset.checked_add(from.len() as u64).is_none_or(|end| end > self.len_bytes) {
            return Err(RamError::OutOfBounds { offset, len: from.len(), ram_len });
        }
        let mut done = 0;
        while done < from.len() {
            match pwrite(self.file, &from[done..], offset + done as u64) {
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(RamError::Host { step: "pwrite", len_bytes: self.len_bytes, errno }),
            }
        }
        Ok(())
    }
}

impl AsFd for RamMapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for RamMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length and nothing can refer to it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len()) };
        assert!(unmapped.is_ok(), "unmapping a mapping of our own cannot fail: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_inside() {
        let mut ram = RamMapping::new(1 << 20).expect("1 MiB of RAM");
        assert_eq!(ram.len(), 1 << 20);
        ram.write((1 << 20) - 3, b"abc").expect("the last bytes");
        let mut back = [0; 3];
        ram.read((1 << 20) - 3, &mut back).expect("the last bytes");
        assert_eq!(&back, b"abc");
        assert!(ram.write((1 << 20) - 2, b"abc").is_err());
        assert!(ram.read(u64::MAX, &mut back).is_err());
        assert!(ram.write(1 << 20, b"").is_ok());
        ram.clear().expect("punching a hole");
        ram.read((1 << 20) - 3, &mut back).expect("the last bytes");
        assert_eq!(back, [0; 3]);
    }

    #[test]
    fn pages_are_written_beside_the_mapping() {
        let mut ram = RamMapping::new(1 << 20).expect("1 MiB of RAM");
        ram.writer().write(255, &[7; 4096]).expect("the last page");
        assert!(ram.writer().write(255, &[7; 4097]).is_err() && ram.writer().write(u64::MAX, &[7]).is_err());
        let mut back = [0; 2];
        ram.read((1 << 20) - 4097, &mut back).expect("within RAM");
        assert_eq!(back, [0, 7]);
    }

    #[test]
    fn large_ram_takes_no_memory_before_use() {
        let mut ram = RamMapping::new(64 << 30).expect("64 GiB of address space");
        assert_eq!(ram.populated(), Ok(vec![]));
        ram.write((64 << 30) - 1, b"x").expect("the last byte");
        ram.write(4096, b"x").expect("the second page");
        assert_eq!(ram.populated(), Ok(vec![4096..8192, (64 << 30) - 4096..64 << 30]));
        assert!(matches!(RamMapping::new(4095), Err(RamError::Size(_))));
    }
}
