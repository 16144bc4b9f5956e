//! Finds the blocks of a file and reads them, each checked.

use std::io;

use prost::Message;
use prost::bytes::Bytes;

use crate::format::FormatError;
use crate::format::block::{self, BlockHeader, HEADER_BYTES, Kind};
use crate::format::index::{self, BlockPlace};
use crate::format::preamble::{self, PREAMBLE_BYTES, Progress, TRAILER_BYTES};
use crate::format::records::IndexRecord;
use crate::sink::Source;
use crate::store::StoreError;

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The host does not give its bytes.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// Its bytes are not as they should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The store with the state that it begins with.
    #[error("cannot read the state that the recording begins with: {0}")]
    Base(#[source] Box<StoreError>),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        ReadError::Base(Box::new(error))
    }
}

/// A file and its blocks.
pub struct Reader {
    source: Box<dyn Source>,
    len: u64,
}

/// What walking over a file found.
pub struct Walk {
    /// The whole blocks from the first on.
    pub blocks: Vec<BlockPlace>,
    /// The end of the last of them.
    pub end: u64,
    /// What is wrong with the bytes behind them, if there are any.
    pub fault: Option<FormatError>,
}

impl Reader {
    /// A file.
    ///
    /// # Errors
    /// If the host does not tell its length.
    pub fn new(source: Box<dyn Source>) -> Result<Self, ReadError> {
        let len = source.len_bytes()?;
        Ok(Reader { source, len })
    }

    /// Bytes in the file.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Checks the preamble; gives the progress slots that are whole.
    ///
    /// # Errors
    /// If this is no recording that can be read.
    pub fn preamble(&self) -> Result<[Option<Progress>; 2], ReadError> {
        let mut bytes = [0; PREAMBLE_BYTES];
        let here = self.len.min(PREAMBLE_BYTES as u64) as usize;
        self.source.read_at(0, &mut bytes[..here])?;
        if here < PREAMBLE_BYTES {
            let begins = here > 0 && preamble::MAGIC.starts_with(&bytes[..here.min(8)]);
            return Err(match here {
                0 => FormatError::Empty,
                _ if begins => FormatError::Preamble,
                _ => FormatError::NotARecording,
            }
            .into());
        }
        Ok(preamble::check(&bytes)?)
    }

    /// The index, and the blocks it names, if the file was finished and they are sound.
    pub fn index(&self) -> Option<(IndexRecord, Vec<BlockPlace>)> {
        let trailer_offset = self.len.checked_sub(TRAILER_BYTES as u64)?;
        let mut trailer = [0; TRAILER_BYTES];
        self.source.read_at(trailer_offset, &mut trailer).ok()?;
        let offset = preamble::decode_trailer(&trailer)?;
        let len = trailer_offset.checked_sub(offset)?;
        let place = BlockPlace { kind: Some(Kind::Index), offset, len };
        let record: IndexRecord = self.message(&place).ok()?;
        let blocks = index::decode(&record, offset).ok()?;
        Some((record, blocks))
    }

    /// Walks over the file from block to block.
    ///
    /// # Errors
    /// If the host does not give its bytes.
    pub fn walk(&self) -> Result<Walk, ReadError> {
        let mut walk = Walk { blocks: Vec::new(), end: PREAMBLE_BYTES as u64, fault: None };
        while walk.end < self.len {
            let number = walk.blocks.len() as u32;
            match self.block_at(walk.end, number) {
                Ok(place) => {
                    walk.end += place.len;
                    walk.blocks.push(place);
                    if place.kind == Some(Kind::Index) {
                        break;
                    }
                }
                Err(ReadError::Format(fault)) => {
                    walk.fault = Some(fault);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(walk)
    }

    /// Checks the block at `offset`, which must have this number.
    fn block_at(&self, offset: u64, number: u32) -> Result<BlockPlace, ReadError> {
        let cut_off = FormatError::Block { offset, what: block::CUT_OFF };
        let mut header = [0; HEADER_BYTES];
        if self.len - offset < HEADER_BYTES as u64 {
            return Err(cut_off.into());
        }
        self.source.read_at(offset, &mut header)?;
        let header = block::decode_header(&header, offset)?;
        let place = BlockPlace { kind: header.kind, offset, len: HEADER_BYTES as u64 + u64::from(header.stored_len) };
        if place.len > self.len - offset {
            return Err(cut_off.into());
        }
        if header.number != number {
            return Err(FormatError::Block { offset, what: "not the one that should be there" }.into());
        }
        self.payload(&place)?;
        Ok(place)
    }

    /// The payload of a block.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn payload(&self, place: &BlockPlace) -> Result<(BlockHeader, Vec<u8>), ReadError> {
        let inside = place.offset.checked_add(place.len).is_some_and(|end| end <= self.len);
        if !inside || place.len > (HEADER_BYTES + crate::format::MAX_BLOCK_BYTES) as u64 {
            return Err(FormatError::Content("a block lies outside of the file").into());
        }
        let mut bytes = vec![0; place.len as usize];
        self.source.read_at(place.offset, &mut bytes)?;
        Ok(block::decode(&bytes, place.offset)?)
    }

    /// The message in a block.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is of another kind than `place` says.
    pub fn message<M: Message + Default>(&self, place: &BlockPlace) -> Result<M, ReadError> {
        let offset = place.offset;
        let (header, payload) = self.payload(place)?;
        if header.kind != place.kind {
            return Err(FormatError::Block { offset, what: "of another kind than the index says" }.into());
        }
        // Bytes in the message are not copied.
        let decoded = M::decode(Bytes::from(payload));
        Ok(decoded.map_err(|_| FormatError::Block { offset, what: "not readable, though its checksum is right" })?)
    }
}
