//! A node of the tree, and its file: `CVRNODE1`, CRC-32C of the rest (4 bytes, little-endian), the record (zstd).

use std::path::Path;

use machine::MachineState;
use prost::Message;

use super::{StoreError, files, io, write_whole};
use crate::format::FormatError;
use crate::format::records::{ConfigRecord, PositionRecord};
use machine::page_hashes::PageHash;

const MAGIC: &[u8; 8] = b"CVRNODE1";
/// The most that a record has before compression: the pages of 64 GiB.
const MAX_BYTES: usize = 1 << 30;

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
    /// Id of the node it comes from; empty: none.
    #[prost(string, tag = "3")]
    pub parent: String,
    /// Where: of a snapshot, or where a recording begins.
    #[prost(message, optional, tag = "4")]
    pub position: Option<PositionRecord>,
    /// When, in seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub created_unix_seconds: u64,
    /// Of a snapshot: the machine.
    #[prost(message, optional, tag = "6")]
    pub config: Option<ConfigRecord>,
    /// Of a snapshot: all but RAM.
    #[prost(message, optional, tag = "7")]
    pub state: Option<MachineState>,
    /// Of a snapshot: where the machine's own counts begin.
    #[prost(message, optional, tag = "8")]
    pub base: Option<PositionRecord>,
    /// Of a snapshot: indexes of pages that are not zero; the first, then differences.
    #[prost(uint64, repeated, tag = "9")]
    pub page_steps: Vec<u64>,
    /// Their contents, 32 bytes each.
    #[prost(bytes = "vec", tag = "10")]
    pub page_hashes: Vec<u8>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The rest.
    pub record: NodeRecord,
}

impl Node {
    /// Pages that are not zero: index and content, ascending.
    ///
    /// # Errors
    /// If there are not as many contents as pages.
    pub fn pages(&self) -> Result<Vec<(u64, PageHash)>, FormatError> {
        let (hashes, rest) = self.record.page_hashes.as_chunks::<32>();
        if hashes.len() != self.record.page_steps.len() || !rest.is_empty() {
            return Err(FormatError::Content("a snapshot has more pages than contents, or fewer"));
        }
        let mut page = 0_u64;
        let mut pages = Vec::with_capacity(hashes.len());
        for (step, hash) in self.record.page_steps.iter().zip(hashes) {
            page = page.checked_add(*step).ok_or(FormatError::Content("a snapshot's page is impossible"))?;
            pages.push((page, *hash));
        }
        Ok(pages)
    }
}

/// An id that no other node has.
pub(super) fn new_id(record: &NodeRecord, others: &[Node]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.encode_to_vec());
    loop {
        let id = hasher.finalize().to_hex()[..16].to_string();
        if others.iter().all(|node| node.id != id) {
            return id;
        }
        hasher.update(id.as_bytes());
    }
}

pub(super) fn write(path: &Path, record: &NodeRecord) -> Result<(), StoreError> {
    let packed = zstd::bulk::compress(&record.encode_to_vec(), 3).map_err(io("pack", path))?;
    write_whole(path, &[MAGIC, &crc32c::crc32c(&packed).to_le_bytes(), &packed])
}

/// All nodes in a directory, oldest first.
pub(super) fn read_all(directory: &Path) -> Result<Vec<Node>, StoreError> {
    let mut nodes = Vec::new();
    for path in files(directory)? {
        if path.extension().is_some_and(|extension| extension == "node") {
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            nodes.push(Node { id, record: read(&path)? });
        }
    }
    nodes.sort_by_key(|node| (node.record.created_unix_seconds, node.record.position.map(|at| at.insns)));
    Ok(nodes)
}

fn read(path: &Path) -> Result<NodeRecord, StoreError> {
    let damaged = |what| StoreError::Damaged { path: path.display().to_string(), what };
    let bytes = std::fs::read(path).map_err(io("read", path))?;
    let rest = bytes.strip_prefix(MAGIC).ok_or(damaged("it does not begin as a node"))?;
    let (crc, packed) = rest.split_first_chunk::<4>().ok_or(damaged("it is cut off"))?;
    if crc32c::crc32c(packed).to_le_bytes() != *crc {
        return Err(damaged("its checksum is wrong"));
    }
    let mut decoder = zstd::Decoder::new(packed).map_err(io("unpack", path))?;
    let mut raw = Vec::new();
    let limit = MAX_BYTES as u64;
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut decoder, limit), &mut raw).map_err(io("unpack", path))?;
    NodeRecord::decode(raw.as_slice()).map_err(|_| damaged("it is not readable, though its checksum is right"))
}
