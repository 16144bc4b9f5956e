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
    pages: Vec<(u64, PageHash)>,
}

impl StateWriter {
    /// Begins a state in `store`.
    ///
    /// # Errors
    /// If another process changes the store for long, or it cannot be read.
    pub fn begin(store: &mut Store) -> Result<Self, StoreError> {
        Ok(StateWriter { lock: store.lock()?, writer: PageWriter::default(), pages: Vec::new() })
    }

    /// Adds a page, in any order.
    ///
    /// # Errors
    /// If it cannot be written; it waits on, see [`Self::retry`].
    pub fn add(&mut self, store: &mut Store, index: u64, page: &Page) -> Result<(), StoreError> {
        let hash = hash(page);
        if hash == ZERO {
            return Ok(());
        }
        self.pages.push((index, hash));
        self.writer.add(&mut store.pages, hash, page)
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
    pub(crate) fn finish(self, store: &mut Store, saved: SavedState) -> Result<(Base, Lock), StoreError> {
        let id = fresh_id(&NewNode::default());
        self.finish_as(store, saved, id)
    }

    /// The same with this id, one of [`fresh_id`].
    pub(crate) fn finish_as(
        mut self,
        store: &mut Store,
        saved: SavedState,
        id: String,
    ) -> Result<(Base, Lock), StoreError> {
        self.writer.write(&mut store.pages)?;
        let SavedState { config, state, position, base, boot, clock, engine } = saved;
        self.pages.sort_unstable();
        let digest = digest(&state, config.ram_bytes, &self.pages);
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
        record.set_pages(&self.pages);
        state::write(&store.state_path(&id), &record)?;
        Ok((Base { state: id, pages: self.pages }, self.lock))
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
