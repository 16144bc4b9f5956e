//! The states that a replay can go back to: those of the file, and those it keeps in memory on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use machine::{MachineConfig, MachineState};

use crate::format::records::ChangesRecord;
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::{PageMap, PageRef};
use crate::position::Position;
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::target::Target;

/// What a checkpoint takes beside its pages, in pages: the state, and the map.
const STATE_PAGES: u64 = 16;
/// Checkpoints of the file between two whose maps are kept.
const KEY_STEP: usize = 16;

/// Fewer lists of changes than these are not worth starting a thread for.
const FEW_CHANGES: usize = 16;

/// A state kept in memory.
#[derive(Clone)]
pub struct MemoryCheckpoint {
    /// Where.
    pub position: Position,
    /// Events before it.
    pub events_before: usize,
    /// Restarts before it, the initial state included.
    pub restarts: usize,
    /// The machine, as resets have made it.
    pub config: MachineConfig,
    /// Where the machine's own counts begin.
    pub base: Position,
    /// All but RAM.
    pub state: Arc<MachineState>,
    /// RAM.
    pub map: PageMap,
    /// Pages whose content is in memory since this checkpoint and was not at the one before, ascending.
    pub pages: Vec<u32>,
}

/// Checkpoints in memory, ascending, within a budget.
pub struct MemoryCheckpoints {
    kept: Vec<MemoryCheckpoint>,
    budget_bytes: u64,
    interval: u64,
}

impl MemoryCheckpoints {
    /// None yet; at most about `budget_bytes`, `interval` steps apart at least.
    pub fn new(budget_bytes: u64, interval: u64) -> Self {
        MemoryCheckpoints { kept: Vec::new(), budget_bytes, interval: interval.max(1) }
    }

    /// Bytes that they may take, about.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Whether one at `here` would be far enough from the others.
    pub fn wants(&self, here: Position) -> bool {
        let far = |kept: &MemoryCheckpoint| kept.position.insns.abs_diff(here.insns) >= self.interval;
        let next = self.kept.partition_point(|kept| kept.position <= here);
        self.budget_bytes > 0
            && self.kept.get(next).is_none_or(far)
            && next.checked_sub(1).is_none_or(|before| far(&self.kept[before]))
    }

    /// Keeps one; if that is too much, about every second is dropped, and their distance doubles.
    pub fn keep(&mut self, checkpoint: MemoryCheckpoint) {
        let at = self.kept.partition_point(|kept| kept.position <= checkpoint.position);
        self.kept.insert(at, checkpoint);
        while self.kept.len() > 2 && self.bytes() > self.budget_bytes {
            self.interval = self.interval.saturating_mul(2);
            self.thin();
        }
    }

    /// Keeps only those for which `is_good` is true.
    pub fn retain(&mut self, is_good: impl Fn(&MemoryCheckpoint) -> bool) {
        self.kept.retain(is_good);
    }

    /// What they take, about.
    fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| (kept.pages.len() as u64 + STATE_PAGES) * PAGE_BYTES as u64).sum()
    }

    /// Drops each one without which its neighbours are still at most an interval apart.
    fn thin(&mut self) {
        let mut thinned: Vec<MemoryCheckpoint> = Vec::with_capacity(self.kept.len());
        let mut all = std::mem::take(&mut self.kept).into_iter().peekable();
        // Contents of those that were dropped; the next one may still have them.
        let mut dropped: Vec<u32> = Vec::new();
        while let Some(mut kept) = all.next() {
            let before = thinned.last().map(|before| before.position.insns);
            let gap = before.zip(all.peek()).map(|(before, next)| next.position.insns.saturating_sub(before));
            if gap.is_some_and(|gap| gap <= self.interval.saturating_add(self.interval / 4)) {
                dropped.append(&mut kept.pages);
                continue;
            }
            kept.pages.append(&mut dropped);
            kept.pages.sort_unstable();
            kept.pages.dedup();
            thinned.push(kept);
        }
        self.kept = thinned;
    }

    /// The last one from which `target`, before which `events` events and `restarts` restarts come, can be reached.
    pub fn before(&self, target: Target, events: usize, restarts: usize, start: Position) -> Option<&MemoryCheckpoint> {
        let comes_before = |kept: &MemoryCheckpoint| kept.events_before <= events && kept.restarts <= restarts;
        self.kept.iter().rev().find(|kept| target.can_follow(kept.position, start) && comes_before(kept))
    }
}

/// RAM at each checkpoint of a file, worked out as far as needed.
pub struct FileMaps {
    pages: u64,
    /// Changes up to each checkpoint, as far as they were read.
    changes: Vec<ChangesRecord>,
    /// Maps at some of them: each [`KEY_STEP`]th that was passed, and the last one asked for.
    keys: BTreeMap<usize, PageMap>,
    last: usize,
}

impl FileMaps {
    /// Of a machine with `pages` pages.
    pub fn new(pages: u64) -> Self {
        FileMaps { pages, changes: Vec::new(), keys: BTreeMap::new(), last: 0 }
    }

    /// Reads what changed up to the checkpoint number `index` on another thread and, behind `meanwhile`, on this one as well.
    /// What cannot be read is left for [`Self::map`] to tell.
    pub fn read_ahead<T>(&mut self, recording: &Recording, index: usize, meanwhile: impl FnOnce() -> T) -> T {
        let first = self.changes.len();
        let wanted = recording.checkpoints().get(first..=index).unwrap_or_default();
        if wanted.len() < FEW_CHANGES {
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
        self.changes.extend(read.into_iter().map_while(OnceLock::into_inner));
        result
    }

    /// RAM at the checkpoint number `index`.
    ///
    /// # Errors
    /// If a checkpoint up to there cannot be read.
    pub fn map(&mut self, recording: &Recording, index: usize) -> Result<PageMap, ReadError> {
        while self.changes.len() <= index {
            let record = recording.changes(&recording.checkpoints()[self.changes.len()])?;
            self.changes.push(record);
        }
        let before = self.keys.range(..=index).next_back();
        let (mut next, mut map) = match before {
            Some((key, map)) => (key + 1, map.clone()),
            None => (0, recording.base_map(self.pages)?),
        };
        while next <= index {
            for (page, number) in self.changes[next].changes()? {
                if !map.set(page, PageRef::numbered(number)) {
                    return Err(FormatError::Content("a checkpoint has a page that the machine has not").into());
                }
            }
            if next.is_multiple_of(KEY_STEP) {
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
}
