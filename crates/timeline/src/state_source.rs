//! The RAM of one state of a recording, page by page as a machine touches it.
//!
//! What it will touch first can be told: the TLB of the state names the pages that were in use, and that of the next checkpoint those that
//! will be. Where the host has a second processor, a thread unpacks the blocks of these while the machine already runs.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use machine::MachineState;
use x86::GuestPhysAddr;
use x86::memory::absent::{PageSource, SourceError};
use x86::memory::phys::RamLayout;

use crate::format::PAGE_BYTES;
use crate::page_cache::PageCache;
use crate::page_map::{Page, PageMap, PageRef};
use crate::recording::{CheckpointInfo, Recording};

/// Blocks that are unpacked ahead at most by each of the two TLBs: all together fewer than the cache keeps.
const MOST_AHEAD: usize = 192;

/// Where the absent pages of a machine are that was put into a state of a recording.
pub struct StateSource {
    recording: Arc<Recording>,
    map: PageMap,
    cache: Arc<PageCache>,
    /// Held for what its end does.
    _ahead: Option<Ahead>,
}

/// What tells which pages a machine will touch soon.
pub struct Soon<'a> {
    /// Its state.
    pub now: &'a MachineState,
    /// The checkpoint up to which it may run, if that is to be looked at.
    pub next: Option<CheckpointInfo>,
    /// Where its RAM lies.
    pub layout: RamLayout,
}

impl StateSource {
    /// RAM as `map` says; blocks of the file with pages that are needed `soon` are unpacked ahead.
    pub fn new(recording: Arc<Recording>, map: PageMap, cache: Arc<PageCache>, soon: Soon<'_>) -> Self {
        let Soon { now, next, layout } = soon;
        let blocks = blocks_of(&recording, &map, &cache, pages_in_use(now, layout));
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let is_worth_it = threads > 1 && (next.is_some() || !blocks.is_empty());
        let later = next.map(|next| Later { next, layout, map: map.clone() });
        let ahead = is_worth_it.then(|| Ahead::start(recording.clone(), cache.clone(), blocks, later));
        StateSource { recording, map, cache, _ahead: ahead.flatten() }
    }
}

impl PageSource for StateSource {
    fn load(&mut self, page: u64, to: &mut Page) -> Result<(), SourceError> {
        Ok(self.cache.load(&self.recording, self.map.get(page), to)?)
    }
}

/// The indexes in RAM of the pages that the TLBs of a machine name, those of the current address spaces first. The state may come from a
/// damaged file.
fn pages_in_use(state: &MachineState, layout: RamLayout) -> impl Iterator<Item = u64> {
    let tlbs = || state.vcpus.iter().map(|vcpu| &vcpu.tlb);
    let current = tlbs().flat_map(|tlb| tlb.pages());
    let all = current.chain(tlbs().flat_map(|tlb| tlb.contexts.iter().rev()).flat_map(|context| context.pages()));
    let page_bytes = PAGE_BYTES as u64;
    let offset = move |page: u64| layout.offset_of(GuestPhysAddr(page.checked_mul(page_bytes)?));
    all.filter_map(offset).map(move |offset| offset / page_bytes)
}

/// What is found out when the blocks that are needed first are there.
struct Later {
    next: CheckpointInfo,
    layout: RamLayout,
    /// RAM now.
    map: PageMap,
}

impl Later {
    /// The blocks with the pages in use at the next checkpoint; none if that is damaged.
    fn blocks(&self, recording: &Recording, cache: &PageCache) -> Vec<usize> {
        let record = recording.checkpoint(&self.next).ok();
        let Some(state) = record.and_then(|record| record.state) else { return Vec::new() };
        blocks_of(recording, &self.map, cache, pages_in_use(&state, self.layout))
    }
}

/// The blocks that pages number `soon` are in and that are not at hand, in this order.
fn blocks_of(recording: &Recording, map: &PageMap, cache: &PageCache, soon: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut is_listed = vec![false; recording.pages.len()];
    let file = soon.filter(|&page| page < map.len()).filter_map(|page| match map.get(page) {
        PageRef::File(number) => Some(*number),
        _ => None,
    });
    let missing = cache.missing(file).into_iter().filter_map(|number| recording.block_of(number));
    let mut blocks: Vec<usize> = missing.filter(|&block| !std::mem::replace(&mut is_listed[block], true)).collect();
    blocks.retain(|&block| !cache.has_block(block));
    blocks.truncate(MOST_AHEAD);
    blocks
}

/// A thread that reads blocks before they are needed.
struct Ahead {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// `None` if the host has no thread for it: then blocks are read when they are needed.
    fn start(
        recording: Arc<Recording>,
        cache: Arc<PageCache>,
        blocks: Vec<usize>,
        later: Option<Later>,
    ) -> Option<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let end = ends.clone();
        let work = move || {
            let prepare = |blocks: Vec<usize>| {
                for block in blocks {
                    if end.load(Ordering::Relaxed) {
                        return;
                    }
                    cache.prepare(&recording, block);
                }
            };
            prepare(blocks);
            if let Some(later) = later.filter(|_| !end.load(Ordering::Relaxed)) {
                prepare(later.blocks(&recording, &cache));
            }
        };
        let thread = std::thread::Builder::new().name("pages ahead".into()).spawn(work).ok()?;
        Some(Ahead { ends, thread: Some(thread) })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It reads one block more at most. If it panicked, who needs that block sees the same.
            let _ = thread.join();
        }
    }
}
