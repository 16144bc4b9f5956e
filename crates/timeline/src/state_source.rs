//! The RAM of one state of a recording, page by page as a machine touches it.

use std::sync::{Arc, Mutex, PoisonError};

use x86::memory::absent::{PageSource, SourceError};

use crate::page_cache::PageCache;
use crate::page_map::{Page, PageMap};
use crate::recording::Recording;

/// Where the absent pages of a machine are that was put into a state of a recording.
pub struct StateSource {
    recording: Arc<Recording>,
    map: PageMap,
    cache: Arc<Mutex<PageCache>>,
}

impl StateSource {
    /// RAM as `map` says.
    pub fn new(recording: Arc<Recording>, map: PageMap, cache: Arc<Mutex<PageCache>>) -> Self {
        StateSource { recording, map, cache }
    }
}

impl PageSource for StateSource {
    fn load(&mut self, page: u64, to: &mut Page) -> Result<(), SourceError> {
        // What another thread left behind in a panic is whole: a block is put in when it was read.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.load(&self.recording, self.map.get(page), to)?)
    }
}
