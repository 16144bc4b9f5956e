//! What translated code knows of other code, in memory in front of it, which it reaches relative to itself:
//!
//! - the *jump cache*: blocks by physical address and view, for whatever is not known otherwise;
//! - *far links*, one a direct jump to another page: the linear address of the jump's page, and the target's code;
//! - *return caches*, one a data view: code by linear address, for returns and indirect jumps.
//!
//! The last two skip the look-up of an instruction fetch (`x86::memory::tlb`), which has no effect where it hits. So
//! they hold only as long as the TLB drops no entry for fetches of their kind, and their blocks are there: far
//! links compare an *epoch* besides, and the return caches are emptied. Both are filled by translated code, behind
//! a look-up that hit.
#![allow(unsafe_code)]

use crate::layout::fetch_of;
use x86::memory::tlb::{DATA_VIEWS, VIEWS};

/// Entries of the jump cache, in sets of two: jumps to two targets that fall together do not take each other's away, over
/// and over, before what they lead to is known to the jumps themselves.
pub const JUMPS: usize = 1 << 15;
const SETS: usize = JUMPS / 2;
/// Bytes of a set: 1 << this.
pub const SET_SHIFT: u8 = 5;
/// The index of a set is made of the low bits of a physical address and itself shifted by that: many targets are at multiples
/// of 16.
pub const MIX: u8 = 8;
/// Entries of a return cache; its index is the low bits of a linear address.
pub const RETURNS: usize = 1 << 13;
/// Places of a log: a return cache is emptied place by place if fewer were filled. (The place of the 256th is the number
/// itself, which an address there makes one that is larger still.)
const LOG: usize = 256;
/// Bytes of a large page of the host's: the memory is a multiple of it, and fits into one if there are no more far links
/// than usual, since its parts are small and lie apart.
pub const LARGE_PAGE: usize = 2 << 20;
/// Bytes of an entry of any kind: what is compared, and an address.
const ENTRY: usize = 16;
/// Offset of the jump cache from the start of the code.
pub const JUMPS_AT: i32 = -((ENTRY * JUMPS) as i32);
/// The same of the first return cache.
const RETURNS_AT: i32 = JUMPS_AT - (DATA_VIEWS * ENTRY * RETURNS) as i32;
/// The same of the logs of the return caches: how often one was filled, and the addresses of the places, by the low
/// bits of that number.
const LOGS_AT: i32 = RETURNS_AT - (DATA_VIEWS * LOG_BYTES) as i32;
const LOG_BYTES: usize = 8 * (1 + LOG) + 56;
/// The same of the epochs, one a view for fetches.
const EPOCHS_AT: i32 = LOGS_AT - 64;
/// The same of the mask of the bits that index the sets of the jump cache.
pub const JUMP_MASK_AT: i32 = EPOCHS_AT + 8 * FETCHES as i32;
/// An epoch is a number of 16 bits in the upper bits of a word, where adding it to the address of a page loses nothing.
const EPOCH: u64 = 1 << 48;
/// Kinds of fetches.
pub const FETCHES: usize = VIEWS - DATA_VIEWS;

/// Offset of the return cache of data view `view`.
pub const fn returns_at(view: u8) -> i32 {
    RETURNS_AT + (view as usize * ENTRY * RETURNS) as i32
}

/// Offset of its log.
pub const fn log_at(view: u8) -> i32 {
    LOGS_AT + (view as usize * LOG_BYTES) as i32
}

/// Offset of the epoch of fetches of code that runs with data view `view`.
pub const fn epoch_at(view: u8) -> i32 {
    EPOCHS_AT + 8 * fetch_of(view) as i32
}

/// Offset of far link `number`.
pub const fn far_link_at(number: usize) -> i32 {
    EPOCHS_AT - (ENTRY * (number + 1)) as i32
}

/// Bytes of all that, with `far_links` far links: a multiple of [`LARGE_PAGE`].
pub const fn bytes(far_links: usize) -> usize {
    (far_link_at(far_links).unsigned_abs() as usize).next_multiple_of(LARGE_PAGE)
}

/// The memory in front of the code.
#[derive(Clone, Copy)]
pub struct Known {
    /// Start of the code.
    code: *mut u8,
    /// Far links that there is room for.
    far_links: usize,
}

impl Known {
    /// That in front of `code`.
    ///
    /// # Safety
    /// As long as the value is used, [`bytes`]`(far_links)` bytes in front of `code` are mapped, for reading and writing,
    /// and nothing else touches them but translated code, which does not run meanwhile.
    pub const unsafe fn before(code: *mut u8, far_links: usize) -> Known {
        Known { code, far_links }
    }

    fn word(&self, offset: i32) -> *mut u64 {
        debug_assert!(offset < 0 && offset.unsigned_abs() as usize <= bytes(self.far_links));
        self.code.wrapping_offset(offset as isize).cast()
    }

    /// The jump cache's set for a physical address: keys, negated, and code.
    fn set(&self, address: u64) -> *mut [[u64; 2]; 2] {
        let index = address.wrapping_add(address >> MIX) as usize % SETS;
        self.word(JUMPS_AT + (index << SET_SHIFT) as i32).cast()
    }

    /// Puts code at address `target` into the jump cache.
    pub fn set_jump(&self, address: u64, key: u64, target: u64) {
        // SAFETY: it lies within the jump cache, see `before`; an entry is two words.
        let set = unsafe { &mut *self.set(address) };
        let entry = [key.wrapping_neg(), target];
        match set.iter_mut().find(|[found, _]| *found == entry[0]) {
            Some(there) => *there = entry,
            None => *set = [entry, set[0]],
        }
    }

    /// The address of the code that the jump cache has for `key`.
    pub fn jump_to(&self, address: u64, key: u64) -> Option<u64> {
        // SAFETY: as above.
        let set = unsafe { &*self.set(address) };
        set.iter().find(|[found, _]| *found == key.wrapping_neg()).map(|&[_, target]| target)
    }

    /// Takes `key` out of the jump cache.
    pub fn clear_jump(&self, address: u64, key: u64) {
        // SAFETY: as above.
        let set = unsafe { &mut *self.set(address) };
        for entry in set.iter_mut().filter(|[found, _]| *found == key.wrapping_neg()) {
            entry[0] = 0;
        }
    }

    /// Empties everything; `far_links` far links were used.
    pub fn clear(&self, far_links: usize) {
        // SAFETY: the range is the jump cache.
        unsafe { self.word(JUMPS_AT).write_bytes(0, 2 * JUMPS) };
        for fetch in 0..FETCHES {
            self.clear_returns(fetch);
            // SAFETY: an epoch lies within the memory.
            unsafe { *self.word(EPOCHS_AT + 8 * fetch as i32) = EPOCH };
        }
        // SAFETY: it lies behind the epochs.
        unsafe { *self.word(JUMP_MASK_AT) = SETS as u64 - 1 };
        self.clear_far_links(far_links);
    }

    fn clear_far_links(&self, used: usize) {
        let used = used.min(self.far_links);
        // SAFETY: the range is that of the first far links, the last of which is the lowest.
        unsafe { self.word(far_link_at(used)).wrapping_add(2).write_bytes(0, 2 * used) };
    }

    fn clear_returns(&self, fetch: usize) {
        for view in (0..DATA_VIEWS as u8).filter(|&view| fetch_of(view) == fetch) {
            let (first, log) = (self.word(returns_at(view)), self.word(log_at(view)));
            // SAFETY: the range is a return cache, and the log names places in it. In its first place nothing is
            // said to be what is not found there, since a zero is what address 0 would be compared with.
            unsafe {
                let filled = std::mem::take(&mut *log);
                if filled < LOG as u64 {
                    for place in 1..=filled as usize {
                        *(*log.wrapping_add(place) as *mut u64) = 0;
                    }
                } else {
                    first.write_bytes(0, 2 * RETURNS);
                }
                *first = 1;
            }
        }
    }

    /// Forgets what rests on look-ups of the kinds of fetches for which `dropped` is true.
    #[inline]
    pub fn forget_fetches(&self, dropped: [bool; FETCHES]) {
        if dropped == [false; FETCHES] {
            return;
        }
        for fetch in (0..FETCHES).filter(|&fetch| dropped[fetch]) {
            self.clear_returns(fetch);
            let epoch = self.word(EPOCHS_AT + 8 * fetch as i32);
            // SAFETY: it lies within the memory.
            unsafe {
                *epoch = (*epoch).wrapping_add(EPOCH);
                if *epoch == 0 {
                    // The numbers begin anew, so that none may be left that are older.
                    *epoch = EPOCH;
                    self.clear_far_links(self.far_links);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::CodeBuffer;

    const USER: usize = 1;

    fn get(known: &Known, offset: i32) -> u64 {
        // SAFETY: within the memory, and no code runs.
        unsafe { *known.word(offset) }
    }

    fn set(known: &Known, offset: i32, value: u64) {
        // SAFETY: as above.
        unsafe { *known.word(offset) = value };
    }

    #[test]
    fn no_epoch_comes_twice_while_a_link_knows_it() {
        let buffer = CodeBuffer::new(1 << 16, 8).expect("memory");
        let known = buffer.known();
        known.clear(8);
        let first = get(&known, epoch_at(2));
        set(&known, far_link_at(7), first.wrapping_neg());
        for _ in 0..1 << 16 {
            known.forget_fetches([false, true]);
            let again = get(&known, epoch_at(2)) == first;
            assert!(!again || get(&known, far_link_at(7)) == 0, "the link would hold again");
            assert_ne!(get(&known, epoch_at(2)), 0);
        }
        assert_eq!(get(&known, far_link_at(7)), 0, "the epochs began anew");
        assert_eq!(get(&known, epoch_at(0)), first, "the other kind of fetches has its own");
    }

    #[test]
    fn two_targets_that_fall_together_are_both_known() {
        let buffer = CodeBuffer::new(1 << 16, 8).expect("memory");
        let known = buffer.known();
        known.clear(8);
        let first = 0x1230;
        let others: Vec<u64> = (first + 1..).filter(|&other| known.set(other) == known.set(first)).take(2).collect();
        let &[second, third] = &others[..] else { unreachable!("two were taken") };
        known.set_jump(first, 1, 100);
        known.set_jump(second, 2, 200);
        known.set_jump(first, 1, 101);
        assert_eq!((known.jump_to(first, 1), known.jump_to(second, 2)), (Some(101), Some(200)));
        known.set_jump(third, 3, 300);
        assert_eq!((known.jump_to(second, 2), known.jump_to(third, 3)), (Some(200), Some(300)));
        assert_eq!(known.jump_to(first, 1), None);
        known.clear_jump(second, 2);
        assert_eq!((known.jump_to(second, 2), known.jump_to(third, 3)), (None, Some(300)));
    }

    #[test]
    fn a_return_cache_forgets_what_was_filled() {
        let buffer = CodeBuffer::new(1 << 16, 8).expect("memory");
        let known = buffer.known();
        known.clear(8);
        for filled in [1, LOG - 1, LOG, RETURNS] {
            for place in 0..filled {
                // As translated code does it.
                let at = returns_at(2) + (ENTRY * place) as i32;
                set(&known, at, 5);
                let number = get(&known, log_at(2)) + 1;
                set(&known, log_at(2), number);
                set(&known, log_at(2) + 8 * (number % 256) as i32, known.word(at) as u64);
            }
            set(&known, returns_at(0), 5);
            known.forget_fetches([false, true]);
            assert_eq!(fetch_of(2), USER);
            for place in 0..RETURNS {
                let expected = u64::from(place == 0);
                assert_eq!(get(&known, returns_at(2) + (ENTRY * place) as i32), expected, "{filled}, {place}");
            }
            assert_eq!(get(&known, returns_at(0)), 5, "the other kind of fetches has its own");
            assert_eq!(get(&known, log_at(2)), 0);
        }
    }
}
