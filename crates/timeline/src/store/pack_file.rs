//! One file of pages: `CVRPACK1`, length of the index and its CRC-32C (4 bytes each, little-endian), the index
//! ([`PackIndex`]), then blocks of up to 64 pages, each packed on its own (zstd).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use prost::Message;

use super::{StoreError, io, write_whole};
use crate::format::{PAGE_BYTES, PAGES_PER_BLOCK};
use machine::page_hashes::PageHash;

const MAGIC: &[u8; 8] = b"CVRPACK1";
const HEAD_BYTES: u64 = 16;
/// The most that an index has.
const MAX_INDEX_BYTES: u32 = 64 << 20;
/// Pages in a file at most.
pub(super) const MAX_PAGES: usize = 1 << 13;

/// What is in a file.
#[derive(Clone, PartialEq, Message)]
pub struct PackIndex {
    /// BLAKE3 of the pages, 32 bytes each, in order.
    #[prost(bytes = "vec", tag = "1")]
    pub hashes: Vec<u8>,
    /// Bytes of each block.
    #[prost(uint32, repeated, tag = "2")]
    pub block_lens: Vec<u32>,
    /// CRC-32C of each block.
    #[prost(fixed32, repeated, tag = "3")]
    pub block_crcs: Vec<u32>,
}

/// An open file of pages.
pub struct PackFile {
    /// Its path.
    pub path: PathBuf,
    /// Its pages.
    pub hashes: Vec<PageHash>,
    file: File,
    /// (offset, length, CRC) of each block.
    blocks: Vec<(u64, u32, u32)>,
}

impl PackFile {
    /// Writes `pages` to `path`.
    pub(super) fn write(path: &Path, hashes: &[PageHash], pages: &[u8]) -> Result<(), StoreError> {
        let mut index = PackIndex { hashes: hashes.concat(), ..PackIndex::default() };
        let mut blocks = Vec::new();
        for block in pages.chunks(PAGES_PER_BLOCK * PAGE_BYTES) {
            let packed = zstd::bulk::compress(block, 1).map_err(io("pack", path))?;
            index.block_lens.push(packed.len() as u32);
            index.block_crcs.push(crc32c::crc32c(&packed));
            blocks.extend_from_slice(&packed);
        }
        let index = index.encode_to_vec();
        let (len, crc) = ((index.len() as u32).to_le_bytes(), crc32c::crc32c(&index).to_le_bytes());
        write_whole(path, &[MAGIC, &len, &crc, &index, &blocks])
    }

    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { path: path.display().to_string(), what };
        let file = File::open(path).map_err(io("open", path))?;
        let mut head = [0; HEAD_BYTES as usize];
        file.read_exact_at(&mut head, 0).map_err(io("read", path))?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if head[..8] != *MAGIC || word(8) > MAX_INDEX_BYTES {
            return Err(damaged("it does not begin as a file of pages"));
        }
        let mut index = vec![0; word(8) as usize];
        file.read_exact_at(&mut index, HEAD_BYTES).map_err(io("read", path))?;
        if crc32c::crc32c(&index) != word(12) {
            return Err(damaged("the checksum of its index is wrong"));
        }
        let start = HEAD_BYTES + index.len() as u64;
        let index = PackIndex::decode(index.as_slice()).map_err(|_| damaged("its index is not readable"))?;
        let (hashes, rest) = index.hashes.as_chunks::<32>();
        let blocks_fit = index.block_lens.len() == hashes.len().div_ceil(PAGES_PER_BLOCK)
            && index.block_crcs.len() == index.block_lens.len();
        if !rest.is_empty() || !blocks_fit {
            return Err(damaged("its index does not fit together"));
        }
        let mut offset = start;
        let blocks = index.block_lens.iter().zip(&index.block_crcs).map(|(&len, &crc)| {
            let at = offset;
            offset += u64::from(len);
            (at, len, crc)
        });
        let blocks = blocks.collect();
        Ok(PackFile { path: path.into(), hashes: hashes.to_vec(), file, blocks })
    }

    /// The pages of block `number`, one after the other.
    pub(super) fn block(&self, number: usize) -> Result<Vec<u8>, StoreError> {
        let damaged = |what| StoreError::Damaged { path: self.path.display().to_string(), what };
        let (offset, len, crc) = *self.blocks.get(number).ok_or(damaged("a block is missing"))?;
        if len as usize > 2 * PAGES_PER_BLOCK * PAGE_BYTES {
            return Err(damaged("the length of a block is impossible"));
        }
        let mut packed = vec![0; len as usize];
        self.file.read_exact_at(&mut packed, offset).map_err(io("read", &self.path))?;
        if crc32c::crc32c(&packed) != crc {
            return Err(damaged("the checksum of a block is wrong"));
        }
        let pages = (self.hashes.len() - number * PAGES_PER_BLOCK).min(PAGES_PER_BLOCK);
        let raw = zstd::bulk::decompress(&packed, pages * PAGE_BYTES).map_err(io("unpack", &self.path))?;
        if raw.len() == pages * PAGE_BYTES { Ok(raw) } else { Err(damaged("a block has another number of pages")) }
    }
}
