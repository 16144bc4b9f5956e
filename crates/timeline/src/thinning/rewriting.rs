//! Writes the file anew without the checkpoints that go, a block at a time.

use std::io;

use prost::Message;

use super::Saved;
use super::choice::Plan;
use crate::format::block::{self, Kind};
use crate::format::records::{CheckpointRecord, PagesRecord};
use crate::format::{FormatError, PAGE_BYTES, PAGES_PER_BLOCK};
use crate::writer::{Contents, PagesInfo, WriteError, Writer};

/// Bytes after which they are brought to the disk: a bit at a time, so that no job waits long for it.
const SYNC_BYTES: u64 = 4 << 20;

/// The new file could not be written; the old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Reading the old file, or putting the new one in its place.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Writing the new file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The old file is not what was written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// A file that is being written anew.
pub struct Rewriting {
    new: Writer,
    plan: Plan,
    /// Numbers of the pages that are needed, ascending, below `horizon`; from there on all are.
    live: Vec<u64>,
    horizon: u64,
    /// The next block of the old file, and how many blocks of pages and checkpoints came before it.
    next: usize,
    pages_passed: usize,
    checkpoints_passed: usize,
    /// Pages that wait for a full block, and their numbers.
    data: Vec<u8>,
    numbers: Vec<u64>,
    synced_bytes: u64,
}

impl Rewriting {
    /// Begins a file in `new` by `plan`; pages numbered from `horizon` on come later, and those of the `pending` changes are needed
    /// as well.
    pub fn new(new: Writer, plan: Plan, pending: &[(u64, u64)], horizon: u64) -> Self {
        let changes = plan.saved.iter().flat_map(|saved| &saved.changes).chain(pending);
        let numbers = changes.map(|&(_, number)| number);
        let mut live: Vec<u64> = numbers.filter(|&number| number != 0).collect();
        live.sort_unstable();
        live.dedup();
        Rewriting {
            new,
            plan,
            live,
            horizon,
            next: 0,
            pages_passed: 0,
            checkpoints_passed: 0,
            data: Vec::new(),
            numbers: Vec::new(),
            synced_bytes: 0,
        }
    }

    /// Whether the content with this number is in the new file.
    pub fn keeps(&self, number: u64) -> bool {
        number >= self.horizon || self.live.binary_search(&number).is_ok()
    }

    /// Copies a block if there is one; whether the new file has all that the old one has.
    ///
    /// # Errors
    /// If the new file cannot be written.
    pub fn step(&mut self, old: &Contents<'_>) -> Result<bool, RewriteError> {
        if self.next < old.blocks.len() && old.is_written(self.next) {
            self.take(old, self.next)?;
            self.next += 1;
            self.new.write()?;
            if self.new.len_bytes() - self.synced_bytes >= SYNC_BYTES {
                self.synced_bytes = self.new.len_bytes();
                self.new.sync()?;
            }
        }
        Ok(self.next == old.blocks.len())
    }

    /// Puts the new file, which has all that the old one has, in its place. Gives it and what it holds.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn finish(mut self, progress: Option<crate::Position>) -> Result<(Writer, Plan), RewriteError> {
        self.new.write()?;
        if let Some(position) = progress {
            self.new.write_progress(position)?;
        }
        self.new.sync()?;
        self.new.take_place()?;
        Ok((self.new, self.plan))
    }

    fn take(&mut self, old: &Contents<'_>, block: usize) -> Result<(), RewriteError> {
        match old.blocks[block].kind {
            Some(Kind::Pages) => {
                let info = old.pages[self.pages_passed];
                self.pages_passed += 1;
                self.take_pages(old, block, info)
            }
            Some(Kind::Checkpoint) => {
                let number = self.checkpoints_passed;
                self.checkpoints_passed += 1;
                self.take_checkpoint(old, block, number)
            }
            _ => Ok(self.new.copy(old, block)?),
        }
    }

    fn take_pages(&mut self, old: &Contents<'_>, block: usize, info: PagesInfo) -> Result<(), RewriteError> {
        let count = if info.span.first >= self.horizon {
            info.count
        } else {
            let start = self.live.partition_point(|&number| number < info.span.first);
            let end = self.live.partition_point(|&number| number <= info.span.last);
            (end - start) as u64
        };
        if count == 0 {
            return Ok(());
        }
        // A block of which little would go is not worth unpacking.
        if 4 * count >= 3 * info.count {
            self.push_pages();
            return Ok(self.new.copy_pages(old, block, info)?);
        }
        let record: PagesRecord = payload(old, block)?;
        for (number, page) in record.numbers()?.into_iter().zip(record.data.chunks_exact(PAGE_BYTES)) {
            if self.keeps(number) {
                self.numbers.push(number);
                self.data.extend_from_slice(page);
            }
            if self.numbers.len() >= PAGES_PER_BLOCK {
                self.push_pages();
            }
        }
        Ok(())
    }

    fn push_pages(&mut self) {
        if !self.numbers.is_empty() {
            self.new.push_pages(&std::mem::take(&mut self.numbers), std::mem::take(&mut self.data));
        }
    }

    fn take_checkpoint(&mut self, old: &Contents<'_>, block: usize, number: usize) -> Result<(), RewriteError> {
        let Some(&stays) = self.plan.stays.get(number) else {
            // It came later.
            self.push_pages();
            return Ok(self.new.copy_checkpoint(old, block, number)?);
        };
        if !stays {
            return Ok(());
        }
        self.push_pages();
        if number == 0 || self.plan.stays[number - 1] {
            return Ok(self.new.copy_checkpoint(old, block, number)?);
        }
        let place = self.plan.stays[..number].iter().filter(|stays| **stays).count();
        let Saved { changes, .. } = &self.plan.saved[place];
        let mut record: CheckpointRecord = payload(old, block)?;
        record.set_changes(changes);
        self.new.push_checkpoint(record);
        Ok(())
    }
}

/// The message in a block.
fn payload<M: Message + Default>(old: &Contents<'_>, block: usize) -> Result<M, RewriteError> {
    let place = old.blocks[block];
    let (_, payload) = block::decode(&old.read(place)?, place.offset)?;
    let decoded = M::decode(payload.as_slice());
    Ok(decoded.map_err(|_| FormatError::Block { offset: place.offset, what: "not what was written" })?)
}
