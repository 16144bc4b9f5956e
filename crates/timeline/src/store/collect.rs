//! Deleting nodes, and giving back the room that no node uses.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::Path;

use super::error::{StoreError, io};
use super::files::{files, len_bytes, remove, stem};
use super::node::{DamagedNode, Node, NodeKind};
use super::{Lock, Store};
use machine::page_hashes::PageHash;

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Pages that no node used.
    pub pages: u64,
    /// Bytes of files that are gone.
    pub bytes_removed: u64,
    /// Bytes of files that were written anew in their place.
    pub bytes_written: u64,
}

impl Collected {
    /// Bytes that the store has become smaller.
    pub fn bytes(&self) -> u64 {
        self.bytes_removed.saturating_sub(self.bytes_written)
    }
}

/// What a node takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSize {
    /// Bytes that nothing else uses: what deleting it gives back.
    pub only_it: u64,
    /// Of those, the bytes of its recording.
    pub recording: u64,
}

impl Store {
    /// What each node takes, in the order of [`Self::nodes`].
    ///
    /// # Errors
    /// If a state cannot be read.
    pub fn sizes(&self) -> Result<Vec<NodeSize>, StoreError> {
        let mut users: HashMap<&str, usize> = HashMap::new();
        for node in &self.nodes {
            *users.entry(&node.record.state).or_default() += 1;
        }
        let mut hashes: HashMap<&str, HashSet<PageHash>> = HashMap::new();
        let mut states_with: HashMap<PageHash, usize> = HashMap::new();
        for id in users.keys() {
            let of_state: HashSet<PageHash> = match self.state(id) {
                Ok(state) => state.pages()?.into_iter().map(|(_, hash)| hash).collect(),
                // It has no pages any more that could be found.
                Err(StoreError::Damaged { .. }) => HashSet::new(),
                Err(error) => return Err(error),
            };
            for hash in &of_state {
                *states_with.entry(*hash).or_default() += 1;
            }
            hashes.insert(id, of_state);
        }
        let mut sizes = Vec::new();
        for node in &self.nodes {
            let state = node.record.state.as_str();
            let recording = len_bytes(&self.recording_path(&node.id))?;
            let mut only_it = len_bytes(&self.node_path(&node.id))? + recording;
            if users[state] == 1 {
                only_it += len_bytes(&self.state_path(state))?;
                only_it += self.pages.bytes_of(hashes[state].iter().filter(|hash| states_with[*hash] == 1));
            }
            sizes.push(NodeSize { only_it, recording });
        }
        Ok(sizes)
    }

    /// Removes a node and all that only it used, and says how much that was. Its children become those of its parent. The
    /// state of a snapshot stays for the recordings that begin with it.
    ///
    /// # Errors
    /// If there is no such node, it is being recorded, or its files cannot be removed.
    pub fn delete(&mut self, wanted: &str) -> Result<Collected, StoreError> {
        let lock = self.lock()?;
        if let Some(damaged) = self.find_damaged(wanted).cloned() {
            let removed = remove(&self.node_path(&damaged.id))?;
            self.damaged.retain(|other| other.id != damaged.id);
            // With another in the way, this is all that can be done now.
            let mut collected = if self.damaged.is_empty() { self.collect(&lock)? } else { Collected::default() };
            collected.bytes_removed += removed;
            return Ok(collected);
        }
        let node = self.find(wanted)?.clone();
        self.nothing_in_the_way()?;
        let recording = self.recording_path(&node.id);
        if node.record.kind() == NodeKind::Recording && is_being_written(&recording)? {
            return Err(StoreError::InUse(node.record.name));
        }
        let comes_from_it = |child: &&Node| child.parent() == Some(&node.id);
        let children: Vec<String> = self.nodes.iter().filter(comes_from_it).map(|child| child.id.clone()).collect();
        for child in children {
            self.change(&child, |record| record.set_parent(node.parent()))?;
        }
        let removed = remove(&self.node_path(&node.id))?;
        self.nodes.retain(|other| other.id != node.id);
        let mut collected = self.collect(&lock)?;
        collected.bytes_removed += removed;
        Ok(collected)
    }

    /// Removes all that no node uses: pages, states and recordings, as a crash leaves them behind.
    ///
    /// # Errors
    /// If a file cannot be read, written or removed.
    pub fn gc(&mut self) -> Result<Collected, StoreError> {
        let lock = self.lock()?;
        self.collect(&lock)
    }

    /// As long as nobody knows what a damaged node uses, nothing can be removed because no node uses it.
    fn nothing_in_the_way(&self) -> Result<(), StoreError> {
        match self.damaged.first() {
            Some(DamagedNode { id, path, what }) => {
                Err(StoreError::InTheWay { path: path.clone(), what, id: id.clone() })
            }
            None => Ok(()),
        }
    }

    fn collect(&mut self, _: &Lock) -> Result<Collected, StoreError> {
        self.nothing_in_the_way()?;
        let states: HashSet<String> = self.nodes.iter().map(|node| node.record.state.clone()).collect();
        let mut used = HashSet::new();
        for id in &states {
            used.extend(self.state(id)?.pages()?.into_iter().map(|(_, hash)| hash));
        }
        let ids: HashSet<String> = self.nodes.iter().map(|node| node.id.clone()).collect();
        let mut removed = self.remove_strays("recordings", "cvr", Some(&ids))?;
        removed += self.remove_strays("states", "state", Some(&states))?;
        removed += self.remove_strays("nodes", "node", None)?;
        removed += self.remove_strays("pages", "pack", None)?;
        let mut collected = self.pages.collect(&used)?;
        collected.bytes_removed += removed;
        Ok(collected)
    }

    /// Removes the files of a folder that were not written to their end, and those with names other than `used`.
    fn remove_strays(&self, folder: &str, extension: &str, used: Option<&HashSet<String>>) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for path in files(&self.directory.join(folder))? {
            let is_whole = path.extension().is_some_and(|found| found == extension);
            let is_used = used.is_none_or(|used| used.contains(&stem(&path)));
            // A recording that has just begun has no node yet, and one that is thinned out has a second file.
            let is_in_use = is_whole && is_used || extension == "cvr" && is_being_written(&path)?;
            if !is_in_use {
                bytes += remove(&path)?;
            }
        }
        Ok(bytes)
    }
}

/// Whether a recorder holds this file.
fn is_being_written(path: &Path) -> Result<bool, StoreError> {
    let Ok(file) = File::open(path) else { return Ok(false) };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(io("lock", path)(error)),
    }
}
