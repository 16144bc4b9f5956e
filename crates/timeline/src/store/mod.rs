//! A directory with the snapshots and recordings of one VM: a tree, and the pages that its nodes share.
//!
//! | in the directory | what |
//! |---|---|
//! | `nodes/ID.node` | a node ([`node`]): a snapshot, or a recording's place in the tree |
//! | `states/ID.state` | a saved machine without its pages ([`state`]): that of a snapshot, or what a recording begins with |
//! | `recordings/ID.cvr` | the recording of a node; its header names the state that it begins with |
//! | `pages/ID.pack` | pages by content (`pack_file`); each content is in the store once |
//! | `lock` | whoever changes the store holds it |
//!
//! Files are written under another name and renamed when they are whole. Pages are written first, then the state
//! that needs them, then the node that needs the state; they are removed in the other order. So what a crash leaves
//! behind belongs to no node, and [`Store::gc`] removes it.

pub mod address;
mod base;
mod check;
mod collect;
mod error;
mod export;
mod files;
mod keeper;
mod lock;
pub mod node;
mod pack_file;
mod pages;
pub mod state;
mod state_writer;
pub mod tree;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use machine::Machine;

pub use base::{Base, StoreBase};
pub use check::Checked;
pub use collect::{Collected, NodeSize};
pub use error::StoreError;
pub use export::ExportError;
pub use keeper::{Added, Keeper, PendingBase, Started};
pub use state_writer::{SavedState, StateWriter};

use crate::Position;
use crate::format::PAGE_BYTES;
use crate::maker::MachineMaker;
use crate::replayer::{Live, ReplayError};
use error::io;
use lock::Lock;
use node::{DamagedNode, Node, NodeKind, NodeRecord};
use pages::PageStore;
use state::StateRecord;

/// What a new node is about.
#[derive(Clone, Debug, Default)]
pub struct NewNode {
    /// Its name. If another node has it, a number is added.
    pub name: String,
    /// The node that it comes from: its id.
    pub parent: Option<String>,
    /// Where.
    pub position: Position,
    /// The host's time, in seconds since 1970.
    pub created_unix_seconds: u64,
}

/// An open store. Reading goes on beside another process that changes it; changes wait for each other.
pub struct Store {
    directory: PathBuf,
    nodes: Vec<Node>,
    damaged: Vec<DamagedNode>,
    pages: PageStore,
}

impl Store {
    /// Whether there is a store in `directory`.
    pub fn is_at(directory: &Path) -> bool {
        directory.join("nodes").is_dir()
    }

    /// Opens the store in `directory`. Files that are damaged do not keep the others from use; see [`Self::damaged`].
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        if !Store::is_at(directory) {
            return Err(StoreError::NoTree(directory.display().to_string()));
        }
        let (nodes, damaged) = node::read_all(&directory.join("nodes"))?;
        let pages = PageStore::open(&directory.join("pages"))?;
        Ok(Store { directory: directory.into(), nodes, damaged, pages })
    }

    /// Opens the store in `directory`, which is made if need be.
    ///
    /// # Errors
    /// If it cannot be read or made.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        // The nodes last: a directory with them has the rest.
        for name in ["pages", "recordings", "states", "nodes"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(io("make", &path))?;
        }
        Store::open(directory)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes over what other processes changed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        (self.nodes, self.damaged) = node::read_all(&self.directory.join("nodes"))?;
        self.pages.refresh()
    }

    /// All nodes, oldest first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Nodes whose files are damaged.
    pub fn damaged(&self) -> &[DamagedNode] {
        &self.damaged
    }

    /// The damaged node with this id or start of an id.
    fn find_damaged(&self, wanted: &str) -> Option<&DamagedNode> {
        self.damaged.iter().find(|node| node.id == wanted || wanted.len() >= 4 && node.id.starts_with(wanted))
    }

    /// The node with this id, name, or start of an id.
    ///
    /// # Errors
    /// If there is none, or more than one, or it may be one that is damaged.
    pub fn find(&self, wanted: &str) -> Result<&Node, StoreError> {
        let mut found = self.nodes.iter().filter(|node| node.id == wanted).collect::<Vec<_>>();
        if found.is_empty() {
            found = self.nodes.iter().filter(|node| node.record.name == wanted).collect();
        }
        if found.is_empty() && wanted.len() >= 4 {
            found = self.nodes.iter().filter(|node| node.id.starts_with(wanted)).collect();
        }
        match found[..] {
            [node] => Ok(node),
            // Its name is not known any more.
            [] => Err(match self.find_damaged(wanted).or(self.damaged.first()) {
                Some(damaged) => damaged.error(),
                None => StoreError::NoNode(wanted.into()),
            }),
            _ => Err(StoreError::Ambiguous(wanted.into())),
        }
    }

    /// Waits for the right to change the store, and takes over what others have changed.
    fn lock(&mut self) -> Result<Lock, StoreError> {
        let lock = Lock::take(&self.directory)?;
        self.refresh()?;
        Ok(lock)
    }

    /// Takes a snapshot of `machine` with what `saved` says of it; gives the new node.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn snapshot(&mut self, machine: &Machine, saved: SavedState, new: &NewNode) -> Result<Node, StoreError> {
        let mut writer = StateWriter::begin(self)?;
        let populated = machine.populated_pages().map_err(ReplayError::from)?;
        for page in populated.into_iter().flatten() {
            writer.add(self, page, crate::page_map::page_of(machine.ram_bytes(), page))?;
        }
        let finished = writer.finish(self, saved)?;
        self.add(&finished.lock, NodeKind::Snapshot, &finished.base.state, new, &fresh_id(new))
    }

    /// Adds a node with this id whose state is there.
    pub(crate) fn add(
        &mut self,
        _: &Lock,
        kind: NodeKind,
        state: &str,
        new: &NewNode,
        id: &str,
    ) -> Result<Node, StoreError> {
        node::check_name(&new.name)?;
        let mut record = NodeRecord {
            name: self.free_name(&new.name),
            kind: kind.into(),
            parent: String::new(),
            position: Some(new.position.into()),
            created_unix_seconds: new.created_unix_seconds,
            state: state.into(),
        };
        // The parent may have been deleted meanwhile.
        let known = |id: &&str| self.nodes.iter().any(|node| node.id == *id);
        record.set_parent(new.parent.as_deref().filter(known));
        node::write(&self.node_path(id), &record)?;
        let node = Node { id: id.into(), record };
        self.nodes.push(node.clone());
        Ok(node)
    }

    /// The same, waiting for others; the state must be there.
    pub(crate) fn add_locked(
        &mut self,
        kind: NodeKind,
        state: &str,
        new: &NewNode,
        id: &str,
    ) -> Result<Node, StoreError> {
        let lock = self.lock()?;
        let path = self.state_path(state);
        fs::metadata(&path).map_err(io("read", &path))?;
        self.add(&lock, kind, state, new, id)
    }

    /// `name`, or with the first number that makes it one that no node has.
    pub fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.nodes.iter().any(|node| node.record.name == name);
        if !taken(name) {
            return name.into();
        }
        (2_u64..).map(|number| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Where the recording of a node is.
    pub fn recording_path(&self, id: &str) -> PathBuf {
        recording_path(&self.directory, id)
    }

    fn node_path(&self, id: &str) -> PathBuf {
        self.directory.join("nodes").join(id).with_extension("node")
    }

    fn state_path(&self, id: &str) -> PathBuf {
        self.directory.join("states").join(id).with_extension("state")
    }

    /// The state with this id.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn state(&self, id: &str) -> Result<StateRecord, StoreError> {
        let path = self.state_path(id);
        // An id from a damaged file must not lead elsewhere.
        if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error::damaged(&path, "this is no name of a state"));
        }
        match state::read(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(error::damaged(&path, "it is missing"))
            }
            result => result,
        }
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// If the node is none, or its state cannot be read.
    pub fn snapshot_state(&self, node: &Node) -> Result<StateRecord, StoreError> {
        match node.record.kind() {
            NodeKind::Snapshot => self.state(&node.record.state),
            NodeKind::Recording => Err(StoreError::NotASnapshot(node.record.name.clone())),
        }
    }

    /// The machine of a snapshot, as it was.
    ///
    /// # Errors
    /// If the node is no snapshot, or damaged.
    pub fn restore(&self, wanted: &str) -> Result<Live, StoreError> {
        self.restore_state(self.snapshot_state(self.find(wanted)?)?, &MachineMaker::default())
    }

    /// The machine of a state, made by `maker`.
    ///
    /// # Errors
    /// If a page cannot be read, or the state is none that a machine can have.
    pub fn restore_state(&self, record: StateRecord, maker: &MachineMaker) -> Result<Live, StoreError> {
        let pages = record.pages()?;
        let (config, base) = (record.config()?, record.base());
        let state = record.state.unwrap_or_default();
        let mut machine = maker.make(config).map_err(ReplayError::from)?;
        let mut read = Ok(());
        machine.restore_with::<ReplayError>(state, |ram| {
            let file = ram.as_fd();
            read = self.pages.read_parallel(&pages, &|first, bytes| write_ram(file, first, bytes));
            Ok(())
        })?;
        read?;
        Ok(Live { machine, base })
    }

    /// Gives a node another name.
    ///
    /// # Errors
    /// If there is no such node, another has the name, or it cannot be written.
    pub fn rename(&mut self, wanted: &str, name: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        node::check_name(name)?;
        let id = self.find(wanted)?.id.clone();
        if self.nodes.iter().any(|node| node.record.name == name && node.id != id) {
            return Err(StoreError::Taken(name.into()));
        }
        self.change(&id, |record| record.name = name.into())
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut NodeRecord)) -> Result<(), StoreError> {
        let path = self.node_path(id);
        let node = self.nodes.iter_mut().find(|node| node.id == id).ok_or_else(|| StoreError::NoNode(id.into()))?;
        let mut record = node.record.clone();
        change(&mut record);
        node::write(&path, &record)?;
        node.record = record;
        Ok(())
    }
}

/// Writes pages to the file behind RAM: several threads can, and no page of the mapping is touched.
fn write_ram(file: std::os::fd::BorrowedFd<'_>, first: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let mut done = 0;
    while done < bytes.len() {
        let offset = first * PAGE_BYTES as u64 + done as u64;
        let written = rustix::io::pwrite(file, &bytes[done..], offset);
        done += written.map_err(|errno| io("fill", Path::new("guest RAM"))(errno.into()))?;
    }
    Ok(())
}

/// Where the recording of a node in `directory` is.
pub(crate) fn recording_path(directory: &Path, id: &str) -> PathBuf {
    directory.join("recordings").join(id).with_extension("cvr")
}

/// An id for a new node or state, other than all before.
pub(crate) fn fresh_id(new: &NewNode) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    for number in [now.as_nanos(), std::process::id().into(), NEXT.fetch_add(1, Ordering::Relaxed).into()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(new.name.as_bytes());
    node::short_id(&hasher)
}
