//! RAM at the checkpoints of a file: which content each page has, from the lists of what checkpoints change.
//!
//! A recording that was finished has the lists apart from the states, with sums of those before
//! ([`crate::format::lists`]): one such block tells RAM at any of its checkpoints. Otherwise the lists of all checkpoints up to there are
//! read, with the states beside which they stand.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::format::FormatError;
use crate::format::records::ChangesRecord;
use crate::page_map::{PageMap, PageRef};
use crate::reader::ReadError;
use crate::recording::Recording;

/// Checkpoints of the file between two whose maps are kept.
const KEY_STEP: usize = 16;
/// Fewer lists of changes than these are not worth starting a thread for.
const FEW_CHANGES: usize = 16;

/// RAM at each checkpoint of a file, worked out as far as needed.
pub struct FileMaps {
    pages: u64,
    /// Changes of checkpoints, as far as they were read.
    changes: BTreeMap<usize, ChangesRecord>,
    /// All that was changed before some checkpoints.
    sums: BTreeMap<usize, ChangesRecord>,
    /// Maps at some of them: each [`KEY_STEP`]th that was passed but on the first way, and the last one asked for.
    keys: BTreeMap<usize, PageMap>,
    last: usize,
}

impl FileMaps {
    /// Of a machine with `pages` pages.
    pub fn new(pages: u64) -> Self {
        FileMaps { pages, changes: BTreeMap::new(), sums: BTreeMap::new(), keys: BTreeMap::new(), last: 0 }
    }

    /// Reads what changed up to the checkpoint number `index` on another thread and, behind `meanwhile`, on this one as well, if it
    /// stands beside the states. What cannot be read is left for [`Self::map`] to tell.
    pub fn read_ahead<T>(&mut self, recording: &Recording, index: usize, meanwhile: impl FnOnce() -> T) -> T {
        let wanted = recording.checkpoints().get(..=index).unwrap_or_default();
        if wanted.len() < FEW_CHANGES || self.read_lists(recording, index) {
            return meanwhile();
        }
        let read: Vec<OnceLock<ChangesRecord>> = wanted.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let at = |index: usize| wanted.get(index).zip(read.get(index));
        let work = || {
            while let Some((info, slot)) = at(next.fetch_add(1, Ordering::Relaxed)) {
                if let Ok(changes) = recording.changes(info) {
                    slot.get_or_init(|| changes);
                }
            }
        };
        let result = std::thread::scope(|scope| {
            // Without another thread this one does it.
            let other = std::thread::Builder::new().spawn_scoped(scope, work);
            let result = meanwhile();
            work();
            drop(other);
            result
        });
        let read = read.into_iter().enumerate();
        self.changes.extend(read.filter_map(|(index, slot)| Some((index, slot.into_inner()?))));
        result
    }

    /// RAM at the checkpoint number `index`.
    ///
    /// # Errors
    /// If a checkpoint up to there cannot be read.
    pub fn map(&mut self, recording: &Recording, index: usize) -> Result<PageMap, ReadError> {
        // Who goes to one place only needs no others: copies share little when all pages change.
        let is_again = !self.keys.is_empty();
        let (mut next, mut map) = match self.keys.range(..=index).next_back() {
            Some((key, map)) => (key + 1, map.clone()),
            None => (0, recording.base_map(self.pages)?),
        };
        if next <= index && !self.changes.contains_key(&index) {
            self.read_lists(recording, index);
        }
        let sum = self.sums.range(..=index).next_back().filter(|(first, _)| **first > next);
        if let Some((&first, sum)) = sum {
            apply(sum, &mut map)?;
            next = first;
        }
        while next <= index {
            let changes = match self.changes.entry(next) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(recording.changes(&recording.checkpoints()[next])?),
            };
            apply(changes, &mut map)?;
            if next.is_multiple_of(KEY_STEP) && is_again {
                self.keys.insert(next, map.clone());
            }
            next += 1;
        }
        if !self.last.is_multiple_of(KEY_STEP) {
            self.keys.remove(&self.last);
        }
        self.keys.insert(index, map.clone());
        self.last = index;
        Ok(map)
    }

    /// Reads the lists that stand together with that of checkpoint number `index`; whether there are such.
    fn read_lists(&mut self, recording: &Recording, index: usize) -> bool {
        let Some((first, lists)) = recording.lists(index) else { return false };
        self.changes.extend((first..).zip(lists.lists));
        self.sums.insert(first, lists.before.unwrap_or_default());
        true
    }
}

/// Makes changes to a map. What is as it was stays shared with copies.
fn apply(changes: &ChangesRecord, map: &mut PageMap) -> Result<(), FormatError> {
    for (page, number) in changes.changes()? {
        if !map.change(page, PageRef::numbered(number)) {
            return Err(FormatError::Content("a checkpoint has a page that the machine has not"));
        }
    }
    Ok(())
}
