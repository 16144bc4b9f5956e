//! Nodes as people type them: `DIR:NODE`, wherever a recording's file could stand.

use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::node::{Node, NodeKind};
use super::{Store, recording_path};

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The tree's directory.
    pub directory: PathBuf,
    /// The node's name, id, or the start of its id.
    pub node: String,
}

impl Address {
    /// What `text` names, if it is no file and of the form `DIR:NODE`, with a tree in DIR.
    pub fn parse(text: &Path) -> Option<Self> {
        let (directory, node) = text.to_str()?.rsplit_once(':')?;
        let directory = PathBuf::from(directory);
        let is_tree = !text.exists() && Store::is_at(&directory);
        is_tree.then(|| Address { directory, node: node.into() })
    }

    /// Opens the tree and finds the node.
    ///
    /// # Errors
    /// If the tree cannot be read, or has no such node.
    pub fn open(&self) -> Result<(Store, Node), StoreError> {
        let store = Store::open(&self.directory)?;
        let node = store.find(&self.node)?.clone();
        Ok((store, node))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.directory.display(), self.node)
    }
}

/// The file of the recording that `path` names: itself, or the recording of a node.
///
/// # Errors
/// If the node is none that has a recording.
pub fn recording_of(path: &Path) -> Result<PathBuf, StoreError> {
    let Some(address) = Address::parse(path) else { return Ok(path.into()) };
    let (store, node) = address.open()?;
    match node.record.kind() {
        NodeKind::Recording => Ok(recording_path(store.directory(), &node.id)),
        NodeKind::Snapshot => Err(StoreError::NotARecording(node.record.name)),
    }
}

/// The tree in whose folder of recordings `path` lies.
pub fn tree_around(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let directory = folder.parent()?;
    // `recordings/ID.cvr` is in the directory in which one stands.
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    (folder.ends_with("recordings") && Store::is_at(directory)).then(|| directory.into())
}
