//! What each page of RAM held at some instant.

use std::sync::Arc;

use crate::format::PAGE_BYTES;

pub use machine::page_hashes::{Page, is_zero};

/// Where the content of a page is.
#[derive(Clone, Debug, Default)]
pub enum PageRef {
    /// All zero.
    #[default]
    Zero,
    /// In the file, under this number (not 0).
    File(u64),
    /// As in the state that the recording begins with, the page of this index.
    Base(u64),
    /// Here.
    Memory(Arc<Page>),
}

impl PageRef {
    /// The page with this number in a file.
    pub fn numbered(number: u64) -> Self {
        if number == 0 { PageRef::Zero } else { PageRef::File(number) }
    }

    fn is(&self, other: &PageRef) -> bool {
        match (self, other) {
            (PageRef::Zero, PageRef::Zero) => true,
            (PageRef::File(a), PageRef::File(b)) | (PageRef::Base(a), PageRef::Base(b)) => a == b,
            (PageRef::Memory(a), PageRef::Memory(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Pages that copies share or not together: few, since what changed is scattered.
const CHUNK: usize = 64;
type Chunk = [PageRef; CHUNK];

/// The content of all pages. Copies share what they have in common.
#[derive(Clone, Debug)]
pub struct PageMap {
    pages: u64,
    chunks: Vec<Option<Arc<Chunk>>>,
}

impl PageMap {
    /// `pages` pages of zeros.
    pub fn zero(pages: u64) -> Self {
        PageMap { pages, chunks: vec![None; (pages as usize).div_ceil(CHUNK)] }
    }

    /// Number of pages.
    #[allow(clippy::len_without_is_empty)] // there is no machine without RAM
    pub fn len(&self) -> u64 {
        self.pages
    }

    /// Sets a page; `false` if there is no such page.
    pub fn set(&mut self, index: u64, content: PageRef) -> bool {
        if index >= self.pages {
            return false;
        }
        let chunk = &mut self.chunks[index as usize / CHUNK];
        let chunk = chunk.get_or_insert_with(|| Arc::new(std::array::from_fn(|_| PageRef::Zero)));
        Arc::make_mut(chunk)[index as usize % CHUNK] = content;
        true
    }

    /// As [`Self::set`]; a page that is as it should be stays shared with copies.
    pub fn change(&mut self, index: u64, content: PageRef) -> bool {
        index < self.pages && (self.get(index).is(&content) || self.set(index, content))
    }

    /// A page.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn get(&self, index: u64) -> &PageRef {
        assert!(index < self.pages, "page {index} of {}", self.pages);
        match &self.chunks[index as usize / CHUNK] {
            Some(chunk) => &chunk[index as usize % CHUNK],
            None => &PageRef::Zero,
        }
    }

    /// The pages whose content is somewhere else than in `other`, a map of as many pages.
    pub fn differences(&self, other: &PageMap) -> Vec<u64> {
        assert_eq!(self.pages, other.pages, "maps of one machine");
        let mut found = Vec::new();
        for (i, (a, b)) in self.chunks.iter().zip(&other.chunks).enumerate() {
            let same = match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            };
            if same {
                continue;
            }
            let first = (i * CHUNK) as u64;
            let last = (first + CHUNK as u64).min(self.pages);
            found.extend((first..last).filter(|&page| !self.get(page).is(other.get(page))));
        }
        found
    }
}

/// The page `index` of `ram`.
///
/// # Panics
/// If RAM has no such page.
pub fn page_of(ram: &[u8], index: u64) -> &Page {
    let start = index as usize * PAGE_BYTES;
    ram[start..start + PAGE_BYTES].try_into().expect("a whole page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_where_they_were_set() {
        let mut a = PageMap::zero(1500);
        assert!(a.set(1499, PageRef::numbered(7)));
        assert!(!a.set(1500, PageRef::Zero));
        let mut b = a.clone();
        assert!(b.differences(&a).is_empty());
        b.set(3, PageRef::numbered(9));
        b.set(4, PageRef::numbered(0));
        b.set(1499, PageRef::Zero);
        assert_eq!(b.differences(&a), vec![3, 1499]);
        assert_eq!(a.differences(&b), vec![3, 1499]);
    }
}
