//! One file of pages: `CVRPACK1`, number of pages and CRC-32C of the entries (4 bytes each, little-endian), an entry of 40
//! bytes a page ([`Entry`]: hash, length, checksum), then what is stored of each page, one after the other.
//!
//! A page is stored on its own (LZ4, or as it is where that is not smaller), so that one can be read, copied and
//! freed without the others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{StoreError, damaged, io};
use super::files::write_whole;
use super::node::short_id;
use crate::format::PAGE_BYTES;
use crate::page_map::Page;
use machine::page_hashes::PageHash;

const MAGIC: &[u8; 8] = b"CVRPACK1";
/// Bytes of a file beside those of its pages.
pub(super) const HEAD_BYTES: u64 = 16;
/// Bytes of a page's entry.
const ENTRY_BYTES: usize = 40;
/// Pages in a file at most.
pub(super) const MAX_PAGES: usize = 1 << 13;

/// A page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// BLAKE3 of its content.
    pub hash: PageHash,
    /// Bytes that are stored of it; as many as a page has: as it is.
    pub len: u32,
    /// CRC-32C of those.
    pub crc: u32,
}

/// Pages that will be a file.
#[derive(Default)]
pub(super) struct Contents {
    entries: Vec<Entry>,
    stored: Vec<u8>,
}

impl Contents {
    /// Adds a page.
    pub(super) fn add(&mut self, hash: PageHash, page: &Page) {
        let start = self.stored.len();
        // What does not become smaller may become larger.
        self.stored.resize(start + lz4_flex::block::get_maximum_output_size(PAGE_BYTES), 0);
        let len = match lz4_flex::block::compress_into(page, &mut self.stored[start..]) {
            Ok(len) if len < PAGE_BYTES => len,
            _ => {
                self.stored[start..start + PAGE_BYTES].copy_from_slice(page);
                PAGE_BYTES
            }
        };
        self.stored.truncate(start + len);
        self.entries.push(Entry { hash, len: len as u32, crc: crc32c::crc32c(&self.stored[start..]) });
    }

    /// Adds a page as it is stored elsewhere.
    pub(super) fn add_stored(&mut self, entry: Entry, stored: &[u8]) {
        self.stored.extend_from_slice(stored);
        self.entries.push(entry);
    }

    /// Pages so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Writes them to a file in `directory` whose name is a hash of what it holds.
    pub(super) fn write(&self, directory: &Path) -> Result<PackFile, StoreError> {
        let mut entries = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            entries.extend_from_slice(&entry.hash);
            entries.extend_from_slice(&entry.len.to_le_bytes());
            entries.extend_from_slice(&entry.crc.to_le_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&entries);
        let path = directory.join(short_id(&hasher)).with_extension("pack");
        let (count, crc) = ((self.entries.len() as u32).to_le_bytes(), crc32c::crc32c(&entries).to_le_bytes());
        write_whole(&path, &[MAGIC, &count, &crc, &entries, &self.stored])?;
        PackFile::open(&path)
    }
}

/// An open file of pages.
pub(super) struct PackFile {
    /// Its path.
    pub path: PathBuf,
    /// Its pages.
    pub entries: Vec<Entry>,
    file: File,
    /// Where each is stored, and the end.
    offsets: Vec<u64>,
}

impl PackFile {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(io("open", path))?;
        let file_bytes = file.metadata().map_err(io("read", path))?.len();
        let mut head = [0; HEAD_BYTES as usize];
        if file_bytes < HEAD_BYTES {
            return Err(damaged(path, "it is cut off"));
        }
        file.read_exact_at(&mut head, 0).map_err(io("read", path))?;
        let count = word(&head, 8) as usize;
        if head[..8] != *MAGIC || count > MAX_PAGES {
            return Err(damaged(path, "it does not begin as a file of pages"));
        }
        let mut bytes = vec![0; count * ENTRY_BYTES];
        if file_bytes - HEAD_BYTES < bytes.len() as u64 {
            return Err(damaged(path, "it is cut off"));
        }
        file.read_exact_at(&mut bytes, HEAD_BYTES).map_err(io("read", path))?;
        if crc32c::crc32c(&bytes) != word(&head, 12) {
            return Err(damaged(path, "the checksum of its list of pages is wrong"));
        }
        let mut offset = HEAD_BYTES + bytes.len() as u64;
        let (mut entries, mut offsets) = (Vec::with_capacity(count), vec![offset]);
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let (len, crc) = (word(entry, 32), word(entry, 36));
            if len == 0 || len as usize > PAGE_BYTES {
                return Err(damaged(path, "the length of a page is impossible"));
            }
            let hash = *entry.first_chunk().expect("an entry begins with a hash");
            entries.push(Entry { hash, len, crc });
            offset += u64::from(len);
            offsets.push(offset);
        }
        if offset != file_bytes {
            return Err(damaged(path, "it is longer or shorter than its list of pages says"));
        }
        Ok(PackFile { path: path.into(), entries, file, offsets })
    }

    /// Bytes that page number `slot` takes in the file.
    pub(super) fn page_bytes(&self, slot: usize) -> u64 {
        ENTRY_BYTES as u64 + u64::from(self.entries[slot].len)
    }

    /// Bytes that are stored of the pages before number `slot`.
    pub(super) fn offset(&self, slot: usize) -> u64 {
        self.offsets[slot]
    }

    /// What is stored of page number `slot`, unchecked.
    pub(super) fn raw(&self, slot: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; self.entries[slot].len as usize];
        self.file.read_exact_at(&mut bytes, self.offsets[slot]).map_err(io("read", &self.path))?;
        Ok(bytes)
    }

    /// Reads what is stored of the pages from `first` up to `last`, and gives each to `take`, checked.
    pub(super) fn stored(
        &self,
        first: usize,
        last: usize,
        mut take: impl FnMut(usize, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let start = self.offsets[first];
        let mut bytes = vec![0; (self.offsets[last + 1] - start) as usize];
        self.file.read_exact_at(&mut bytes, start).map_err(io("read", &self.path))?;
        for slot in first..=last {
            let from = (self.offsets[slot] - start) as usize;
            let stored = &bytes[from..from + self.entries[slot].len as usize];
            if crc32c::crc32c(stored) != self.entries[slot].crc {
                return Err(damaged(&self.path, "the checksum of a page is wrong"));
            }
            take(slot, stored)?;
        }
        Ok(())
    }

    /// Unpacks a page.
    pub(super) fn unpack(&self, stored: &[u8], page: &mut [u8]) -> Result<(), StoreError> {
        if stored.len() == page.len() {
            page.copy_from_slice(stored);
            return Ok(());
        }
        match lz4_flex::block::decompress_into(stored, page) {
            Ok(len) if len == page.len() => Ok(()),
            _ => Err(damaged(&self.path, "a page cannot be unpacked")),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
