//! A saved state of a machine, and its file: `CVRSTAT1`, CRC-32C of the rest (4 bytes, little-endian), the record (zstd).
//!
//! A state is never changed. A snapshot is a name for a state; a recording begins with one. It is there as long as a
//! node uses it.

use std::path::Path;

use machine::{MachineConfig, MachineState};
use prost::Message;

use super::error::StoreError;
use super::files::{read_message, write_message};
use crate::format::records::{BootDescription, ConfigRecord, PositionRecord};
use crate::format::{FormatError, PAGE_BYTES};
use crate::position::Position;
use machine::page_hashes::PageHash;

const MAGIC: &[u8; 8] = b"CVRSTAT1";
/// The most that a record has before compression: the pages of 64 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// What is written of a state.
#[derive(Clone, PartialEq, Message)]
pub struct StateRecord {
    /// The machine.
    #[prost(message, optional, tag = "1")]
    pub config: Option<ConfigRecord>,
    /// All but RAM.
    #[prost(message, optional, tag = "2")]
    pub state: Option<MachineState>,
    /// Where it was saved.
    #[prost(message, optional, tag = "3")]
    pub position: Option<PositionRecord>,
    /// Where the machine's own counts begin.
    #[prost(message, optional, tag = "4")]
    pub base: Option<PositionRecord>,
    /// Indexes of pages that are not zero; the first, then differences.
    #[prost(uint64, repeated, tag = "5")]
    pub page_steps: Vec<u64>,
    /// Their contents, 32 bytes each.
    #[prost(bytes = "vec", tag = "6")]
    pub page_hashes: Vec<u8>,
    /// What the machine was started from.
    #[prost(message, optional, tag = "7")]
    pub boot: Option<BootDescription>,
    /// The clock mode it ran with, `virtual` or `real`.
    #[prost(string, tag = "8")]
    pub clock: String,
    /// The engine that executed it.
    #[prost(string, tag = "9")]
    pub engine: String,
    /// The digest of the machine; absent in what earlier versions wrote.
    #[prost(bytes = "vec", tag = "10")]
    pub digest: Vec<u8>,
}

impl StateRecord {
    /// The machine.
    ///
    /// # Errors
    /// If there is no such machine.
    pub fn config(&self) -> Result<MachineConfig, FormatError> {
        self.config.as_ref().ok_or(FormatError::Content("the machine's configuration is missing"))?.to_config()
    }

    /// Where it was saved.
    pub fn position(&self) -> Position {
        self.position.unwrap_or_default().into()
    }

    /// Where the machine's own counts begin.
    pub fn base(&self) -> Position {
        self.base.unwrap_or_default().into()
    }

    /// Sets the pages that are not zero, ascending.
    pub(super) fn set_pages(&mut self, pages: &[(u64, PageHash)]) {
        let mut last = 0;
        for (page, hash) in pages {
            self.page_steps.push(page - last);
            self.page_hashes.extend_from_slice(hash);
            last = *page;
        }
    }

    /// Pages that are not zero: index and content, ascending.
    ///
    /// # Errors
    /// If there are not as many contents as pages, or a page that the machine has not.
    pub fn pages(&self) -> Result<Vec<(u64, PageHash)>, FormatError> {
        let (hashes, rest) = self.page_hashes.as_chunks::<32>();
        if hashes.len() != self.page_steps.len() || !rest.is_empty() {
            return Err(FormatError::Content("a snapshot has more pages than contents, or fewer"));
        }
        let ram_pages = self.config.as_ref().map_or(0, |config| config.ram_bytes) / PAGE_BYTES as u64;
        let mut pages: Vec<(u64, PageHash)> = Vec::with_capacity(hashes.len());
        for (step, hash) in self.page_steps.iter().zip(hashes) {
            let page = match pages.last() {
                None => Some(*step),
                Some((last, _)) => last.checked_add(*step).filter(|page| page > last),
            };
            let page = page.filter(|page| *page < ram_pages);
            pages.push((page.ok_or(FormatError::Content("a snapshot has a page that its machine has not"))?, *hash));
        }
        Ok(pages)
    }
}

pub(super) fn write(path: &Path, record: &StateRecord) -> Result<(), StoreError> {
    write_message(path, MAGIC, record, true)
}

pub(super) fn read(path: &Path) -> Result<StateRecord, StoreError> {
    read_message(path, MAGIC, true, MAX_BYTES)
}
