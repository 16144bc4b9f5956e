//! Copies pages of a running machine as they were at one instant, some at a time between slices of its run. What the
//! guest changes first is kept aside by the machine, so a copy under way costs the guest next to nothing.

use machine::Machine;
use x86::memory::phys::Preimage;

use crate::format::PAGE_BYTES;
use crate::page_map::{Page, page_of};

/// Pages that are copied at a time: about two milliseconds' worth.
pub const PAGES_AT_ONCE: usize = 1024;

/// Pages that were copied.
#[derive(Debug, Default)]
pub struct Copies {
    /// Indexes of those in `bytes`.
    pub pages: Vec<u64>,
    /// As many pages of bytes, one after the other.
    pub bytes: Vec<u8>,
    /// Pages that the machine has kept aside. They are passed on as they are: a guest that writes fast changes more of them in
    /// a slice than could be copied again without stopping it for long.
    pub kept: Vec<Preimage>,
}

impl Copies {
    /// None yet, `buffer` being used again.
    pub fn into(buffer: Vec<u8>) -> Self {
        Copies { pages: Vec::new(), bytes: buffer, kept: Vec::new() }
    }

    /// All pages, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Page)> {
        let copied = self.pages.iter().copied().zip(self.bytes.as_chunks::<PAGE_BYTES>().0);
        copied.chain(self.kept.iter().map(|(page, content)| (*page, &**content)))
    }

    /// The buffer, to be used again.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}

/// A copy under way. A machine has one at a time.
#[derive(Debug)]
pub struct Copier {
    /// Pages to copy, the last first.
    left: Vec<u64>,
}

impl Copier {
    /// Will copy `pages` as they are now, and those of `watched` that [`Self::add`] names later.
    pub fn begin(machine: &mut Machine, pages: Vec<u64>, watched: &[u64]) -> Self {
        machine.watch_pages(pages.iter().chain(watched).copied());
        let mut copier = Copier { left: Vec::new() };
        copier.add(pages);
        copier
    }

    /// Has more pages copied, in this order, before those that are left; they must be watched.
    pub fn add(&mut self, pages: Vec<u64>) {
        self.left.extend(pages.into_iter().rev());
    }

    /// Whether all are copied.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes what was kept aside since the last call, and copies up to `count` more pages, to `copies`.
    pub fn copy(&mut self, machine: &mut Machine, count: usize, copies: &mut Copies) {
        copies.kept.extend(machine.take_preimages());
        for page in self.left.split_off(self.left.len().saturating_sub(count)).into_iter().rev() {
            if machine.unwatch_page(page) {
                copies.pages.push(page);
                copies.bytes.extend_from_slice(page_of(machine.ram_bytes(), page));
            }
        }
    }
}
