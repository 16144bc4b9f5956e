//! Why a run could not be started or carried on.

use std::io;

use crate::ending::{STATUS_BAD_REQUEST, STATUS_HOST_FAILURE};

/// What went wrong outside the guest. Nothing a guest does is an error.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The machine cannot be built as asked, or the kernel cannot be booted on it.
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    /// The host refused something while it was being done.
    #[error("{doing} failed")]
    Host {
        /// What was being done.
        doing: &'static str,
        /// What the host said.
        source: io::Error,
    },
}

impl SessionError {
    /// The exit status of the process.
    pub fn status(&self) -> u8 {
        match self {
            SessionError::Machine(_) => STATUS_BAD_REQUEST,
            SessionError::Host { .. } => STATUS_HOST_FAILURE,
        }
    }

    /// For `map_err`: the host failed while `doing`.
    pub(crate) fn host(doing: &'static str) -> impl FnOnce(io::Error) -> SessionError {
        move |source| SessionError::Host { doing, source }
    }
}
