//! Memory for translated code, mapped twice so that no page is ever both writable and executable, and
//! in front of it the jump cache, which code reaches relative to itself.
#![allow(unsafe_code)]

use rustix::mm::{self, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::ffi::c_void;
use std::ptr::null_mut;

/// Entries of the jump cache; its index is the low 16 bits of a physical address.
pub const JUMPS: usize = 1 << 16;
/// Offset from the start of the code to the jump cache, whose entries are a key and a target each.
pub const JUMPS_AT: i32 = -(2 * 8 * JUMPS as i32);

const JUMP_BYTES: usize = 16 * JUMPS;

/// See the module's text.
pub struct CodeBuffer {
    /// Start of the reservation: the jump cache, then the executable mapping.
    start: *mut c_void,
    write: *mut c_void,
    /// Bytes of code that fit.
    code_bytes: usize,
    used: u32,
}

// SAFETY: the mappings belong to this value alone.
unsafe impl Send for CodeBuffer {}

impl CodeBuffer {
    /// Maps a buffer for at most so many bytes of code (a gigabyte would be fine, 2 GB too far to jump); its pages take
    /// up memory when first used.
    ///
    /// # Errors
    /// The host's, if it gives no memory or forbids executable mappings.
    pub fn new(code_bytes: usize) -> std::io::Result<CodeBuffer> {
        let (rw, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        let private = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping; nobody else knows its address.
        let start = unsafe { mm::mmap_anonymous(null_mut(), JUMP_BYTES + code_bytes, ProtFlags::empty(), private) }?;
        let mut buffer = CodeBuffer { start, write: null_mut(), code_bytes, used: 0 };
        // SAFETY: the part lies within the reservation, which nothing uses yet.
        unsafe { mm::mprotect(start, JUMP_BYTES, MprotectFlags::READ | MprotectFlags::WRITE) }?;
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
        self.start.cast::<u8>().wrapping_add(JUMP_BYTES)
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

    fn jump_entry(&self, address: u64) -> (*mut u64, *mut u64) {
        let entry = self.start.cast::<u64>().wrapping_add(2 * (address as usize % JUMPS));
        (entry, entry.wrapping_add(1))
    }

    /// Puts code at `offset` into the jump cache.
    pub fn set_jump(&mut self, address: u64, key: u64, offset: u32) {
        let (at, target) = self.jump_entry(address);
        // SAFETY: both lie within the jump cache, which is writable and never touched concurrently.
        unsafe {
            *at = key.wrapping_neg();
            *target = self.execute() as u64 + u64::from(offset);
        }
    }

    /// Takes `key` out of the jump cache.
    pub fn clear_jump(&mut self, address: u64, key: u64) {
        let (at, _) = self.jump_entry(address);
        // SAFETY: it lies within the jump cache, as above.
        unsafe {
            if *at == key.wrapping_neg() {
                *at = 0;
            }
        }
    }

    /// Empties the jump cache.
    pub fn clear_jumps(&mut self) {
        // SAFETY: the range is the jump cache, as above.
        unsafe { self.start.cast::<u8>().write_bytes(0, JUMP_BYTES) };
    }
}

/// The address of the code that the jump cache has for `key` at `address`, for those whom code at `code` calls.
///
/// # Safety
/// `code` is the address of offset 0 of a buffer that lives, and nothing changes its jump cache now.
pub unsafe fn known_jump(code: u64, address: u64, key: u64) -> Option<u64> {
    let entries = (code as *const u8).wrapping_offset(JUMPS_AT as isize).cast::<u64>();
    let at = entries.wrapping_add(2 * (address as usize % JUMPS));
    // SAFETY: both words lie within the jump cache, which is readable and in front of the code.
    let (found, target) = unsafe { (*at, *at.wrapping_add(1)) };
    (found == key.wrapping_neg()).then_some(target)
}

impl Drop for CodeBuffer {
    fn drop(&mut self) {
        // SAFETY: both mappings are this value's own, and no code of them runs. An address space that
        // cannot be given back does no harm, so that the results do not matter.
        unsafe {
            let _kept = mm::munmap(self.start, JUMP_BYTES + self.code_bytes);
            if !self.write.is_null() {
                let _kept = mm::munmap(self.write, self.code_bytes);
            }
        }
    }
}
