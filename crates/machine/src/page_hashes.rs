//! Digests of a machine that are quick when few pages changed.
//!
//! A digest is a tree of BLAKE3 hashes with three levels: a hash for each page, a hash over those of each 64 pages in a
//! row (the last group may be smaller), and on top one over the hash of the encoded [`MachineState`] and all group hashes
//! in order. The hash of a page of zeros, and of a group of such pages, is written as 32 zeros. So a page that changed
//! costs two small hashes, and RAM that was never used costs next to nothing.

use std::ops::Range;

use prost::Message;

use crate::machine::Machine;
use crate::memory_map::PAGE_BYTES;
use crate::save::{Digest, MachineState};

/// The hash of a page.
pub type PageHash = [u8; 32];
/// What stands for the hash of a page of zeros.
pub const ZERO: PageHash = [0; 32];
/// The bytes of a page.
pub type Page = [u8; PAGE_BYTES as usize];

/// Pages in a group.
const GROUP: usize = 64;

/// The hash of `page`.
pub fn hash(page: &Page) -> PageHash {
    if is_zero(page) { ZERO } else { *blake3::hash(page).as_bytes() }
}

/// Whether all bytes are zero.
pub fn is_zero(page: &Page) -> bool {
    // Most pages that are not zero say so in their first bytes.
    page[..64] == [0; 64] && *page == [0; PAGE_BYTES as usize]
}

/// The hashes of all pages of a machine.
#[derive(Clone, Debug)]
pub struct PageHashes {
    pages: Vec<PageHash>,
    groups: Vec<PageHash>,
    /// Groups whose hash may be old.
    stale: Vec<bool>,
}

impl PageHashes {
    /// Of `pages` pages of zeros.
    pub fn zero(pages: u64) -> Self {
        let groups = (pages as usize).div_ceil(GROUP);
        PageHashes { pages: vec![ZERO; pages as usize], groups: vec![ZERO; groups], stale: vec![false; groups] }
    }

    /// Of all RAM of `machine`, if all pages but those in `ranges` are zero.
    pub(crate) fn of_pages(machine: &Machine, ranges: Vec<Range<u64>>) -> Self {
        let (pages, _) = machine.ram_bytes().as_chunks::<{ PAGE_BYTES as usize }>();
        let mut hashes = PageHashes::zero(pages.len() as u64);
        for page in ranges.into_iter().flatten() {
            hashes.set(page, hash(&pages[page as usize]));
        }
        hashes
    }

    /// Sets the hash of a page; `false` if it was that before.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn set(&mut self, index: u64, hash: PageHash) -> bool {
        let changed = std::mem::replace(&mut self.pages[index as usize], hash) != hash;
        self.stale[index as usize / GROUP] |= changed;
        changed
    }

    /// The hash of a page.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn get(&self, index: u64) -> PageHash {
        self.pages[index as usize]
    }

    /// The digest of a machine with this RAM and `state`.
    pub fn digest(&mut self, state: &MachineState) -> Digest {
        let groups = self.pages.chunks(GROUP).zip(&mut self.groups).zip(&mut self.stale);
        for ((pages, group), stale) in groups {
            if !std::mem::take(stale) {
                continue;
            }
            let pages = pages.as_flattened();
            *group = if pages.iter().all(|&byte| byte == 0) { ZERO } else { *blake3::hash(pages).as_bytes() };
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(&state.encode_to_vec()).as_bytes());
        hasher.update(self.groups.as_flattened());
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_after_changes_is_that_of_a_fresh_look() {
        let state = MachineState::default();
        let mut seen = PageHashes::zero(200);
        let empty = seen.digest(&state);
        assert!(seen.set(199, [1; 32]) && seen.set(3, [2; 32]) && !seen.set(3, [2; 32]));
        let both = seen.digest(&state);
        let mut fresh = PageHashes::zero(200);
        fresh.set(3, [2; 32]);
        let one = fresh.digest(&state);
        fresh.set(199, [1; 32]);
        assert_eq!(fresh.digest(&state), both);
        assert!(seen.set(199, ZERO));
        assert_eq!(seen.digest(&state), one);
        assert!(seen.set(3, ZERO));
        assert_eq!(seen.digest(&state), empty);
        assert!(seen.set(64, [2; 32]));
        assert_ne!(seen.digest(&state), one, "the place of a page counts");
        assert_ne!(PageHashes::zero(264).digest(&state), empty, "the amount of RAM counts");
    }

    #[test]
    fn zero_pages_are_found_wherever_the_last_byte_is() {
        let mut page = [0; PAGE_BYTES as usize];
        assert!(is_zero(&page) && hash(&page) == ZERO);
        for at in [0, 63, 64, 4095] {
            page[at] = 1;
            assert!(!is_zero(&page), "{at}");
            page[at] = 0;
        }
    }
}
