//! Why a recording cannot be replayed.

use machine::MachineError;
use machine::ram::RamError;
use machine::save::MachineRestoreError;
use x86::CpuModel;
use x86::memory::absent::SourceError;

use crate::format::FormatError;
use crate::position::Position;
use crate::reader::ReadError;
use crate::target::Target;

/// A recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The machine.
    #[error("cannot make the recorded machine: {0}")]
    Machine(#[from] MachineError),
    /// The host's CPU.
    #[error(
        "the recorded machine has the CPU model {model}: to replay it, the host's CPU must have {}, which this one has not; use another host",
        .lacks.join(" and ")
    )]
    Host {
        /// What the recording needs.
        model: CpuModel,
        /// What the host lacks.
        lacks: Vec<&'static str>,
    },
    /// A saved state.
    #[error("cannot restore the recorded state: {0}")]
    Restore(#[from] MachineRestoreError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// A page that was still elsewhere.
    #[error("the page number {page} of the machine's RAM cannot be had: {error}")]
    Page {
        /// Its offset in RAM divided by 4096.
        page: u64,
        /// Why.
        error: SourceError,
    },
    /// The run took another way than the recorded one.
    #[error("the replay went another way than the recording: {what} at {here}; `verify` finds where it began")]
    Diverged {
        /// Where it was noticed.
        here: Position,
        /// What happened.
        what: String,
    },
    /// The target is not in the recording.
    #[error("the recording runs from {start} to {end}; {target:?} is outside")]
    Outside {
        /// Its start.
        start: Position,
        /// Its end.
        end: Position,
        /// What was asked for.
        target: Target,
    },
}

impl From<FormatError> for ReplayError {
    fn from(error: FormatError) -> Self {
        ReplayError::Read(error.into())
    }
}
