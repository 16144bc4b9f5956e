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

/// The numbers of the pages in a block: the first, and the last, which may be further than there are pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSpan {
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

/// The index of `blocks`, in the order of the file; `spans` belong to those that hold pages.
pub fn encode(blocks: &[BlockPlace], spans: &[PageSpan]) -> IndexRecord {
    let ends = std::iter::once(0).chain(spans.iter().map(|span| span.last));
    IndexRecord {
        kinds: blocks.iter().map(|block| block.kind.map_or(0, |kind| kind as u8)).collect(),
        lengths: blocks.iter().map(|block| block.len).collect(),
        page_gaps: spans.iter().zip(ends).map(|(span, end)| span.first - end - 1).collect(),
        page_spans: spans.iter().map(|span| span.last - span.first).collect(),
        checkpoints: Vec::new(),
        lists: Vec::new(),
    }
}

/// The spans that an index names, one for each block of pages.
///
/// # Errors
/// If they are impossible.
pub fn decode_spans(record: &IndexRecord) -> Result<Vec<PageSpan>, FormatError> {
    let bad = FormatError::Content("the index has impossible page numbers");
    if record.page_gaps.len() != record.page_spans.len() {
        return Err(bad);
    }
    let mut end = 0_u64;
    let mut spans = Vec::with_capacity(record.page_gaps.len());
    for (&gap, &span) in record.page_gaps.iter().zip(&record.page_spans) {
        let first = end.checked_add(gap).and_then(|first| first.checked_add(1)).ok_or(bad.clone())?;
        end = first.checked_add(span).ok_or(bad.clone())?;
        spans.push(PageSpan { first, last: end });
    }
    Ok(spans)
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
