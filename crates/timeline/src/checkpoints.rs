//! The states that a replay can go back to: those of the file, and those it keeps in memory on its way.

use std::sync::Arc;

use machine::{MachineConfig, MachineState};

use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::{PageMap, PageRef};
use crate::position::Position;
use crate::reader::ReadError;
use crate::recording::Recording;
use crate::target::Target;

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
    /// Pages that were not in memory before it.
    pub new_pages: u64,
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

    /// Whether one at `here` would be far enough from the others.
    pub fn wants(&self, here: Position) -> bool {
        let far = |kept: &MemoryCheckpoint| kept.position.insns.abs_diff(here.insns) >= self.interval;
        let next = self.kept.partition_point(|kept| kept.position <= here);
        self.budget_bytes > 0
            && self.kept.get(next).is_none_or(far)
            && next.checked_sub(1).is_none_or(|before| far(&self.kept[before]))
    }

    /// Keeps one; if that is too much, every second is dropped, and their distance doubles.
    pub fn keep(&mut self, checkpoint: MemoryCheckpoint) {
        let at = self.kept.partition_point(|kept| kept.position <= checkpoint.position);
        self.kept.insert(at, checkpoint);
        let bytes: u64 = self.kept.iter().map(|kept| kept.new_pages.saturating_mul(PAGE_BYTES as u64)).sum();
        if bytes > self.budget_bytes {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.interval = self.interval.saturating_mul(2);
        }
    }

    /// The last one from which `target`, before which `events` events come, can be reached.
    pub fn before(&self, target: Target, events: usize, start: Position) -> Option<&MemoryCheckpoint> {
        self.kept.iter().rev().find(|kept| target.can_follow(kept.position, start) && kept.events_before <= events)
    }
}

/// RAM at each checkpoint of a file, worked out as far as needed.
pub struct FileMaps {
    pages: u64,
    maps: Vec<PageMap>,
}

impl FileMaps {
    /// Of a machine with `pages` pages.
    pub fn new(pages: u64) -> Self {
        FileMaps { pages, maps: Vec::new() }
    }

    /// RAM at the checkpoint number `index`.
    ///
    /// # Errors
    /// If a checkpoint up to there cannot be read.
    pub fn map(&mut self, recording: &Recording, index: usize) -> Result<PageMap, ReadError> {
        while self.maps.len() <= index {
            let next = self.maps.len();
            let mut map = match self.maps.last() {
                Some(map) => map.clone(),
                None => recording.base_map(self.pages)?,
            };
            let record = recording.checkpoint(&recording.checkpoints()[next])?;
            for (page, number) in record.changes()? {
                if !map.set(page, PageRef::numbered(number)) {
                    return Err(FormatError::Content("a checkpoint has a page that the machine has not").into());
                }
            }
            self.maps.push(map);
        }
        Ok(self.maps[index].clone())
    }
}
