//! A node of the tree, and its file: `CVRNODE1`, CRC-32C of the rest (4 bytes, little-endian), the record.

use std::io::ErrorKind;
use std::path::Path;

use prost::Message;

use super::error::StoreError;
use super::files::{files_with, read_message, stem, write_message};
use crate::format::records::PositionRecord;
use crate::position::Position;

const MAGIC: &[u8; 8] = b"CVRNODE1";
const MAX_BYTES: u64 = 64 << 10;
/// The most characters of a name.
const MAX_NAME: usize = 100;
/// Stands for no parent. As long as an id, so that another parent does not change the length of the file.
const NO_PARENT: &str = "----------------";

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum NodeKind {
    /// A state of the machine.
    Snapshot = 0,
    /// A recorded run.
    Recording = 1,
}

/// What is written of a node.
#[derive(Clone, PartialEq, Message)]
pub struct NodeRecord {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// [`NodeKind`].
    #[prost(enumeration = "NodeKind", tag = "2")]
    pub kind: i32,
    /// Id of the node it comes from; dashes: none. See [`Node::parent`].
    #[prost(string, tag = "3")]
    pub parent: String,
    /// Where: of a snapshot, or where a recording begins.
    #[prost(message, optional, tag = "4")]
    pub position: Option<PositionRecord>,
    /// When, in seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub created_unix_seconds: u64,
    /// Id of the state: that of a snapshot, or the one that a recording begins with.
    #[prost(string, tag = "6")]
    pub state: String,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The rest.
    pub record: NodeRecord,
}

/// A node whose file is damaged, so that only its id is known.
#[derive(Clone, Debug)]
pub struct DamagedNode {
    /// Its id.
    pub id: String,
    /// Its file.
    pub path: String,
    /// How it is damaged.
    pub what: &'static str,
}

impl DamagedNode {
    /// What is wrong with it.
    pub fn error(&self) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: self.what }
    }
}

impl Node {
    /// Id of the node it comes from.
    pub fn parent(&self) -> Option<&str> {
        Some(self.record.parent.as_str()).filter(|parent| *parent != NO_PARENT)
    }

    /// Where: of a snapshot, or where a recording begins.
    pub fn position(&self) -> Position {
        self.record.position.unwrap_or_default().into()
    }
}

impl NodeRecord {
    pub(super) fn set_parent(&mut self, parent: Option<&str>) {
        self.parent = parent.unwrap_or(NO_PARENT).into();
    }
}

/// `Err` if no node can have this name.
///
/// # Errors
/// Says so.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let bad = |c: char| c.is_control() || c == '/' || c == ':';
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || name.starts_with([' ', '.']) || name.chars().any(bad) {
        return Err(StoreError::Name(name.into()));
    }
    Ok(())
}

/// 16 hexadecimal digits of a hash.
pub(super) fn short_id(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex()[..16].to_string()
}

pub(super) fn write(path: &Path, record: &NodeRecord) -> Result<(), StoreError> {
    write_message(path, MAGIC, record, false)
}

/// The nodes in a directory, oldest first, and what is wrong with files that hold none.
pub(super) fn read_all(directory: &Path) -> Result<(Vec<Node>, Vec<DamagedNode>), StoreError> {
    let (mut nodes, mut damaged) = (Vec::new(), Vec::new());
    for path in files_with(directory, "node")? {
        match read_message(&path, MAGIC, false, MAX_BYTES) {
            Ok(record) => nodes.push(Node { id: stem(&path), record }),
            // Another process deleted it since the directory was read.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(StoreError::Damaged { path: name, what }) => {
                damaged.push(DamagedNode { id: stem(&path), path: name, what })
            }
            Err(error) => return Err(error),
        }
    }
    // Within a second, what lies further on in a run comes later.
    nodes.sort_by_key(|node: &Node| {
        let at = node.record.position.unwrap_or_default();
        (node.record.created_unix_seconds, at.insns, at.time_units, node.id.clone())
    });
    Ok((nodes, damaged))
}
