//! One block: a header of 24 bytes and a payload.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `CVRB` |
//! | 4 | 1 | [`Kind`] |
//! | 5 | 1 | flags: bit 0 the payload is compressed, bit 1 a reader that does not know the kind may skip it |
//! | 6 | 2 | zero |
//! | 8 | 4 | number of the block, from 0 |
//! | 12 | 4 | bytes of payload that follow |
//! | 16 | 4 | bytes of payload before compression |
//! | 20 | 4 | CRC-32C of the 20 bytes before and the payload |

use std::cell::RefCell;

use super::{FormatError, MAX_BLOCK_BYTES};

/// Bytes of a block's header.
pub const HEADER_BYTES: usize = 24;
const MARK: [u8; 4] = *b"CVRB";
const COMPRESSED: u8 = 1;
const OPTIONAL: u8 = 2;
/// Fast: what it saves in bytes it must not cost in time.
const ZSTD_LEVEL: i32 = 1;
/// Smaller payloads are not worth compressing.
const COMPRESS_FROM: usize = 200;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// [`super::records::RecordingHeader`].
    Header = 1,
    /// [`super::records::PagesRecord`].
    Pages = 2,
    /// [`super::records::CheckpointRecord`].
    Checkpoint = 3,
    /// [`super::records::LogRecord`].
    Log = 4,
    /// [`super::records::EndRecord`].
    End = 5,
    /// [`super::records::IndexRecord`].
    Index = 6,
    /// [`super::lists::ListsRecord`]; optional.
    Lists = 7,
}

impl Kind {
    /// Whether a reader that does not know it may skip it.
    fn is_optional(self) -> bool {
        self == Kind::Lists
    }

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        [Header, Pages, Checkpoint, Log, End, Index, Lists].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The header of a block, checked in itself but not against its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// `None`: a kind that this version does not know and may skip.
    pub kind: Option<Kind>,
    compressed: bool,
    /// Its number in the file.
    pub number: u32,
    /// Bytes of payload in the file.
    pub stored_len: u32,
    raw_len: u32,
}

/// What is wrong with a block of which only the beginning is there.
pub(crate) const CUT_OFF: &str = "cut off";

/// Makes blocks. It keeps the compressor's tables, which cost more to set up than a block to compress.
pub struct Packer(Option<zstd::bulk::Compressor<'static>>);

impl Default for Packer {
    fn default() -> Self {
        // Without one, blocks are larger.
        Packer(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok())
    }
}

impl Packer {
    /// A block with this payload, ready to be written.
    ///
    /// # Panics
    /// If the payload is larger than a reader would take.
    pub fn pack(&mut self, kind: Kind, number: u32, raw: &[u8]) -> Vec<u8> {
        assert!(raw.len() <= MAX_BLOCK_BYTES, "a block of {} bytes is too large to be read again", raw.len());
        let packed = (raw.len() >= COMPRESS_FROM)
            .then(|| self.0.as_mut()?.compress(raw).ok())
            .flatten()
            .filter(|packed| packed.len() < raw.len());
        let optional = if kind.is_optional() { OPTIONAL } else { 0 };
        let flags = optional | if packed.is_some() { COMPRESSED } else { 0 };
        let stored = packed.as_deref().unwrap_or(raw);
        assemble(kind as u8, flags, number, raw.len() as u32, stored)
    }
}

/// Gives a whole block another number.
///
/// # Panics
/// If it is shorter than a block's header.
pub fn renumber(block: &mut [u8], number: u32) {
    block[8..12].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..20]), &block[HEADER_BYTES..]);
    block[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// A single block with this payload.
pub fn encode(kind: Kind, number: u32, raw: &[u8]) -> Vec<u8> {
    Packer::default().pack(kind, number, raw)
}

fn assemble(kind: u8, flags: u8, number: u32, raw_len: u32, stored: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER_BYTES + stored.len());
    block.extend_from_slice(&MARK);
    block.extend_from_slice(&[kind, flags, 0, 0]);
    for word in [number, stored.len() as u32, raw_len] {
        block.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block), stored);
    block.extend_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(stored);
    block
}

/// Reads a header that stands at `offset` of the file.
///
/// # Errors
/// If it is none, or of a kind that must not be skipped and is not known.
pub fn decode_header(bytes: &[u8; HEADER_BYTES], offset: u64) -> Result<BlockHeader, FormatError> {
    let bad = |what| FormatError::Block { offset, what };
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[..4] != MARK {
        return Err(bad("damaged: its mark is missing"));
    }
    let (flags, stored_len, raw_len) = (bytes[5], word(12), word(16));
    if stored_len as usize > MAX_BLOCK_BYTES || raw_len as usize > MAX_BLOCK_BYTES {
        return Err(bad("damaged: its length is impossible"));
    }
    let kind = Kind::from_number(bytes[4]);
    if kind.is_none() && flags & OPTIONAL == 0 {
        return Err(bad("of a kind that this program does not know"));
    }
    Ok(BlockHeader { kind, compressed: flags & COMPRESSED != 0, number: word(8), stored_len, raw_len })
}

/// Unpacks `stored` to at most `most` bytes. Each thread keeps its unpacker, whose tables cost an eighth of a block of pages to make.
fn unpack(stored: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    UNPACKER.with_borrow_mut(|unpacker| match unpacker {
        Some(unpacker) => unpacker.decompress(stored, most),
        none => none.insert(zstd::bulk::Decompressor::new()?).decompress(stored, most),
    })
}

/// The payload of the block whose bytes, header included, are `bytes`.
///
/// # Errors
/// If the block is damaged.
pub fn decode(bytes: &[u8], offset: u64) -> Result<(BlockHeader, Vec<u8>), FormatError> {
    let bad = |what| FormatError::Block { offset, what };
    let (header_bytes, stored) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(bad(CUT_OFF))?;
    let header = decode_header(header_bytes, offset)?;
    if stored.len() != header.stored_len as usize {
        return Err(bad(CUT_OFF));
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header_bytes[..20]), stored);
    if crc.to_le_bytes() != header_bytes[20..] {
        return Err(bad("damaged: its checksum is wrong"));
    }
    if !header.compressed {
        return Ok((header, stored.to_vec()));
    }
    let raw = unpack(stored, header.raw_len as usize).map_err(|_| bad("damaged: it cannot be unpacked"))?;
    if raw.len() != header.raw_len as usize {
        return Err(bad("damaged: it unpacks to another length"));
    }
    Ok((header, raw))
}
