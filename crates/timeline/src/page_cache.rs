//! Reads pages of a recording, block by block.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::records::PagesRecord;
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::{Page, PageRef};
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::store::StoreError;

/// Blocks of pages that are kept: 64 MiB.
const BLOCKS_KEPT: usize = 256;
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
        // By number, so that each block is read once.
        pages.sort_by_key(|(index, page)| match page {
            PageRef::File(number) => (*number, *index),
            PageRef::Zero | PageRef::Memory(_) | PageRef::Base(_) => (0, *index),
        });
        let mut current: Option<(usize, Arc<Block>)> = None;
        for (index, page) in pages {
            let number = match page {
                PageRef::Zero => {
                    take(index, &ZERO_PAGE)?;
                    continue;
                }
                PageRef::Memory(bytes) => {
                    take(index, &bytes)?;
                    continue;
                }
                PageRef::File(number) => number,
                PageRef::Base(_) => continue,
            };
            let missing = || ReadError::from(FormatError::Content("a page is missing"));
            let block = recording.pages.partition_point(|info| info.span.last < number);
            let bytes = match &current {
                Some((at, bytes)) if *at == block => bytes.clone(),
                _ if block < recording.pages.len() => self.block(recording, block)?,
                _ => return Err(missing().into()),
            };
            let content = bytes.page(number).ok_or_else(missing)?;
            take(index, content)?;
            current = Some((block, bytes));
        }
        Ok(())
    }

    fn block(&mut self, recording: &Recording, block: usize) -> Result<Arc<Block>, ReadError> {
        if let Some((_, bytes)) = self.blocks.iter().find(|(at, _)| *at == block) {
            return Ok(bytes.clone());
        }
        let info = recording.pages[block];
        let record: PagesRecord = recording.reader.message(&info.place)?;
        let numbers = record.numbers()?;
        if (numbers.first(), numbers.last()) != (Some(&info.span.first), Some(&info.span.last)) {
            return Err(FormatError::Content("a block holds other pages than the index says").into());
        }
        let bytes = Arc::new(Block { numbers, data: record.data });
        if self.blocks.len() >= BLOCKS_KEPT {
            self.blocks.pop_front();
        }
        self.blocks.push_back((block, bytes.clone()));
        Ok(bytes)
    }
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
