//! Memory for translated code, mapped twice so that no page is ever both writable and executable, and
//! in front of it what code knows of other code ([`crate::known`]).
#![allow(unsafe_code)]

use crate::known::{self, Known, LARGE_PAGE};
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::ffi::c_void;
use std::ptr::null_mut;

/// See the module's text.
pub struct CodeBuffer {
    /// The reservation.
    start: *mut c_void,
    /// In it, at a multiple of [`LARGE_PAGE`]: what code knows of other code, then the executable mapping.
    known: *mut c_void,
    write: *mut c_void,
    /// Bytes of code that fit.
    code_bytes: usize,
    used: u32,
    /// Far links in front of the code.
    far_links: usize,
}

// SAFETY: the mappings belong to this value alone.
unsafe impl Send for CodeBuffer {}

impl CodeBuffer {
    /// Maps a buffer for at most so many bytes of code (a gigabyte would be fine, 2 GB too far to jump), and `far_links` far links; their
    /// pages take up memory when first used.
    ///
    /// # Errors
    /// The host's, if it gives no memory or forbids executable mappings.
    pub fn new(code_bytes: usize, far_links: usize) -> std::io::Result<CodeBuffer> {
        let known = known::bytes(far_links);
        let (rw, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        let private = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping; nobody else knows its address.
        let start =
            unsafe { mm::mmap_anonymous(null_mut(), reserved(code_bytes, far_links), ProtFlags::empty(), private) }?;
        let first = (start as usize).next_multiple_of(LARGE_PAGE) - start as usize;
        let first = start.cast::<u8>().wrapping_add(first).cast::<c_void>();
        let mut buffer = CodeBuffer { start, known: first, write: null_mut(), code_bytes, used: 0, far_links };
        // SAFETY: the part lies within the reservation, which nothing uses yet.
        unsafe { mm::mprotect(first, known, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        // SAFETY: as above; what the memory holds stays. A host without large pages is only slower.
        let _advised = unsafe { mm::madvise(first, known, Advice::LinuxHugepage) };
        // SAFETY: a fresh anonymous mapping.
        buffer.write = unsafe { mm::mmap_anonymous(null_mut(), code_bytes, rw, shared) }?;
        let execute = buffer.execute().cast_mut().cast();
        // SAFETY: an old size of zero leaves the shared mapping as it is and maps its pages again, here
        // over a part of the reservation that is ours and holds nothing.
        unsafe { mm::mremap_fixed(buffer.write, 0, code_bytes, MremapFlags::MAYMOVE, execute) }?;
        // SAFETY: the second mapping is ours and nothing reads or writes through it yet.
        unsafe { mm::mprotect(execute, code_bytes, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        Ok(buffer)
    }

    /// Where the code at offset 0 is executed.
    pub fn execute(&self) -> *const u8 {
        self.known.cast::<u8>().wrapping_add(known::bytes(self.far_links))
    }

    /// The offset where the next code goes.
    pub fn cursor(&self) -> u32 {
        self.used
    }

    /// True if `len` more bytes do not fit.
    pub fn is_full(&self, len: usize) -> bool {
        self.used as usize + len > self.code_bytes
    }

    /// Forgets all code behind `offset`.
    pub fn truncate(&mut self, offset: u32) {
        self.used = offset;
    }

    /// Appends code.
    ///
    /// # Panics
    /// If it does not fit: ask [`Self::is_full`] before.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(!self.is_full(bytes.len()), "the code fits into the buffer");
        let to = self.write.cast::<u8>().wrapping_add(self.used as usize);
        // SAFETY: the range lies within the writable mapping. Nothing executes there: it is behind all
        // code that exists. The processor keeps its instruction caches coherent by physical address.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.used += bytes.len() as u32;
    }

    /// Makes the JMP whose 32-bit distance lies at `place` go to `target`.
    pub fn patch_jump(&mut self, place: u32, target: u32) {
        assert!(place + 4 <= self.used && target < self.used, "a jump within the code");
        let distance = target.wrapping_sub(place + 4);
        let to = self.write.cast::<u8>().wrapping_add(place as usize).cast::<u32>();
        // SAFETY: the four bytes lie within the writable mapping; translated code does not run now.
        unsafe { to.write_unaligned(distance) };
    }

    /// Makes the eight bytes at `place` a number that is no negated physical address.
    pub fn patch_guard(&mut self, place: u32) {
        assert!(place + 8 <= self.used, "a constant within the code");
        let to = self.write.cast::<u8>().wrapping_add(place as usize).cast::<u64>();
        // SAFETY: the eight bytes lie within the writable mapping; translated code does not run now.
        unsafe { to.write_unaligned(1) };
    }

    /// What translated code knows of other code.
    pub fn known(&self) -> Known {
        // SAFETY: so much is mapped in front of the code as long as the buffer lives, and who holds the buffer
        // does not run translated code.
        unsafe { Known::before(self.execute().cast_mut(), self.far_links) }
    }

    /// The address at which the code at `offset` is executed.
    pub fn address(&self, offset: u32) -> u64 {
        self.execute() as u64 + u64::from(offset)
    }
}

/// Bytes that are reserved for a buffer.
const fn reserved(code_bytes: usize, far_links: usize) -> usize {
    LARGE_PAGE + known::bytes(far_links) + code_bytes
}

impl Drop for CodeBuffer {
    fn drop(&mut self) {
        // SAFETY: both mappings are this value's own, and no code of them runs. An address space that
        // cannot be given back does no harm, so that the results do not matter.
        unsafe {
            let _kept = mm::munmap(self.start, reserved(self.code_bytes, self.far_links));
            if !self.write.is_null() {
                let _kept = mm::munmap(self.write, self.code_bytes);
            }
        }
    }
}
