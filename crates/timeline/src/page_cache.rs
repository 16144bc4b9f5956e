//! Unpacked pages of a recording: its blocks are read by whoever needs them first, on any thread, and kept for a while.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use machine::ram::{RamError, RamWriter};
use prost::bytes::Bytes;

use crate::contents::Contents;
use crate::format::records::PagesRecord;
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::{Page, PageRef};
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::store::StoreError;

/// Blocks of pages that are kept: 64 MiB.
const BLOCKS_KEPT: usize = 1024;
/// Threads that unpack blocks.
const MOST_THREADS: usize = 4;
/// Fewer blocks than these are not worth starting threads for.
const FEW_BLOCKS: usize = 8;
/// Unpacked blocks that wait to be given.
const BLOCKS_AHEAD: usize = 16;
const ZERO_PAGE: Page = [0; PAGE_BYTES];
static ZEROS: [u8; 32 * PAGE_BYTES] = [0; 32 * PAGE_BYTES];

/// The pages read last.
#[derive(Default)]
pub struct PageCache {
    kept: Mutex<Kept>,
    most_contents: u64,
}

/// What is kept of them.
#[derive(Default)]
struct Kept {
    blocks: HashMap<usize, Slot>,
    /// Those of [`Self::blocks`], the oldest first.
    order: VecDeque<usize>,
    contents: Contents,
}

/// A block that someone reads or has read; `None`: it cannot be read.
type Slot = Arc<OnceLock<Option<Arc<Block>>>>;

/// Pages and their numbers.
struct Block {
    numbers: Vec<u64>,
    data: Bytes,
}

impl Block {
    fn page(&self, number: u64) -> Option<&Page> {
        let at = self.numbers.binary_search(&number).ok()?;
        self.data.get(at * PAGE_BYTES..)?.first_chunk()
    }

    /// Writes those of its pages that are wanted (number and index in RAM, ascending) into RAM.
    fn write<E: From<ReadError> + From<RamError>>(&self, wanted: &[(u64, u64)], ram: &RamWriter<'_>) -> Result<(), E> {
        // What stands together in both is written together.
        for run in wanted.chunk_by(|one, next| (one.0 + 1, one.1 + 1) == *next) {
            let at = self.numbers.binary_search(&run[0].0).map_err(|_| missing())?;
            let numbers = self.numbers.get(at..at + run.len()).ok_or_else(missing)?;
            if numbers.last() != run.last().map(|(number, _)| number) {
                return Err(missing().into());
            }
            let bytes = self.data.get(at * PAGE_BYTES..(at + run.len()) * PAGE_BYTES).ok_or_else(missing)?;
            ram.write(run[0].1, bytes)?;
        }
        Ok(())
    }
}

/// The pages that are wanted of one block: number and index in RAM, ascending.
type Wanted = (usize, Vec<(u64, u64)>);

impl PageCache {
    /// Gives each of `pages` (index in RAM, and where its content is) to `take`, in any order.
    ///
    /// # Errors
    /// Those of `take`, and if a page is not in the file or cannot be read.
    pub fn read<E: From<ReadError>>(
        &self,
        recording: &Recording,
        mut pages: Vec<(u64, PageRef)>,
        mut take: impl FnMut(u64, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        read_base(recording, &mut pages, &mut take)?;
        let mut numbers = Vec::new();
        for (index, page) in pages {
            match page {
                PageRef::Zero => take(index, &ZERO_PAGE)?,
                PageRef::Memory(bytes) => take(index, &bytes)?,
                PageRef::File(number) => numbers.push((number, index)),
                PageRef::Base(_) => {}
            }
        }
        numbers.sort_unstable();
        let mut give = |wanted: &[(u64, u64)], block: &Block| -> Result<(), E> {
            for &(number, index) in wanted {
                take(index, block.page(number).ok_or_else(missing)?)?;
            }
            Ok(())
        };
        let mut unread = Vec::new();
        for (at, wanted) in by_block(recording, &numbers)? {
            match self.known(at) {
                Some(block) => give(&wanted, &block)?,
                None => unread.push((at, wanted)),
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        if unread.len() < FEW_BLOCKS || threads < 2 {
            for (at, wanted) in unread {
                let block = self.block(recording, at)?;
                give(&wanted, &block)?;
            }
            return Ok(());
        }
        self.read_beside(recording, &unread, threads, &mut give)
    }

    /// Writes `pages` (index in RAM, and where its content is) into RAM. Blocks of the file are unpacked by several threads, and
    /// what comes from many of them is not kept: it is most of a machine.
    ///
    /// # Errors
    /// If a page is not in the file or cannot be read, or the host has no memory for it.
    pub fn write<E: From<ReadError> + From<RamError> + Send>(
        &self,
        recording: &Recording,
        mut pages: Vec<(u64, PageRef)>,
        ram: &RamWriter<'_>,
    ) -> Result<(), E> {
        read_base(recording, &mut pages, &mut |page, bytes: &Page| -> Result<(), E> { Ok(ram.write(page, bytes)?) })?;
        let mut numbers = Vec::new();
        let mut zeros: Vec<u64> = Vec::new();
        let mut kept = self.kept();
        for (index, page) in pages {
            match page {
                PageRef::Zero => zeros.push(index),
                PageRef::Memory(bytes) => ram.write(index, &bytes[..])?,
                PageRef::File(number) => match kept.contents.get(number) {
                    Some(bytes) => ram.write(index, bytes)?,
                    None => numbers.push((number, index)),
                },
                PageRef::Base(_) => {}
            }
        }
        drop(kept);
        for run in zeros.chunk_by(|one, next| one + 1 == *next) {
            for part in run.chunks(ZEROS.len() / PAGE_BYTES) {
                ram.write(part[0], &ZEROS[..part.len() * PAGE_BYTES])?;
            }
        }
        numbers.sort_unstable();
        let mut unread = Vec::new();
        for (at, wanted) in by_block(recording, &numbers)? {
            match self.known(at) {
                Some(block) => block.write::<E>(&wanted, ram)?,
                None => unread.push((at, wanted)),
            }
        }
        if unread.len() < FEW_BLOCKS {
            for (at, wanted) in unread {
                self.block(recording, at)?.write::<E>(&wanted, ram)?;
            }
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), E> {
            while let Some((at, wanted)) = unread.get(next.fetch_add(1, Ordering::Relaxed)) {
                read_block(recording, *at)?.write::<E>(wanted, ram)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(other);
            }
            result
        })
    }

    /// Keeps the content with this number of the file in memory, if there is room for it.
    pub fn keep_content(&self, number: u64, bytes: &Page) {
        let contents = &mut self.kept().contents;
        if contents.len() < self.most_contents && !contents.has(number) {
            contents.insert(number, bytes, self.most_contents);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere leaves nothing half done in there.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With room for so many bytes of contents.
    #[must_use]
    pub fn with_contents(self, bytes: u64) -> Self {
        PageCache { most_contents: bytes / PAGE_BYTES as u64, ..self }
    }

    /// Reads and unpacks many blocks on other threads, while this one gives what is ready.
    fn read_beside<E: From<ReadError>>(
        &self,
        recording: &Recording,
        unread: &[Wanted],
        threads: usize,
        give: &mut impl FnMut(&[(u64, u64)], &Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let next = AtomicUsize::new(0);
        let (ready, results) = sync_channel(BLOCKS_AHEAD);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (ready, next) = (ready.clone(), &next);
                scope.spawn(move || {
                    while let Some((at, wanted)) = unread.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // Nobody listens any more after an error.
                        if ready.send((wanted, self.block(recording, *at))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(ready);
            // Owned here, so that the threads see the end of it after an error.
            for (wanted, block) in results {
                give(wanted, &*block?)?;
            }
            Ok(())
        })
    }

    /// Gives the content `page` to `to`, and keeps the block that it is in.
    ///
    /// # Errors
    /// If it is not in the file or cannot be read.
    pub fn load(&self, recording: &Recording, page: &PageRef, to: &mut Page) -> Result<(), ReadError> {
        match page {
            PageRef::Zero => to.fill(0),
            PageRef::Memory(bytes) => to.copy_from_slice(&bytes[..]),
            PageRef::File(number) => {
                if let Some(bytes) = self.kept().contents.get(*number) {
                    to.copy_from_slice(bytes);
                    return Ok(());
                }
                let block = self.block_with(recording, *number)?;
                to.copy_from_slice(block.page(*number).ok_or_else(missing)?);
                if self.most_contents > 0 {
                    // What is touched will be again.
                    self.kept().contents.insert(*number, to, self.most_contents);
                }
            }
            PageRef::Base(_) => {
                let mut take = |_, bytes: &Page| -> Result<(), ReadError> {
                    to.copy_from_slice(bytes);
                    Ok(())
                };
                read_base(recording, &mut vec![(0, page.clone())], &mut take)?;
            }
        }
        Ok(())
    }

    /// Whether the content `page` can be had.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check(&self, recording: &Recording, page: &PageRef) -> Result<(), ReadError> {
        match page {
            PageRef::File(number) if !self.has(*number) => {
                let block = self.block_with(recording, *number)?;
                block.page(*number).map(|_| ()).ok_or_else(missing)
            }
            _ => Ok(()),
        }
    }

    /// Whether the content with this number is at hand without its block.
    fn has(&self, number: u64) -> bool {
        self.kept().contents.has(number)
    }

    /// Those of the contents with these numbers that are not at hand without their blocks.
    pub fn missing(&self, numbers: impl Iterator<Item = u64>) -> Vec<u64> {
        let kept = self.kept();
        numbers.filter(|number| !kept.contents.has(*number)).collect()
    }

    /// Whether block number `at` is there, or somebody reads it.
    pub fn has_block(&self, at: usize) -> bool {
        self.kept().blocks.contains_key(&at)
    }

    /// Reads a block, if it is not there, for those who will ask for it.
    pub fn prepare(&self, recording: &Recording, at: usize) {
        // Who needs it sees the error.
        let _ = self.block(recording, at);
    }

    /// The block with the content of this number.
    fn block_with(&self, recording: &Recording, number: u64) -> Result<Arc<Block>, ReadError> {
        self.block(recording, recording.block_of(number).ok_or_else(missing)?)
    }

    /// Block number `at`, read now if nobody has; if somebody does, waits for that.
    fn block(&self, recording: &Recording, at: usize) -> Result<Arc<Block>, ReadError> {
        let slot = self.kept().slot(at);
        let mut error = None;
        let block = slot.get_or_init(|| match read_block(recording, at) {
            Ok(block) => Some(Arc::new(block)),
            Err(why) => {
                error = Some(why);
                None
            }
        });
        match (block, error) {
            (Some(block), _) => Ok(block.clone()),
            (None, Some(error)) => Err(error),
            // Another thread has seen why.
            (None, None) => read_block(recording, at).map(Arc::new),
        }
    }

    /// Block number `at`, if it has been read.
    fn known(&self, at: usize) -> Option<Arc<Block>> {
        self.kept().blocks.get(&at)?.get()?.clone()
    }
}

impl Kept {
    /// The place of block number `at`.
    fn slot(&mut self, at: usize) -> Slot {
        if let Some(slot) = self.blocks.get(&at) {
            return slot.clone();
        }
        while self.order.len() >= BLOCKS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
        self.order.push_back(at);
        self.blocks.entry(at).or_default().clone()
    }
}

fn missing() -> ReadError {
    FormatError::Content("a page is missing").into()
}

/// Sorts pages (number and index in RAM, ascending) by the block that they are in.
fn by_block(recording: &Recording, numbers: &[(u64, u64)]) -> Result<Vec<Wanted>, ReadError> {
    let mut blocks: Vec<Wanted> = Vec::new();
    let mut rest = numbers;
    while let Some(&(number, _)) = rest.first() {
        let at = recording.block_of(number).ok_or_else(missing)?;
        let info = recording.pages[at];
        let (here, later) = rest.split_at(rest.partition_point(|(number, _)| *number <= info.span.last));
        blocks.push((at, here.to_vec()));
        rest = later;
    }
    Ok(blocks)
}

fn read_block(recording: &Recording, at: usize) -> Result<Block, ReadError> {
    let info = recording.pages[at];
    let record: PagesRecord = recording.reader.message(&info.place)?;
    let numbers = record.numbers()?;
    if (numbers.first(), numbers.last()) != (Some(&info.span.first), Some(&info.span.last)) {
        return Err(FormatError::Content("a block holds other pages than the index says").into());
    }
    Ok(Block { numbers, data: record.data })
}

/// Gives those of `pages` to `take` that are in the state which the recording begins with, and takes them out.
fn read_base<E: From<ReadError>>(
    recording: &Recording,
    pages: &mut Vec<(u64, PageRef)>,
    take: &mut impl FnMut(u64, &Page) -> Result<(), E>,
) -> Result<(), E> {
    let (mut wanted, mut places) = (Vec::new(), Vec::new());
    pages.retain(|(index, page)| match page {
        PageRef::Base(base) => {
            wanted.push((*base, *index));
            false
        }
        _ => true,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.sort_unstable();
    places.extend(wanted.iter().map(|(base, _)| *base));
    let missing = || ReadError::from(FormatError::Content("the state that it begins with is missing"));
    let base = recording.base().ok_or_else(missing)?;
    let mut taken = Ok(());
    let read = base.read::<StoreError>(&places, |place, page| {
        let first = wanted.partition_point(|(base, _)| *base < place);
        for (_, index) in wanted[first..].iter().take_while(|(base, _)| *base == place) {
            if taken.is_ok() {
                taken = take(*index, page);
            }
        }
        Ok(())
    });
    read.map_err(ReadError::from)?;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_is_kept_on_the_way() {
        let cache = PageCache::default().with_contents(3 * PAGE_BYTES as u64);
        for number in 1..=5 {
            cache.keep_content(number, &[0; PAGE_BYTES]);
        }
        assert_eq!(cache.missing(1..=5), [4, 5]);
        assert_eq!(PageCache::default().missing(1..=2), [1, 2]);
    }
}
