//! The RAM of one state of a recording, page by page as a machine touches it.
//!
//! What it will touch first can be told: the TLB of the state names the pages that were in use. Where the host has a second
//! processor, a thread unpacks the blocks of these while the machine already runs.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use machine::MachineState;
use x86::memory::absent::{PageSource, SourceError};

use crate::page_cache::PageCache;
use crate::page_map::{Page, PageMap, PageRef};
use crate::recording::Recording;

/// Blocks that are unpacked ahead at most: fewer than the cache keeps.
const MOST_AHEAD: usize = 192;

/// Where the absent pages of a machine are that was put into a state of a recording.
pub struct StateSource {
    recording: Arc<Recording>,
    map: PageMap,
    cache: Arc<PageCache>,
    /// Held for what its end does.
    _ahead: Option<Ahead>,
}

impl StateSource {
    /// RAM as `map` says; blocks of the file with the pages number `soon` are unpacked ahead.
    pub fn new(
        recording: Arc<Recording>,
        map: PageMap,
        cache: Arc<PageCache>,
        soon: impl Iterator<Item = u64>,
    ) -> Self {
        let blocks = blocks_of(&recording, &map, &cache, soon);
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let ahead = (threads > 1 && !blocks.is_empty()).then(|| Ahead::start(recording.clone(), cache.clone(), blocks));
        StateSource { recording, map, cache, _ahead: ahead.flatten() }
    }
}

impl PageSource for StateSource {
    fn load(&mut self, page: u64, to: &mut Page) -> Result<(), SourceError> {
        Ok(self.cache.load(&self.recording, self.map.get(page), to)?)
    }
}

/// The pages that the TLBs of a machine name, those of the current address spaces first. The state may come from a damaged file: some
/// may be none that the machine has.
pub fn pages_in_use(state: &MachineState) -> impl Iterator<Item = u64> {
    let tlbs = || state.vcpus.iter().map(|vcpu| &vcpu.tlb);
    let current = tlbs().flat_map(|tlb| tlb.pages());
    current.chain(tlbs().flat_map(|tlb| tlb.contexts.iter().rev()).flat_map(|context| context.pages()))
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
    fn start(recording: Arc<Recording>, cache: Arc<PageCache>, blocks: Vec<usize>) -> Option<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let end = ends.clone();
        let work = move || {
            for block in blocks {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                cache.prepare(&recording, block);
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
