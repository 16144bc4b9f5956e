//! The first 80 bytes of a file, and the last 24 of a finished one.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 2, 2 | major and minor version |
//! | 12 | 4 | CRC-32C of the 12 bytes before |
//! | 16 | 32 | progress, slot 0 |
//! | 48 | 32 | progress, slot 1 |
//!
//! The progress says up to where the run was recorded, since a guest without inputs writes no blocks. The slots are
//! written in turn, so that one of them is whole at any time; the larger valid one counts.

use super::{FormatError, MAJOR, MINOR};
use crate::position::Position;
use x86::VirtualTime;

/// The first byte is no text, the last ones notice a transfer as text.
pub const MAGIC: [u8; 8] = *b"\x8aCVR\r\n\x1a\n";
/// Bytes before the first block.
pub const PREAMBLE_BYTES: usize = 80;
/// Bytes of a progress slot.
pub const SLOT_BYTES: usize = 32;
/// Bytes of the trailer: magic, offset of the index, a word of zero, CRC-32C of those.
pub const TRAILER_BYTES: usize = 24;
const TRAILER_MAGIC: [u8; 8] = *b"CVRINDEX";

/// How far a run was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The instant.
    pub position: Position,
    /// The bytes that the file had; what is missing of them makes the progress meaningless.
    pub file_bytes: u64,
}

/// The preamble of a new file.
pub fn encode() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    bytes[10..12].copy_from_slice(&MINOR.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks magic and version; gives the progress of a file of which `file_bytes` are whole blocks.
///
/// # Errors
/// If this is no recording, or none that this version reads.
pub fn check(bytes: &[u8; PREAMBLE_BYTES]) -> Result<[Option<Progress>; 2], FormatError> {
    if bytes[..8] != MAGIC {
        return Err(FormatError::NotARecording);
    }
    if crc32c::crc32c(&bytes[..12]).to_le_bytes() != bytes[12..16] {
        return Err(FormatError::Preamble);
    }
    let (major, minor) = (u16::from_le_bytes([bytes[8], bytes[9]]), u16::from_le_bytes([bytes[10], bytes[11]]));
    if major > MAJOR {
        return Err(FormatError::Newer(major, minor));
    }
    Ok([decode_slot(&bytes[16..48]), decode_slot(&bytes[48..80])])
}

/// The bytes of a progress slot.
pub fn encode_slot(progress: &Progress) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    let words = [progress.position.insns, progress.position.time.units(), progress.file_bytes];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Where slot `turn % 2` stands in the file.
pub fn slot_offset(turn: u64) -> u64 {
    16 + turn % 2 * SLOT_BYTES as u64
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn decode_slot(bytes: &[u8]) -> Option<Progress> {
    let whole = crc32c::crc32c(&bytes[..28]).to_le_bytes() == bytes[28..];
    let position = Position { insns: word(bytes, 0), time: VirtualTime::from_units(word(bytes, 8)) };
    // An unused slot is all zero, which is no progress either.
    whole.then_some(Progress { position, file_bytes: word(bytes, 16) })
}

/// The trailer of a file whose index stands at `index_offset`.
pub fn encode_trailer(index_offset: u64) -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[..8].copy_from_slice(&TRAILER_MAGIC);
    bytes[8..16].copy_from_slice(&index_offset.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Where the index stands, if `bytes` are a trailer.
pub fn decode_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<u64> {
    let whole = bytes[..8] == TRAILER_MAGIC && crc32c::crc32c(&bytes[..20]).to_le_bytes() == bytes[20..];
    whole.then(|| word(bytes, 8))
}
