//! Turns states of a machine into blocks of a recording: finds the pages that really changed, gives each
//! content one number, packs them, and computes the digests. It works on copies, so it can run beside the
//! machine.

use std::collections::HashMap;

use machine::MachineState;

use crate::Position;
use crate::format::block::Kind;
use crate::format::log::{self, Event};
use crate::format::records::{CheckpointKind, CheckpointRecord, ConfigRecord, EndReason, EndRecord, RecordingHeader};
use crate::format::{PAGE_BYTES, PAGES_PER_BLOCK};
use crate::page_map::Page;
use crate::sink::Sink;
use crate::thinning::{Saved, Thinner};
use crate::writer::Writer;
use machine::page_hashes::{PageHash, PageHashes, ZERO, hash};

/// Events in one block at most.
const EVENTS_PER_BLOCK: usize = 1 << 16;
/// Bytes of pages in one block at most.
const BLOCK_BYTES: usize = PAGES_PER_BLOCK * PAGE_BYTES;

/// A state to be saved.
pub struct Checkpoint {
    /// Where.
    pub position: Position,
    /// Why.
    pub kind: CheckpointKind,
    /// All but RAM.
    pub state: MachineState,
    /// With [`CheckpointKind::Restart`]: the new machine.
    pub config: Option<ConfigRecord>,
    /// Where the machine's own counts begin.
    pub base: Position,
    /// How many events come before it; `None`: all that were given.
    pub events_before: Option<u64>,
}

/// Writes a recording.
pub struct Encoder {
    writer: Writer,
    /// Of RAM at the last checkpoint.
    hashes: PageHashes,
    pages: u64,
    /// The number of each content in the file.
    numbers: HashMap<PageHash, u64>,
    next_number: u64,
    /// Pages that wait for a full block.
    block: Vec<u8>,
    /// Changed pages that go into the next checkpoint, and the numbers of their contents.
    changes: Vec<(u64, u64)>,
    events: u64,
    /// The checkpoints in the file.
    saved: Vec<Saved>,
    thinner: Thinner,
}

impl Encoder {
    /// A recording of a machine with `pages` pages of RAM; nothing is written yet.
    pub fn new(sink: Box<dyn Sink>, header: &RecordingHeader, pages: u64) -> Self {
        let mut writer = Writer::new(sink);
        writer.push(Kind::Header, header);
        Encoder {
            writer,
            hashes: PageHashes::zero(pages),
            pages,
            numbers: HashMap::new(),
            next_number: 1,
            block: Vec::with_capacity(BLOCK_BYTES),
            changes: Vec::new(),
            events: 0,
            saved: Vec::new(),
            thinner: Thinner::default(),
        }
    }

    /// The recording begins with these pages (index and content), which are elsewhere.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn begin_with(&mut self, pages: &[(u64, PageHash)]) {
        for (page, hash) in pages {
            self.hashes.set(*page, *hash);
        }
    }

    /// The same, with checkpoints thinned out to keep within `budget_bytes`, if `sink` can be replaced.
    #[must_use]
    pub fn with_budget(self, budget_bytes: u64) -> Self {
        Encoder { thinner: Thinner::new(budget_bytes), ..self }
    }

    /// What is to be said of thinning: whether it is done when it is time for it, and the interval of checkpoints.
    pub fn thinning(&self) -> (bool, u64) {
        (self.thinner.is_able(), self.thinner.interval())
    }

    /// Begins to thin out the checkpoints, because there is no room for the next.
    pub fn make_room(&mut self) {
        // A state may have been packed in part: what it needs stays, too.
        if self.thinner.begin(&self.writer, &self.saved, &self.changes, self.next_number) {
            // What goes must not be used again.
            let thinner = &self.thinner;
            self.numbers.retain(|_, number| thinner.keeps(*number));
        }
    }

    /// Whether [`Self::thin`] has something to do.
    pub fn is_thinning(&self) -> bool {
        self.thinner.is_busy()
    }

    /// Does a little of the work of thinning; whether there is more.
    pub fn thin(&mut self) -> bool {
        self.thinner.step(&mut self.writer, &mut self.saved)
    }

    /// The file.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Appends events to the log.
    pub fn log(&mut self, events: &[Event]) {
        for part in events.chunks(EVENTS_PER_BLOCK) {
            if let Some(record) = log::encode(part, self.events) {
                self.writer.push(Kind::Log, &record);
                self.events += part.len() as u64;
            }
        }
    }

    /// Adds pages that changed to the next checkpoint: their indexes, and their bytes one after the other.
    pub fn add_pages(&mut self, pages: &[u64], bytes: &[u8]) {
        for (&page, bytes) in pages.iter().zip(bytes.as_chunks::<PAGE_BYTES>().0) {
            let hash = hash(bytes);
            if self.hashes.set(page, hash) {
                let number = self.number(hash, bytes);
                self.changes.push((page, number));
            }
        }
    }

    /// The next checkpoint is a [`CheckpointKind::Restart`]: all pages but `kept` are zero in it. To be said before pages
    /// are added to it.
    pub fn begin_restart(&mut self, kept: &[u64]) {
        let cleared = self.clear_all_but(kept);
        self.changes.extend(cleared.into_iter().map(|page| (page, 0)));
    }

    /// Appends a checkpoint, with the pages that were added since the last; events that come before it were given to
    /// [`Self::log`] already. Gives its digest.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> [u8; 32] {
        let Checkpoint { position, kind, state, config, base, events_before } = checkpoint;
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_unstable();
        self.push_pages();
        let digest = self.hashes.digest(&state).0;
        let mut record = CheckpointRecord {
            position: Some(position.into()),
            kind: kind.into(),
            events_before: events_before.unwrap_or(self.events),
            digest: digest.to_vec(),
            state: Some(state),
            config,
            base: Some(base.into()),
            ..CheckpointRecord::default()
        };
        record.set_changes(&changes);
        self.writer.push_checkpoint(record);
        self.saved.push(Saved { insns: position.insns, kind, changes });
        if self.thinner.is_time(&self.writer) {
            self.make_room();
        }
        digest
    }

    /// Makes all pages zero but those in `kept`, and gives the ones that were not.
    fn clear_all_but(&mut self, kept: &[u64]) -> Vec<u64> {
        let mut kept = kept.iter().copied().peekable();
        let mut cleared = Vec::new();
        for page in 0..self.pages {
            if kept.next_if_eq(&page).is_none() && self.hashes.set(page, ZERO) {
                cleared.push(page);
            }
        }
        cleared
    }

    /// The number of a content, which is written if it is new.
    fn number(&mut self, hash: PageHash, bytes: &Page) -> u64 {
        if hash == ZERO {
            return 0;
        }
        if let Some(&number) = self.numbers.get(&hash) {
            return number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(hash, number);
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK_BYTES {
            self.push_pages();
        }
        number
    }

    fn push_pages(&mut self) {
        let count = (self.block.len() / PAGE_BYTES) as u64;
        if count > 0 {
            let numbers: Vec<u64> = (self.next_number - count..self.next_number).collect();
            self.writer.push_pages(&numbers, std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES)));
        }
    }

    /// Events that were given.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The digest of the machine with this state, if the pages that changed since the last checkpoint have these hashes. No
    /// checkpoint can come after it.
    pub fn digest_of(&mut self, state: &MachineState, changed: impl IntoIterator<Item = (u64, PageHash)>) -> [u8; 32] {
        for (page, hash) in changed {
            self.hashes.set(page, hash);
        }
        self.hashes.digest(state).0
    }

    /// Appends the end, and the index.
    pub fn end(&mut self, position: Position, reason: EndReason, status: u8, digest: [u8; 32]) {
        self.thinner.stop();
        self.writer.push_lists(self.saved.iter().map(|saved| saved.changes.as_slice()));
        self.writer.push(
            Kind::End,
            &EndRecord {
                position: Some(position.into()),
                reason: reason.into(),
                digest: digest.to_vec(),
                events: self.events,
                status: status.into(),
            },
        );
        self.writer.push_index();
    }
}
