//! A state that is being saved, for whoever waits for it.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::super::base::Base;

/// A state that is being saved, and will be what a recording begins with.
#[derive(Clone, Debug)]
pub struct PendingBase {
    state: String,
    tree: String,
    shared: Arc<Slot>,
}

/// Where it arrives.
#[derive(Debug, Default)]
struct Slot {
    result: Mutex<Option<Result<Arc<Base>, String>>>,
    arrived: Condvar,
}

impl PendingBase {
    pub(super) fn new(state: String, directory: &Path) -> Self {
        let tree = std::path::absolute(directory).unwrap_or_else(|_| directory.into());
        PendingBase { state, tree: tree.display().to_string(), shared: Arc::default() }
    }

    /// A state that is in the store in `directory`.
    pub fn ready(base: Base, directory: &Path) -> Self {
        let pending = PendingBase::new(base.state.clone(), directory);
        pending.fulfil(Ok(base));
        pending
    }

    /// Its id.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The directory of its store.
    pub fn tree(&self) -> &str {
        &self.tree
    }

    pub(super) fn fulfil(&self, result: Result<Base, String>) {
        let Slot { result: slot, arrived } = &*self.shared;
        slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(result.map(Arc::new));
        arrived.notify_all();
    }

    /// Waits until it is saved; a sentence if it could not be.
    ///
    /// # Errors
    /// See there.
    pub fn wait(&self) -> Result<Arc<Base>, String> {
        let Slot { result: slot, arrived } = &*self.shared;
        let mut result = slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => result = arrived.wait(result).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
