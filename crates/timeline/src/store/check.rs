//! Checks all that a node of the tree holds: its state, each of its pages, and the digest over both.

use std::collections::BTreeMap;

use super::Store;
use super::error::StoreError;
use super::node::Node;
use super::state::StateRecord;
use super::state_writer::digest;
use crate::format::PAGE_BYTES;
use crate::maker::MachineMaker;
use crate::replayer::ReplayError;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Pages whose content was compared with its hash.
    pub pages: u64,
    /// Whether there was a digest to compare with. Earlier versions wrote none.
    pub has_digest: bool,
    /// What is damaged, a sentence each; empty: nothing.
    pub damage: Vec<String>,
}

impl Store {
    /// Checks the state of `node`, the one of a snapshot or the one that a recording begins with: that a machine can have it,
    /// each page against its hash, and its digest. What cannot be read is damaged, too.
    pub fn check(&self, node: &Node) -> Checked {
        let mut checked = Checked::default();
        if let Err(error) = self.check_state(&node.record.state, &mut checked) {
            checked.damage.push(error.to_string());
        }
        checked
    }

    fn check_state(&self, id: &str, checked: &mut Checked) -> Result<(), StoreError> {
        let record = self.state(id)?;
        let pages = record.pages()?;
        let config = record.config()?;
        let StateRecord { state, digest: recorded, .. } = record;
        let state = state.unwrap_or_default();
        // First of all, so that nothing is made for more RAM than a machine can have.
        let mut machine = MachineMaker::default().make(config).map_err(ReplayError::from)?;
        // What, with the first page and how many.
        let mut damage: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        self.pages.check(&pages, &mut |index, error| {
            let (first, count) = damage.entry(error.to_string()).or_insert((index, 0));
            (*first, *count) = (index.min(*first), *count + 1);
        });
        checked.pages = pages.len() as u64;
        checked.has_digest = !recorded.is_empty();
        checked.damage.extend(damage.into_iter().map(|(what, (first, count))| {
            let at = first * PAGE_BYTES as u64;
            match count {
                1 => format!("{what}; it is the page at {at:#x} of the guest's RAM"),
                _ => format!("{what}; so {count} pages of the guest's RAM are lost, the first at {at:#x}"),
            }
        }));
        if checked.has_digest && digest(&state, config.ram_bytes, &pages).0 != *recorded {
            let path = self.state_path(id);
            checked.damage.push(super::error::damaged(&path, "it is not the state that its digest is of").to_string());
        }
        machine.restore_with::<ReplayError>(state, |_| Ok(()))?;
        Ok(())
    }
}
