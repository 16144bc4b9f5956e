//! Reads pages of a recording, block by block.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use crate::format::records::PagesRecord;
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::{Page, PageRef};
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::store::StoreError;

/// Blocks of pages that are kept: 64 MiB.
const BLOCKS_KEPT: usize = 256;
/// Threads that unpack blocks.
const MOST_THREADS: usize = 4;
/// Fewer blocks than these are not worth starting threads for.
const FEW_BLOCKS: usize = 8;
/// Unpacked blocks that wait to be given.
const BLOCKS_AHEAD: usize = 16;
const ZERO_PAGE: Page = [0; PAGE_BYTES];

/// The blocks of pages read last.
#[derive(Default)]
pub struct PageCache {
    blocks: VecDeque<(usize, Arc<Block>)>,
}

/// Pages and their numbers.
struct Block {
    numbers: Vec<u64>,
    data: Vec<u8>,
}

impl Block {
    fn page(&self, number: u64) -> Option<&Page> {
        let at = self.numbers.binary_search(&number).ok()?;
        self.data.get(at * PAGE_BYTES..)?.first_chunk()
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
        &mut self,
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
            match self.blocks.iter().find(|(known, _)| *known == at) {
                Some((_, block)) => give(&wanted, block)?,
                None => unread.push((at, wanted)),
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        if unread.len() < FEW_BLOCKS || threads < 2 {
            for (at, wanted) in unread {
                let block = Arc::new(read_block(recording, at)?);
                give(&wanted, &block)?;
                self.keep(at, block);
            }
            return Ok(());
        }
        self.read_beside(recording, &unread, threads, &mut give)
    }

    /// Reads and unpacks many blocks on other threads, while this one gives what is ready.
    fn read_beside<E: From<ReadError>>(
        &mut self,
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
                        if ready.send((*at, wanted, read_block(recording, *at))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(ready);
            // Owned here, so that the threads see the end of it after an error.
            for (at, wanted, block) in results {
                let block = Arc::new(block?);
                give(wanted, &block)?;
                self.keep(at, block);
            }
            Ok(())
        })
    }

    fn keep(&mut self, at: usize, block: Arc<Block>) {
        if self.blocks.len() >= BLOCKS_KEPT {
            self.blocks.pop_front();
        }
        self.blocks.push_back((at, block));
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
        let at = recording.pages.partition_point(|info| info.span.last < number);
        let info = recording.pages.get(at).filter(|info| info.span.first <= number).ok_or_else(missing)?;
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
