//! Executable memory for thunks, and the table of those that exist.
//!
//! The buffer is one piece of memory mapped twice: writable at one address, executable at another, so
//! that no page is ever both. It belongs to the process and is a pure cache: a thunk's bytes follow
//! from its key alone and never change, so it does not matter which machine asked for it first.
//! Offsets into it stay inside the process; nothing that the guest sees or that is saved holds one.
#![allow(unsafe_code)]

use rustix::mm::{self, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Size of the buffer in bytes. Pages take up memory when first written. All thunks that can exist
/// fit in (a test counts them): their keys hold an opcode and at most an immediate byte.
pub(super) const CAPACITY: usize = 16 << 20;
/// Thunks start at multiples of this: a cache line, so that none shares a line with running code.
const ALIGN: usize = 64;

struct CodeBuffer {
    execute: *const u8,
    writer: Mutex<Writer>,
}

struct Writer {
    base: *mut u8,
    used: usize,
    /// Offsets of thunks by the bytes of their instruction.
    known: BTreeMap<Vec<u8>, u32>,
}

// SAFETY: `base` is reached only under the mutex, and `execute` only to call finished thunks.
unsafe impl Send for CodeBuffer {}
// SAFETY: as above; a thunk is published (by its offset) after its bytes were written.
unsafe impl Sync for CodeBuffer {}

static BUFFER: OnceLock<CodeBuffer> = OnceLock::new();

impl CodeBuffer {
    fn map() -> std::io::Result<CodeBuffer> {
        let (rw, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a fresh anonymous mapping; nobody else knows its address.
        let write = unsafe { mm::mmap_anonymous(null_mut(), CAPACITY, rw, shared) }?;
        // SAFETY: an old size of zero leaves the shared mapping as it is and maps its pages again.
        let execute = unsafe { mm::mremap(write, 0, CAPACITY, MremapFlags::MAYMOVE) }?;
        // SAFETY: the second mapping is ours and nothing reads or writes through it yet.
        unsafe { mm::mprotect(execute, CAPACITY, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        let writer = Writer { base: write.cast(), used: 0, known: BTreeMap::new() };
        Ok(CodeBuffer { execute: execute.cast_const().cast(), writer: Mutex::new(writer) })
    }
}

/// Maps the buffer if that has not been done yet.
///
/// # Errors
/// The host's, if it gives no memory or forbids executable mappings.
pub(super) fn prepare() -> std::io::Result<()> {
    if BUFFER.get().is_none() {
        let fresh = CodeBuffer::map()?;
        // A buffer that lost a race stays mapped and unused: that can happen once a process.
        BUFFER.get_or_init(|| fresh);
    }
    Ok(())
}

/// The offset of the thunk with the given key; `build` makes its bytes if it does not exist.
/// `None` if `build` gives none.
///
/// # Panics
/// If [`prepare`] was never called and the host gives no executable memory.
pub(super) fn offset_of(key: Vec<u8>, build: impl FnOnce() -> Option<Vec<u8>>) -> Option<u32> {
    prepare().expect("executable memory for vector instructions");
    let buffer = BUFFER.get()?;
    // The table is only ever whole: an insertion is the last step.
    let mut writer = buffer.writer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&offset) = writer.known.get(&key) {
        return Some(offset);
    }
    let bytes = build()?;
    let offset = writer.used;
    assert!(offset + bytes.len() <= CAPACITY, "every possible thunk fits into the buffer");
    // SAFETY: the range lies within the writable mapping and no finished thunk overlaps it. The
    // processor keeps its instruction caches coherent by physical address.
    unsafe { writer.base.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    writer.used = (offset + bytes.len()).next_multiple_of(ALIGN);
    writer.known.insert(key, offset as u32);
    Some(offset as u32)
}

/// The address of the thunk at an offset that [`offset_of`] gave.
#[inline(always)]
pub(super) fn address_of(offset: u32) -> *const u8 {
    let buffer = BUFFER.get().expect("an offset comes from the buffer");
    buffer.execute.wrapping_add(offset as usize)
}
