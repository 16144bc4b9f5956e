//! A state on its way into the store: its pages, then the rest.

use machine::{Digest, Machine, MachineState};

use super::base::Base;
use super::error::StoreError;
use super::lock::Lock;
use super::pages::PageWriter;
use super::state::{self, StateRecord};
use super::{NewNode, Store, fresh_id};
use crate::Position;
use crate::format::PAGE_BYTES;
use crate::format::records::{BootDescription, ConfigRecord};
use crate::page_map::Page;
use machine::page_hashes::{PageHash, PageHashes, ZERO, hash};

/// A machine without its pages, and where it comes from.
#[derive(Clone, Debug)]
pub struct SavedState {
    /// Its configuration.
    pub config: ConfigRecord,
    /// All but RAM.
    pub state: MachineState,
    /// Where it stands.
    pub position: Position,
    /// Where its own counts begin.
    pub base: Position,
    /// What it was started from.
    pub boot: BootDescription,
    /// The clock mode it runs with.
    pub clock: String,
    /// The engine that executes it.
    pub engine: String,
}

impl SavedState {
    /// `machine` as it stands, its own counts beginning at `base`.
    pub fn of(machine: &Machine, base: Position) -> Self {
        SavedState {
            config: machine.config().into(),
            state: machine.save(),
            position: Position::of(machine).after(base),
            base,
            boot: BootDescription::default(),
            clock: "virtual".into(),
            engine: "interpreter".into(),
        }
    }
}

/// A state whose pages are being written. Nobody else changes the store meanwhile, so no page that is in it goes away.
pub struct StateWriter {
    lock: Lock,
    writer: PageWriter,
    /// Of all pages up to the last that is not zero.
    hashes: Vec<PageHash>,
}

/// A state that was written.
pub(crate) struct Finished {
    /// It.
    pub base: Base,
    /// The right to change the store.
    pub lock: Lock,
    /// Its pages, from which the next state may begin.
    pub hashes: Vec<PageHash>,
}

impl StateWriter {
    /// Begins a state in `store`.
    ///
    /// # Errors
    /// If another process changes the store for long, or it cannot be read.
    pub fn begin(store: &mut Store) -> Result<Self, StoreError> {
        Self::begin_with(store, Vec::new(), &[])
    }

    /// The same; all pages but `changed` are as in the state with these hashes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn begin_with(
        store: &mut Store,
        mut hashes: Vec<PageHash>,
        changed: &[u64],
    ) -> Result<Self, StoreError> {
        for page in changed {
            if let Some(hash) = hashes.get_mut(*page as usize) {
                *hash = ZERO;
            }
        }
        Ok(StateWriter { lock: store.lock()?, writer: PageWriter::default(), hashes })
    }

    /// Pages whose content is not in the store, nor waits to be.
    pub(crate) fn missing(&self, store: &Store) -> Vec<u64> {
        let is_missing = |hash: &PageHash| *hash != ZERO && !store.pages.has(hash) && !self.writer.has(hash);
        self.hashes.iter().enumerate().filter(|(_, hash)| is_missing(hash)).map(|(page, _)| page as u64).collect()
    }

    /// Adds a page, in any order.
    ///
    /// # Errors
    /// If it cannot be written; it waits on, see [`Self::retry`].
    pub fn add(&mut self, store: &mut Store, index: u64, page: &Page) -> Result<(), StoreError> {
        let (hash, index) = (hash(page), index as usize);
        if self.hashes.len() <= index {
            if hash == ZERO {
                return Ok(());
            }
            self.hashes.resize(index + 1, ZERO);
        }
        self.hashes[index] = hash;
        if hash == ZERO { Ok(()) } else { self.writer.add(&mut store.pages, hash, page) }
    }

    /// Tries again to write what waits.
    ///
    /// # Errors
    /// If it still cannot be written.
    pub fn retry(&mut self, store: &mut Store) -> Result<(), StoreError> {
        self.writer.write(&mut store.pages)
    }

    /// Writes what waits, then the state.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn finish(self, store: &mut Store, saved: SavedState) -> Result<Finished, StoreError> {
        let id = fresh_id(&NewNode::default());
        self.finish_as(store, saved, id)
    }

    /// The same with this id, one of [`fresh_id`].
    pub(crate) fn finish_as(
        mut self,
        store: &mut Store,
        saved: SavedState,
        id: String,
    ) -> Result<Finished, StoreError> {
        self.writer.write(&mut store.pages)?;
        if !self.missing(store).is_empty() {
            return Err(store.pages.missing());
        }
        let StateWriter { lock, writer: _, hashes } = self;
        let pages = hashes.iter().enumerate().filter(|(_, hash)| **hash != ZERO);
        let pages: Vec<(u64, PageHash)> = pages.map(|(page, hash)| (page as u64, *hash)).collect();
        let SavedState { config, state, position, base, boot, clock, engine } = saved;
        let digest = digest(&state, config.ram_bytes, &pages);
        let mut record = StateRecord {
            config: Some(config),
            state: Some(state),
            position: Some(position.into()),
            base: Some(base.into()),
            boot: Some(boot),
            clock,
            engine,
            digest: digest.0.to_vec(),
            ..StateRecord::default()
        };
        record.set_pages(&pages);
        state::write(&store.state_path(&id), &record)?;
        Ok(Finished { base: Base { state: id, pages }, lock, hashes })
    }
}

/// The digest of a machine with this state, as much RAM, and these pages that are not zero.
///
/// # Panics
/// If it has not got one of the pages.
pub(super) fn digest(state: &MachineState, ram_bytes: u64, pages: &[(u64, PageHash)]) -> Digest {
    let mut hashes = PageHashes::zero(ram_bytes / PAGE_BYTES as u64);
    for (page, hash) in pages {
        hashes.set(*page, *hash);
    }
    hashes.digest(state)
}
