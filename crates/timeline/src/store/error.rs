//! What can go wrong with a store.

use std::path::Path;

use crate::format::FormatError;
use crate::reader::ReadError;
use crate::replayer::ReplayError;

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
    /// A damaged node is in the way: nobody knows what it uses.
    #[error(
        "{path} is damaged: {what}; so nobody can tell what its node uses, and nothing is collected: `chronovisor tree DIR delete {id}` gives it up"
    )]
    InTheWay {
        /// Its file.
        path: String,
        /// How it is damaged.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Not a store.
    #[error("{0} has no tree of snapshots and recordings; `chronovisor run --tree {0}` makes one there")]
    NoTree(String),
    /// No such node.
    #[error("the tree has no node \"{0}\"; `chronovisor tree` shows which there are")]
    NoNode(String),
    /// A name or the start of an id that more than one node has.
    #[error("\"{0}\" is more than one node; say its id")]
    Ambiguous(String),
    /// A name that no node can have.
    #[error(
        "\"{0}\" cannot be a node's name: 1 to 100 characters without a slash or a colon, and not with a space or a dot in front"
    )]
    Name(String),
    /// A name that another node has.
    #[error("the tree has a node \"{0}\" already; choose another name")]
    Taken(String),
    /// The node is no snapshot.
    #[error("\"{0}\" is a recording, not a snapshot; `chronovisor replay --to POSITION --go-live` goes on from it")]
    NotASnapshot(String),
    /// The node is no recording.
    #[error(
        "\"{0}\" is a snapshot, in which nothing happens; `chronovisor run --from` goes on from it, and `pack` makes one file of it"
    )]
    NotARecording(String),
    /// A recording that is being made.
    #[error("\"{0}\" is being recorded; stop that first")]
    InUse(String),
    /// Another process is writing.
    #[error("another process is changing the tree {0}; try again when it is done")]
    Locked(String),
    /// The machine.
    #[error(transparent)]
    Replay(Box<ReplayError>),
}

impl StoreError {
    /// Whether more room on the disk would help.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let StoreError::Io { source, .. } = self else { return false };
        matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

impl From<ReplayError> for StoreError {
    fn from(error: ReplayError) -> Self {
        StoreError::Replay(Box::new(error))
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        ReplayError::from(error).into()
    }
}

impl From<FormatError> for StoreError {
    fn from(error: FormatError) -> Self {
        ReplayError::from(error).into()
    }
}

/// For `map_err` of what the host does with `path`.
pub(crate) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { doing, path: path.display().to_string(), source }
}

/// A damaged file.
pub(crate) fn damaged(path: &Path, what: &'static str) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), what }
}
