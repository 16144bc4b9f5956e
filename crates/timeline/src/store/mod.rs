//! A directory with the snapshots and recordings of one VM: a tree, and the pages that its nodes share.
//!
//! | in the directory | what |
//! |---|---|
//! | `nodes/ID.node` | a node ([`node`]): a snapshot, or a recording's place in the tree |
//! | `recordings/ID.cvr` | the recording of a node |
//! | `pages/N.pack` | pages by content ([`pack_file`]); each content is in the store once |
//!
//! Files are written under another name and renamed when they are whole, and are never changed. Whatever a crash leaves
//! behind belongs to no node, and [`Store::gc`] removes it.

pub mod node;
pub mod pack_file;
pub mod pages;
pub mod tree;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use machine::{Machine, MachineConfig};

use crate::Position;
use crate::format::records::ConfigRecord;
use crate::format::{FormatError, PAGE_BYTES};
use crate::page_map::page_of;
use crate::reader::ReadError;
use crate::replayer::{Live, ReplayError};
use machine::page_hashes::{PageHash, ZERO, hash};
use node::{Node, NodeKind, NodeRecord};
use pages::PageStore;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The host's answer.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: String,
        /// The host's answer.
        source: std::io::Error,
    },
    /// A file that is not as it should be.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which.
        path: String,
        /// How.
        what: &'static str,
    },
    /// No such node.
    #[error("the tree has no node \"{0}\"; `chronovisor tree` shows which there are")]
    NoNode(String),
    /// A name or the start of an id that more than one node has.
    #[error("\"{0}\" is more than one node; say its id")]
    Ambiguous(String),
    /// The node is no snapshot.
    #[error("\"{0}\" is a recording, not a snapshot; replay it instead")]
    NotASnapshot(String),
    /// The machine.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        StoreError::Replay(error.into())
    }
}

/// For `map_err` of what the host does with `path`.
pub(crate) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { doing, path: path.display().to_string(), source }
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The half-written file belongs to nobody; the next collection removes it if this fails.
        let _ = fs::remove_file(&temporary);
        io("write", path)(source)
    })
}

/// What a new node is about.
#[derive(Clone, Debug, Default)]
pub struct NewNode<'a> {
    /// Its name; not empty.
    pub name: &'a str,
    /// The node that it comes from.
    pub parent: Option<&'a str>,
    /// Where.
    pub position: Position,
    /// The host's time, in seconds since 1970.
    pub created_unix_seconds: u64,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Pages that no node used.
    pub pages: u64,
    /// Bytes of files, less those written anew.
    pub bytes: u64,
}

/// An open store. One process at a time writes to it.
pub struct Store {
    directory: PathBuf,
    nodes: Vec<Node>,
    pages: PageStore,
}

impl Store {
    /// Opens the store in `directory`, which is made if need be.
    ///
    /// # Errors
    /// If it cannot be read or made.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        for name in ["nodes", "recordings", "pages"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(io("make", &path))?;
        }
        let nodes = node::read_all(&directory.join("nodes"))?;
        let pages = PageStore::open(&directory.join("pages"))?;
        Ok(Store { directory: directory.into(), nodes, pages })
    }

    /// All nodes, oldest first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this id, start of an id, or name.
    ///
    /// # Errors
    /// If there is none, or more than one.
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
            [] => Err(StoreError::NoNode(wanted.into())),
            _ => Err(StoreError::Ambiguous(wanted.into())),
        }
    }

    fn parent_id(&self, parent: Option<&str>) -> Result<String, StoreError> {
        Ok(match parent {
            Some(parent) => self.find(parent)?.id.clone(),
            None => String::new(),
        })
    }

    /// Takes a snapshot of `machine`, whose own counts begin at `base`; gives the new node's id.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn snapshot(&mut self, machine: &Machine, base: Position, new: &NewNode<'_>) -> Result<String, StoreError> {
        let parent = self.parent_id(new.parent)?;
        let ram = machine.ram_bytes();
        let mut record = NodeRecord {
            name: new.name.into(),
            kind: NodeKind::Snapshot.into(),
            parent,
            position: Some(new.position.into()),
            created_unix_seconds: new.created_unix_seconds,
            config: Some(ConfigRecord::from(machine.config())),
            state: Some(machine.save()),
            base: Some(base.into()),
            ..NodeRecord::default()
        };
        let mut writer = self.pages.writer();
        let mut last = 0;
        let populated = machine.populated_pages().map_err(ReplayError::from)?;
        for page in populated.into_iter().flatten() {
            let hash = hash(page_of(ram, page));
            if hash == ZERO {
                continue;
            }
            record.page_steps.push(page - last);
            record.page_hashes.extend_from_slice(&hash);
            last = page;
            writer.add(hash, page_of(ram, page))?;
        }
        writer.finish()?;
        self.add(record)
    }

    /// Makes a place for a recording in the tree; gives its id and the path to record to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new_recording(&mut self, new: &NewNode<'_>) -> Result<(String, PathBuf), StoreError> {
        let record = NodeRecord {
            name: new.name.into(),
            kind: NodeKind::Recording.into(),
            parent: self.parent_id(new.parent)?,
            position: Some(new.position.into()),
            created_unix_seconds: new.created_unix_seconds,
            ..NodeRecord::default()
        };
        let id = self.add(record)?;
        let path = self.recording_path(&id);
        Ok((id, path))
    }

    /// Where the recording of a node is.
    pub fn recording_path(&self, id: &str) -> PathBuf {
        self.directory.join("recordings").join(id).with_extension("cvr")
    }

    fn node_path(&self, id: &str) -> PathBuf {
        self.directory.join("nodes").join(id).with_extension("node")
    }

    fn add(&mut self, record: NodeRecord) -> Result<String, StoreError> {
        let id = node::new_id(&record, &self.nodes);
        node::write(&self.node_path(&id), &record)?;
        self.nodes.push(Node { id: id.clone(), record });
        Ok(id)
    }

    /// The machine of a snapshot, as it was.
    ///
    /// # Errors
    /// If the node is no snapshot, or damaged.
    pub fn restore(&self, wanted: &str) -> Result<Live, StoreError> {
        let node = self.find(wanted)?;
        let (Some(state), Some(config)) = (node.record.state.clone(), &node.record.config) else {
            return Err(StoreError::NotASnapshot(wanted.into()));
        };
        let config: MachineConfig = config.to_config().map_err(ReplayError::from)?;
        let pages = node.pages().map_err(ReplayError::from)?;
        if pages.last().is_some_and(|(page, _)| *page >= config.ram_bytes / PAGE_BYTES as u64) {
            return Err(
                ReplayError::from(FormatError::Content("a snapshot has a page that the machine has not")).into()
            );
        }
        let mut machine = Machine::new(config).map_err(ReplayError::from)?;
        let mut found = Ok(());
        machine.restore_with::<ReplayError>(state, |ram| {
            found = self.pages.read(&pages, |page, bytes| {
                ram.write(page * PAGE_BYTES as u64, bytes).map_err(|error| StoreError::Replay(error.into()))
            });
            Ok(())
        })?;
        found?;
        Ok(Live { machine, base: node.record.base.unwrap_or_default().into() })
    }

    /// Gives a node another name.
    ///
    /// # Errors
    /// If there is no such node, or it cannot be written.
    pub fn rename(&mut self, wanted: &str, name: &str) -> Result<(), StoreError> {
        let id = self.find(wanted)?.id.clone();
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

    /// Removes a node, its recording included. Its children become those of its parent. Pages stay until
    /// [`Self::gc`].
    ///
    /// # Errors
    /// If there is no such node, or its files cannot be removed.
    pub fn delete(&mut self, wanted: &str) -> Result<(), StoreError> {
        let node = self.find(wanted)?;
        let (id, parent) = (node.id.clone(), node.record.parent.clone());
        let children: Vec<String> =
            self.nodes.iter().filter(|node| node.record.parent == id).map(|node| node.id.clone()).collect();
        for child in children {
            self.change(&child, |record| record.parent.clone_from(&parent))?;
        }
        let path = self.node_path(&id);
        fs::remove_file(&path).map_err(io("remove", &path))?;
        self.nodes.retain(|node| node.id != id);
        let recording = self.recording_path(&id);
        match fs::remove_file(&recording) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &recording)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all that no node uses: pages, recordings without a node, and what a crash left behind.
    ///
    /// # Errors
    /// If a file cannot be read, written or removed.
    pub fn gc(&mut self) -> Result<Collected, StoreError> {
        let mut used: Vec<PageHash> = Vec::new();
        for node in &self.nodes {
            let pages = node.pages().map_err(ReplayError::from)?;
            used.extend(pages.into_iter().map(|(_, hash)| hash));
        }
        used.sort_unstable();
        used.dedup();
        let mut collected = self.pages.collect(&used)?;
        for (name, extension) in [("recordings", "cvr"), ("nodes", "node"), ("pages", "pack")] {
            collected.bytes += self.remove_strays(&self.directory.join(name), extension)?;
        }
        Ok(collected)
    }

    fn remove_strays(&self, directory: &Path, extension: &str) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for path in files(directory)? {
            let id = path.file_stem().unwrap_or_default().to_string_lossy();
            let is_whole = path.extension().is_some_and(|found| found == extension);
            let is_used = extension != "cvr" || self.nodes.iter().any(|node| node.id == id);
            if !is_whole || !is_used {
                bytes += fs::metadata(&path).map_err(io("read", &path))?.len();
                fs::remove_file(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(bytes)
    }
}

/// The files in a directory, in order.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(io("read", directory))? {
        paths.push(entry.map_err(io("read", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}
