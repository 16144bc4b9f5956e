//! Writes a recording anew as one file that needs nothing else, with an index, and only the pages that it uses.
//!
//! All digests are computed again on the way, so a packed recording is a checked one. One that was cut short
//! ends where it can be replayed to.

use crate::encoder::{Checkpoint, Encoder};
use crate::format::records::{CheckpointKind, RecordingHeader};
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_cache::PageCache;
use crate::page_map::{PageMap, PageRef};
use crate::reader::ReadError;
use crate::recording::{CheckpointInfo, Recording};
use crate::replayer::ReplayError;
use crate::sink::Sink;
use crate::writer::WriteError;

/// A recording could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Reading it.
    #[error(transparent)]
    Read(#[from] ReplayError),
    /// Writing the new file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A checkpoint is not what it was.
    #[error(
        "the checkpoint at {0} does not have the digest that was recorded; pack without checkpoints, or verify the recording"
    )]
    Digest(crate::Position),
}

impl From<ReadError> for PackError {
    fn from(error: ReadError) -> Self {
        PackError::Read(error.into())
    }
}

impl From<FormatError> for PackError {
    fn from(error: FormatError) -> Self {
        PackError::Read(error.into())
    }
}

/// Writes `recording` to `sink`, with its checkpoints or only with what a replay from the start needs.
///
/// # Errors
/// If it cannot be read or written, or a state in it is not the recorded one.
pub fn pack(recording: &Recording, sink: Box<dyn Sink>, with_checkpoints: bool) -> Result<(), PackError> {
    let pages = recording.config()?.ram_bytes / PAGE_BYTES as u64;
    let header = RecordingHeader { snapshot: String::new(), tree: String::new(), ..recording.header().clone() };
    let mut encoder = Encoder::new(sink, &header, pages);
    let mut packer = Packer { recording, encoder: &mut encoder, cache: PageCache::default(), pages, events: 0 };
    let mut map = recording.base_map(pages)?;
    let mut written = PageMap::zero(pages);
    for info in recording.checkpoints() {
        let record = recording.checkpoint(info)?;
        for (page, number) in record.changes()? {
            if !map.set(page, PageRef::numbered(number)) {
                return Err(FormatError::Content("a checkpoint has a page that the machine has not").into());
            }
        }
        if with_checkpoints || info.kind != CheckpointKind::Seek {
            packer.log_until(info.events_before);
            packer.checkpoint(info, record, &map, &written)?;
            written = map.clone();
        }
    }
    packer.log_until(recording.events().len());
    let writer = encoder.writer();
    match recording.end() {
        Some(end) => encoder.end(recording.end_position(), end.reason, end.status, end.digest),
        None => writer.write_progress(recording.end_position())?,
    }
    Ok(encoder.writer().write()?)
}

struct Packer<'a> {
    recording: &'a Recording,
    encoder: &'a mut Encoder,
    cache: PageCache,
    pages: u64,
    /// Events written.
    events: usize,
}

impl Packer<'_> {
    fn log_until(&mut self, events: usize) {
        self.encoder.log(&self.recording.events()[self.events..events]);
        self.events = events;
    }

    /// Writes a checkpoint with RAM as in `map`, behind one with RAM as in `written`.
    fn checkpoint(
        &mut self,
        info: &CheckpointInfo,
        record: crate::format::records::CheckpointRecord,
        map: &PageMap,
        written: &PageMap,
    ) -> Result<(), PackError> {
        let indexes: Vec<u64> = match info.kind {
            // This one starts from nothing.
            CheckpointKind::Restart => {
                (0..self.pages).filter(|&page| !matches!(map.get(page), PageRef::Zero)).collect()
            }
            CheckpointKind::Seek | CheckpointKind::Initial => map.differences(written),
        };
        if info.kind == CheckpointKind::Restart {
            self.encoder.begin_restart(&indexes);
        }
        let wanted = indexes.iter().map(|&page| (page, map.get(page).clone())).collect();
        let encoder = &mut *self.encoder;
        self.cache.read::<ReadError>(self.recording, wanted, |page, bytes| {
            encoder.add_pages(&[page], bytes);
            Ok(())
        })?;
        let state = record.state.ok_or(FormatError::Content("a checkpoint has no state"))?;
        let digest = encoder.checkpoint(Checkpoint {
            position: info.position,
            kind: info.kind,
            state,
            config: record.config,
            base: info.base,
            events_before: None,
        });
        encoder.writer().write()?;
        if digest == info.digest { Ok(()) } else { Err(PackError::Digest(info.position)) }
    }
}
