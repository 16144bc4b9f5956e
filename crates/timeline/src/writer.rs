//! Appends blocks to a recording so that what was written once stays good.
//!
//! Blocks wait here until the sink has taken them whole. When it fails (a full disk), the part of a block that it
//! took is cut off again, and the next attempt goes on with the same block: nothing is lost.

use std::collections::VecDeque;
use std::io;

use prost::Message;

use crate::format::MAX_BLOCK_BYTES;
use crate::format::block::{self, Kind, Packer};
use crate::format::index::{self, BlockPlace, PageSpan};
use crate::format::lists;
use crate::format::preamble::{self, PREAMBLE_BYTES, Progress};
use crate::format::records::{CheckpointRecord, IndexRecord, PagesRecord};
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

/// The pages of a block.
#[derive(Clone, Copy, Debug)]
pub struct PagesInfo {
    /// Their numbers.
    pub span: PageSpan,
    /// How many they are.
    pub count: u64,
}

/// What a recording under construction consists of.
pub struct Contents<'a> {
    sink: &'a dyn Sink,
    written: u64,
    /// Its blocks.
    pub blocks: &'a [BlockPlace],
    /// Of those that hold pages, which.
    pub pages: &'a [PagesInfo],
    checkpoints: &'a [CheckpointRecord],
}

impl Contents<'_> {
    /// Whether a block was written already.
    pub fn is_written(&self, block: usize) -> bool {
        self.blocks[block].offset + self.blocks[block].len <= self.written
    }

    /// The bytes of a block, header included.
    ///
    /// # Errors
    /// The host's.
    pub fn read(&self, place: BlockPlace) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.len as usize];
        self.sink.read_at(place.offset, &mut bytes)?;
        Ok(bytes)
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
    pages: Vec<PagesInfo>,
    checkpoint_bytes: u64,
    checkpoints: Vec<CheckpointRecord>,
    /// The first checkpoint of each block of lists.
    lists: Vec<u64>,
    progress_turn: u64,
    progress: Option<crate::Position>,
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
            pages: Vec::new(),
            checkpoint_bytes: 0,
            checkpoints: Vec::new(),
            lists: Vec::new(),
            progress_turn: 0,
            progress: None,
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
        self.append(Some(kind), bytes);
    }

    fn append(&mut self, kind: Option<Kind>, bytes: Vec<u8>) {
        self.blocks.push(BlockPlace { kind, offset: self.end, len: bytes.len() as u64 });
        self.end += bytes.len() as u64;
        if matches!(kind, Some(Kind::Pages | Kind::Checkpoint | Kind::Lists)) {
            self.checkpoint_bytes += bytes.len() as u64;
        }
        self.waiting.push_back(bytes);
    }

    /// Appends a block of pages with these ascending numbers, which are higher than all before.
    ///
    /// # Panics
    /// If there are none.
    pub fn push_pages(&mut self, numbers: &[u64], data: Vec<u8>) {
        let (&first, &last) = numbers.first().zip(numbers.last()).expect("a block has pages");
        self.push(Kind::Pages, &PagesRecord::new(numbers, data));
        self.pages.push(PagesInfo { span: PageSpan { first, last }, count: numbers.len() as u64 });
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

    /// Appends a block of another recording as it is, but for its number: the block at `place` of `from`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn copy(&mut self, from: &Contents<'_>, block: usize) -> io::Result<()> {
        let place = from.blocks[block];
        let mut bytes = from.read(place)?;
        block::renumber(&mut bytes, self.blocks.len() as u32);
        self.append(place.kind, bytes);
        Ok(())
    }

    /// As [`Self::copy`], of a block of pages.
    ///
    /// # Errors
    /// As there.
    pub fn copy_pages(&mut self, from: &Contents<'_>, block: usize, info: PagesInfo) -> io::Result<()> {
        self.copy(from, block)?;
        self.pages.push(info);
        Ok(())
    }

    /// As [`Self::copy`], of a checkpoint, the one with this number.
    ///
    /// # Errors
    /// As there.
    pub fn copy_checkpoint(&mut self, from: &Contents<'_>, block: usize, number: usize) -> io::Result<()> {
        self.copy(from, block)?;
        self.checkpoints.push(from.checkpoints[number].clone());
        Ok(())
    }

    /// What was appended so far.
    pub fn contents(&self) -> Contents<'_> {
        let Writer { sink, written, blocks, pages, checkpoints, .. } = self;
        Contents { sink: &**sink, written: *written, blocks, pages, checkpoints }
    }

    /// A new file that can take the place of this one, if there can be one.
    ///
    /// # Errors
    /// The host's.
    pub fn replacement(&self) -> io::Result<Option<Writer>> {
        Ok(self.sink.replacement()?.map(Writer::new))
    }

    /// Makes sure that what was written is on the disk.
    ///
    /// # Errors
    /// The host's.
    pub fn sync(&mut self) -> io::Result<()> {
        self.sink.sync()
    }

    /// Puts this file, a [`Self::replacement`], in the place of the other.
    ///
    /// # Errors
    /// The host's; the other file is still there then.
    pub fn take_place(&mut self) -> io::Result<()> {
        self.sink.take_place()
    }

    /// What [`Self::write_progress`] wrote last.
    pub fn progress(&self) -> Option<crate::Position> {
        self.progress
    }

    /// Whether all is written.
    pub fn is_written(&self) -> bool {
        self.waiting.is_empty()
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
        self.progress = Some(position);
        let offset = preamble::slot_offset(self.progress_turn);
        self.sink.write_at(offset, &slot).map_err(|source| WriteError { written: self.written, source })
    }

    /// Appends what each of the checkpoints has changed, without their states.
    pub fn push_lists<'a>(&mut self, changes: impl IntoIterator<Item = &'a [(u64, u64)]>) {
        for (number, block) in lists::blocks(changes).into_iter().enumerate() {
            let bytes = block.encode_to_vec();
            // One that is too large for a reader is done without.
            if bytes.len() <= MAX_BLOCK_BYTES {
                let bytes = self.packer.pack(Kind::Lists, self.blocks.len() as u32, &bytes);
                self.append(Some(Kind::Lists), bytes);
                self.lists.push((number * lists::STEP) as u64);
            }
        }
    }

    /// Appends index and trailer; nothing may be appended after them.
    pub fn push_index(&mut self) {
        let index_offset = self.end;
        let record = IndexRecord {
            checkpoints: std::mem::take(&mut self.checkpoints),
            lists: std::mem::take(&mut self.lists),
            ..index::encode(&self.blocks, &self.pages.iter().map(|info| info.span).collect::<Vec<_>>())
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
