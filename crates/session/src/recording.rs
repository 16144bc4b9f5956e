//! A recording under way: its file, and what a session says in it about itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use machine::{EngineKind, Machine};
use timeline::format::records::EndReason;
use timeline::sink::FileSink;
use timeline::{BootDescription, Position, RecordError, Recorder, RecorderOptions};

use crate::config::ClockMode;
use crate::ending::Ending;
use crate::real_clock::host_unix_seconds;

/// What recordings say beside the machine.
#[derive(Clone, Debug)]
pub struct Description {
    /// What was started.
    pub boot: BootDescription,
    /// What executes the guest.
    pub engine: EngineKind,
    /// How the guest's time passes.
    pub clock: ClockMode,
    /// Bytes that a file's checkpoints may have together.
    pub budget_bytes: u64,
}

/// A recording cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file is there and not empty.
    #[error("{} exists already and is not empty; choose another name, or remove it first", .0.display())]
    Exists(PathBuf),
    /// It is no file.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The host refuses.
    #[error("cannot create the recording {}: {source}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The recorder.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A recorder and its file.
pub struct Recording {
    /// Who writes.
    pub recorder: Recorder,
    /// What it writes.
    pub path: PathBuf,
}

impl Recording {
    /// Starts to record `machine`, whose power-on was at `base`, into a new file.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn start(
        machine: &mut Machine,
        base: Position,
        path: &Path,
        description: &Description,
    ) -> Result<Self, StartError> {
        let file = create(path)?;
        let options = RecorderOptions {
            boot: description.boot.clone(),
            engine: description.engine.name().into(),
            clock: match description.clock {
                ClockMode::Virtual => "virtual".into(),
                ClockMode::Real => "real".into(),
            },
            created_unix_seconds: host_unix_seconds(),
            budget_bytes: description.budget_bytes,
            base,
            ..RecorderOptions::default()
        };
        let recorder = Recorder::start(machine, Box::new(FileSink::new(file, path.into())), options)?;
        Ok(Recording { recorder, path: path.into() })
    }
}

/// Nothing that was recorded once is overwritten.
fn create(path: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Create { path: path.into(), source };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(StartError::NotAFile(path.into()));
    }
    if metadata.len() > 0 { Err(StartError::Exists(path.into())) } else { Ok(file) }
}

/// How a recording says that a run ended, and the exit status of a debug exit.
pub fn end_reason(ending: Ending) -> (EndReason, u8) {
    match ending {
        Ending::PowerOff => (EndReason::PowerOff, 0),
        Ending::TripleFault => (EndReason::TripleFault, 0),
        Ending::HaltedForEver => (EndReason::Halted, 0),
        Ending::Reset => (EndReason::Reset, 0),
        Ending::DebugExit(status) => (EndReason::DebugExit, status),
        Ending::MaxInsns | Ending::Quit => (EndReason::Stopped, 0),
    }
}
