//! Appends blocks to a recording so that what was written once stays good.
//!
//! Blocks wait here until the sink has taken them whole. When it fails (a full disk), the part of a block that it
//! took is cut off again, and the next attempt goes on with the same block: nothing is lost.

use std::collections::VecDeque;
use std::io;

use prost::Message;

use crate::format::block::{Kind, Packer};
use crate::format::index::{self, BlockPlace};
use crate::format::preamble::{self, PREAMBLE_BYTES, Progress};
use crate::format::records::{CheckpointRecord, IndexRecord};
use crate::sink::Sink;

/// The recording could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the recording beyond its first {written} bytes: {source}; everything up to there is safe, and writing goes on when there is room"
)]
pub struct WriteError {
    /// Bytes of whole blocks in the file.
    pub written: u64,
    /// The host's answer.
    #[source]
    pub source: io::Error,
}

impl WriteError {
    /// Whether more room would help.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// A recording under construction.
pub struct Writer {
    sink: Box<dyn Sink>,
    /// Bytes of the file that are whole.
    written: u64,
    /// The file may be longer than that.
    torn: bool,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the file with all that waits.
    end: u64,
    blocks: Vec<BlockPlace>,
    page_counts: Vec<u32>,
    checkpoint_bytes: u64,
    checkpoints: Vec<CheckpointRecord>,
    progress_turn: u64,
    packer: Packer,
}

impl Writer {
    /// A new file; its preamble waits to be written.
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Writer {
            sink,
            written: 0,
            torn: true,
            waiting: VecDeque::from([preamble::encode().to_vec()]),
            end: PREAMBLE_BYTES as u64,
            blocks: Vec::new(),
            page_counts: Vec::new(),
            checkpoint_bytes: 0,
            checkpoints: Vec::new(),
            progress_turn: 0,
            packer: Packer::default(),
        }
    }

    /// Bytes that the file has when all that waits was written.
    pub fn len_bytes(&self) -> u64 {
        self.end
    }

    /// Appends a block.
    pub fn push(&mut self, kind: Kind, message: &impl Message) {
        let bytes = self.packer.pack(kind, self.blocks.len() as u32, &message.encode_to_vec());
        self.blocks.push(BlockPlace { kind: Some(kind), offset: self.end, len: bytes.len() as u64 });
        self.end += bytes.len() as u64;
        if matches!(kind, Kind::Pages | Kind::Checkpoint) {
            self.checkpoint_bytes += bytes.len() as u64;
        }
        self.waiting.push_back(bytes);
    }

    /// Notes for the index that the last block holds `count` pages.
    pub fn note_pages(&mut self, count: u32) {
        self.page_counts.push(count);
    }

    /// Appends a checkpoint and notes it for the index.
    pub fn push_checkpoint(&mut self, record: CheckpointRecord) {
        self.push(Kind::Checkpoint, &record);
        self.checkpoints.push(CheckpointRecord {
            state: None,
            page_steps: Vec::new(),
            content_steps: Vec::new(),
            config: None,
            ..record
        });
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// If the sink fails; the rest waits on.
    pub fn write(&mut self) -> Result<(), WriteError> {
        while let Some(bytes) = self.waiting.front() {
            let written = self.written;
            let failed = |source| WriteError { written, source };
            if self.torn {
                self.sink.truncate(written).map_err(failed)?;
            }
            self.torn = true;
            if let Err(source) = self.sink.write_at(written, bytes) {
                // Readers skip a torn tail too, so failing to cut it off is no other error.
                self.torn = self.sink.truncate(written).is_err();
                return Err(failed(source));
            }
            self.torn = false;
            self.written += bytes.len() as u64;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Writes what waits, and that the run was recorded up to `position`.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn write_progress(&mut self, position: crate::Position) -> Result<(), WriteError> {
        self.write()?;
        let slot = preamble::encode_slot(&Progress { position, file_bytes: self.written });
        self.progress_turn += 1;
        let offset = preamble::slot_offset(self.progress_turn);
        self.sink.write_at(offset, &slot).map_err(|source| WriteError { written: self.written, source })
    }

    /// Appends index and trailer; nothing may be appended after them.
    pub fn push_index(&mut self) {
        let index_offset = self.end;
        let record = IndexRecord {
            checkpoints: std::mem::take(&mut self.checkpoints),
            ..index::encode(&self.blocks, &self.page_counts)
        };
        self.push(Kind::Index, &record);
        let trailer = preamble::encode_trailer(index_offset);
        self.end += trailer.len() as u64;
        self.waiting.push_back(trailer.to_vec());
    }

    /// Bytes of the blocks with checkpoints and their pages, headers included.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes
    }
}
