//! The pages of a state, for a recording that begins with it.

use super::error::StoreError;
use super::{Store, StoreError as Error};
use crate::page_map::Page;
use machine::page_hashes::PageHash;

/// A state that a recording begins with.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Its id.
    pub state: String,
    /// Its pages that are not zero: index and content, ascending.
    pub pages: Vec<(u64, PageHash)>,
}

/// A state, and the store that has its pages.
pub struct StoreBase {
    store: Store,
    base: Base,
}

impl StoreBase {
    /// The state `id` of `store`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(store: Store, id: &str) -> Result<Self, StoreError> {
        let pages = store.state(id)?.pages()?;
        Ok(StoreBase { store, base: Base { state: id.into(), pages } })
    }

    /// Its pages that are not zero: index and content, ascending.
    pub fn pages(&self) -> &[(u64, PageHash)] {
        &self.base.pages
    }

    /// Gives the pages with these indexes to `take`, in any order.
    ///
    /// # Errors
    /// Those of `take`, and if a page cannot be read or the state has none of this index.
    pub fn read<E: From<Error>>(
        &self,
        indexes: &[u64],
        take: impl FnMut(u64, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        let page = |index: &u64| {
            let at = self.base.pages.binary_search_by_key(index, |(page, _)| *page);
            at.map(|at| self.base.pages[at])
        };
        let pages: Result<Vec<_>, usize> = indexes.iter().map(page).collect();
        let pages = pages.map_err(|_| {
            let path = self.store.state_path(&self.base.state);
            super::error::damaged(&path, "a page is missing")
        })?;
        self.store.pages.read(&pages, take)
    }
}
