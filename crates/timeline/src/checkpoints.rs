//! The states that a replay keeps in memory on its way, to go back to them: where those of the file are too far from each other.

use std::sync::Arc;

use machine::{MachineConfig, MachineState};

use crate::format::PAGE_BYTES;
use crate::page_map::{Page, PageMap, PageRef};
use crate::position::Position;
use crate::target::Target;

/// What a checkpoint takes beside its pages, in pages: the state, and the map.
const STATE_PAGES: u64 = 16;
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

/// Checkpoints in memory, ascending, within a budget: where those of the file are too far from each other.
pub struct MemoryCheckpoints {
    kept: Vec<MemoryCheckpoint>,
    budget_bytes: u64,
    interval: u64,
    /// Step counts of the checkpoints of the file, ascending.
    file: Vec<u64>,
}

impl MemoryCheckpoints {
    /// None yet; at most about `budget_bytes`, `interval` steps apart at least, and from those of the `file` (step counts, ascending).
    pub fn new(budget_bytes: u64, interval: u64, file: Vec<u64>) -> Self {
        MemoryCheckpoints { kept: Vec::new(), budget_bytes, interval: interval.max(1), file }
    }

    /// Bytes that they may take, about.
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Whether one at `here` would be far enough from the others, and half as far from the next one of the file.
    pub fn wants(&self, here: Position) -> bool {
        let far = |other: u64| other.abs_diff(here.insns) >= self.interval;
        let next = self.kept.partition_point(|kept| kept.position <= here);
        let next_of_file = self.file.partition_point(|&insns| insns <= here.insns);
        self.budget_bytes > 0
            && self.kept.get(next).is_none_or(|kept| far(kept.position.insns))
            && next.checked_sub(1).is_none_or(|before| far(self.kept[before].position.insns))
            && self.file.get(next_of_file).is_none_or(|insns| insns - here.insns >= self.interval / 2)
            && next_of_file.checked_sub(1).is_none_or(|before| far(self.file[before]))
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

    /// At `here` is a checkpoint of the file. Where `in_file` knows the content of a page there, it is the same as in memory, and need not stay
    /// there: in none of the checkpoints since the one of the file before.
    pub fn pass_to_file(&mut self, here: Position, in_file: impl Fn(u64, &Arc<Page>) -> Option<PageRef>) {
        let before = self.file.partition_point(|&insns| insns < here.insns).checked_sub(1);
        let before = before.map_or(0, |before| self.file[before]);
        let first = self.kept.partition_point(|kept| kept.position.insns < before);
        let last = self.kept.partition_point(|kept| kept.position < here);
        let since = &mut self.kept[first..last.max(first)];
        let mut moved: Vec<(u64, Arc<Page>, PageRef)> = Vec::new();
        for kept in since.iter_mut() {
            let map = &kept.map;
            kept.pages.retain(|&page| {
                let PageRef::Memory(bytes) = map.get(page.into()) else { return true };
                let Some(content) = in_file(page.into(), bytes) else { return true };
                moved.push((page.into(), bytes.clone(), content));
                false
            });
        }
        for kept in since {
            for (page, bytes, content) in &moved {
                if matches!(kept.map.get(*page), PageRef::Memory(other) if Arc::ptr_eq(other, bytes)) {
                    kept.map.set(*page, content.clone());
                }
            }
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

    /// Drops each one without which its neighbours, those of the file among them, are still at most an interval apart.
    fn thin(&mut self) {
        let mut thinned: Vec<MemoryCheckpoint> = Vec::with_capacity(self.kept.len());
        let mut all = std::mem::take(&mut self.kept).into_iter().peekable();
        // Contents of those that were dropped; the next one may still have them.
        let mut dropped: Vec<u32> = Vec::new();
        while let Some(mut kept) = all.next() {
            let here = kept.position.insns;
            let next_of_file = self.file.partition_point(|&insns| insns <= here);
            let file_before = next_of_file.checked_sub(1).map(|before| self.file[before]);
            let before = thinned.last().map(|before| before.position.insns).max(file_before);
            let next = all.peek().map(|next| next.position.insns);
            let next = next.into_iter().chain(self.file.get(next_of_file).copied()).min();
            let gap = before.zip(next).map(|(before, next)| next.saturating_sub(before));
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: u64 = 64;

    fn at(insns: u64) -> Position {
        Position { insns, time: x86::VirtualTime::from_ns(insns) }
    }

    fn page(byte: u8) -> PageRef {
        PageRef::Memory(Arc::new([byte; PAGE_BYTES]))
    }

    /// A checkpoint with these new contents, on the RAM of the one before.
    fn checkpoint(insns: u64, before: &PageMap, new: &[(u64, PageRef)]) -> MemoryCheckpoint {
        let mut map = before.clone();
        for (page, content) in new {
            assert!(map.set(*page, content.clone()));
        }
        MemoryCheckpoint {
            position: at(insns),
            events_before: 0,
            restarts: 1,
            config: MachineConfig::new(PAGES * PAGE_BYTES as u64),
            base: Position::default(),
            state: Arc::default(),
            map,
            pages: new.iter().map(|(page, _)| *page as u32).collect(),
        }
    }

    #[test]
    fn they_stand_in_the_gaps_between_those_of_the_file() {
        let mut memory = MemoryCheckpoints::new(1 << 30, 100, vec![0, 130, 1000]);
        let mut kept = Vec::new();
        for insns in (10..1100).step_by(10) {
            if memory.wants(at(insns)) {
                memory.keep(checkpoint(insns, &PageMap::zero(PAGES), &[]));
                kept.push(insns);
            }
        }
        assert_eq!(
            kept,
            [230, 330, 430, 530, 630, 730, 830, 930],
            "not at 100, with 130 so near; at 930, with 1000 not so near"
        );
        assert!(!MemoryCheckpoints::new(0, 100, vec![0]).wants(at(500)), "without a budget there are none");
    }

    #[test]
    fn what_is_too_much_is_thinned_out_evenly() {
        let budget = 40 * (STATE_PAGES + 1) * PAGE_BYTES as u64;
        let mut memory = MemoryCheckpoints::new(budget, 10, vec![0, 5000]);
        for insns in (10..10_000).step_by(10).filter(|insns| *insns != 5000) {
            if memory.wants(at(insns)) {
                memory.keep(checkpoint(insns, &PageMap::zero(PAGES), &[(insns % PAGES, page(1))]));
            }
        }
        assert!(memory.bytes() <= budget && memory.kept.len() >= 20, "{} are left", memory.kept.len());
        let all: Vec<u64> = memory.kept.iter().map(|kept| kept.position.insns).chain([0, 5000]).collect();
        let mut all = all;
        all.sort_unstable();
        let widest = all.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some(memory.interval * 2), "{widest:?} at an interval of {}", memory.interval);
    }

    #[test]
    fn what_turns_out_to_be_in_the_file_leaves_memory() {
        let mut memory = MemoryCheckpoints::new(1 << 30, 10, vec![0, 100, 200]);
        let (stays, changes) = (page(1), page(2));
        let old = checkpoint(90, &PageMap::zero(PAGES), &[(3, stays.clone())]);
        let first = checkpoint(110, &PageMap::zero(PAGES), &[(3, stays.clone()), (4, changes)]);
        let second = checkpoint(150, &first.map, &[(4, page(5))]);
        for kept in [old, first, second] {
            memory.keep(kept);
        }
        let PageRef::Memory(same) = &stays else { panic!("it is in memory") };
        memory
            .pass_to_file(at(200), |page, bytes| (page == 3 && Arc::ptr_eq(bytes, same)).then(|| PageRef::numbered(7)));
        let of = |index: usize, page| memory.kept[index].map.get(page);
        assert!(matches!((of(1, 3), of(2, 3)), (PageRef::File(7), PageRef::File(7))));
        assert!(matches!((of(0, 3), of(1, 4), of(2, 4)), (PageRef::Memory(_), PageRef::Memory(_), PageRef::Memory(_))));
        let pages: Vec<&[u32]> = memory.kept.iter().map(|kept| kept.pages.as_slice()).collect();
        assert_eq!(pages, [&[3][..], &[4], &[4]], "what counts against the budget");
    }
}
