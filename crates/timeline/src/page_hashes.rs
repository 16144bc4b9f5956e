//! The digest at checkpoints: quick when few pages changed.
//!
//! It is BLAKE3 over the encoded [`machine::MachineState`] and the BLAKE3 hashes of all pages in order, the hash of a
//! page of zeros being written as 32 zeros. [`machine::Machine::digest`] says the same of a machine, but has to read
//! all of its RAM each time.

use machine::{Machine, MachineState};
use prost::Message;

use crate::page_map::{Page, is_zero, page_of};

/// The hash of a page.
pub type PageHash = [u8; 32];
/// What stands for the hash of a page of zeros.
pub const ZERO: PageHash = [0; 32];

/// The hash of `page`.
pub fn hash(page: &Page) -> PageHash {
    if is_zero(page) { ZERO } else { *blake3::hash(page).as_bytes() }
}

/// The hashes of all pages of a machine.
#[derive(Clone, Debug)]
pub struct PageHashes(Vec<PageHash>);

impl PageHashes {
    /// Of `pages` pages of zeros.
    pub fn zero(pages: u64) -> Self {
        PageHashes(vec![ZERO; pages as usize])
    }

    /// Of all RAM of `machine`.
    ///
    /// # Errors
    /// If the host does not say which pages are in use.
    pub fn of(machine: &Machine) -> Result<Self, machine::ram::RamError> {
        let ram = machine.ram_bytes();
        let mut hashes = PageHashes::zero((ram.len() / crate::format::PAGE_BYTES) as u64);
        for page in machine.populated_pages()?.into_iter().flatten() {
            hashes.set(page, hash(page_of(ram, page)));
        }
        Ok(hashes)
    }

    /// Sets the hash of a page; `false` if it was that before.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn set(&mut self, index: u64, hash: PageHash) -> bool {
        std::mem::replace(&mut self.0[index as usize], hash) != hash
    }

    /// The hash of a page.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn get(&self, index: u64) -> PageHash {
        self.0[index as usize]
    }

    /// The digest of a machine with this RAM and `state`.
    pub fn digest(&self, state: &MachineState) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&state.encode_to_vec());
        for hash in &self.0 {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }
}
