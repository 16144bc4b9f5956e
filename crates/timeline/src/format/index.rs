//! Which blocks a file has: told by its index, or found by walking over them.

use super::FormatError;
use super::block::{HEADER_BYTES, Kind};
use super::preamble::PREAMBLE_BYTES;
use super::records::IndexRecord;

/// A block and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// `None`: unknown and to be skipped.
    pub kind: Option<Kind>,
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, header included.
    pub len: u64,
}

/// The index of `blocks`, in the order of the file.
pub fn encode(blocks: &[BlockPlace], page_counts: &[u32]) -> IndexRecord {
    IndexRecord {
        kinds: blocks.iter().map(|block| block.kind.map_or(0, |kind| kind as u8)).collect(),
        lengths: blocks.iter().map(|block| block.len).collect(),
        page_counts: page_counts.to_vec(),
        checkpoints: Vec::new(),
    }
}

/// The blocks that an index at `index_offset` names.
///
/// # Errors
/// If they do not fill the file up to the index.
pub fn decode(record: &IndexRecord, index_offset: u64) -> Result<Vec<BlockPlace>, FormatError> {
    let bad = FormatError::Content("the index does not fit the file");
    if record.kinds.len() != record.lengths.len() {
        return Err(bad);
    }
    let mut offset = PREAMBLE_BYTES as u64;
    let mut blocks = Vec::with_capacity(record.kinds.len());
    for (&kind, &len) in record.kinds.iter().zip(&record.lengths) {
        if len < HEADER_BYTES as u64 {
            return Err(bad);
        }
        blocks.push(BlockPlace { kind: Kind::from_number(kind), offset, len });
        offset = offset.checked_add(len).filter(|end| *end <= index_offset).ok_or(bad.clone())?;
    }
    if offset == index_offset { Ok(blocks) } else { Err(bad) }
}
