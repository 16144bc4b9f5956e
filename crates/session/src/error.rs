//! Why a run could not be started or carried on.

use std::io;
use std::path::PathBuf;

use timeline::store::StoreError;
use timeline::{OpenError, RecordError, ReplayError, SpecError};

use crate::ending::{STATUS_BAD_REQUEST, STATUS_DIFFERENT, STATUS_HOST_FAILURE};
use crate::recording::StartError;

/// What went wrong outside the guest. Nothing a guest does is an error.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The machine cannot be built as asked, or the kernel cannot be booted on it.
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    /// The kernel or the initrd is not what it was when it was first read.
    #[error("the kernel or the initrd has changed while it was being read")]
    FilesChanged,
    /// The host refused something while it was being done.
    #[error("{doing} failed")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen at {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A recording cannot be started.
    #[error(transparent)]
    StartRecording(#[from] StartError),
    /// A recording cannot go on.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A recording cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The tree.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another tree is named than that of the node.
    #[error("the node is in another tree than {}; leave --tree out", .0.display())]
    OtherTree(PathBuf),
    /// A position means nothing in this recording.
    #[error(transparent)]
    Position(#[from] SpecError),
    /// A recording cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The recorded machine is off where it should go on.
    #[error(
        "at the end of this recording the machine has ended; --to names an earlier position to go live at, such as end-1s"
    )]
    Ended,
}

impl SessionError {
    /// The exit status of the process.
    pub fn status(&self) -> u8 {
        match self {
            SessionError::Replay(ReplayError::Diverged { .. }) => STATUS_DIFFERENT,
            SessionError::Host { .. }
            | SessionError::Record(_)
            | SessionError::StartRecording(StartError::Record(_)) => STATUS_HOST_FAILURE,
            _ => STATUS_BAD_REQUEST,
        }
    }

    /// For `map_err`: the host failed while `doing`.
    pub(crate) fn host(doing: &'static str) -> impl FnOnce(io::Error) -> SessionError {
        move |source| SessionError::Host { doing, source }
    }
}
