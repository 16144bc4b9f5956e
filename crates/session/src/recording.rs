//! A recording under way: its file, and what a session says in it about itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use machine::{EngineKind, Machine};
use timeline::format::records::EndReason;
use timeline::sink::FileSink;
use timeline::store::{SavedState, Started};
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
    /// Another process records into it.
    #[error("another process is recording into {}", .0.display())]
    InUse(PathBuf),
}

/// A recorder and its file.
pub struct Recording {
    /// Who writes.
    pub recorder: Recorder,
    /// What it writes.
    pub path: PathBuf,
    /// Its node in the tree.
    pub node: Option<String>,
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
        let recorder = Recorder::start(machine, Box::new(FileSink::new(file, path.into())), description.options(base))?;
        Ok(Recording { recorder, path: path.into(), node: None })
    }

    /// Starts to record `machine`, which stands at the state that `started` names, in a tree.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn start_in_tree(
        machine: &mut Machine,
        base: Position,
        started: Started,
        description: &Description,
    ) -> Result<Self, StartError> {
        let file = create(&started.path)?;
        let sink = Box::new(FileSink::new(file, started.path.clone()));
        let recorder = Recorder::start_from(machine, sink, description.options(base), started.base)?;
        Ok(Recording { recorder, path: started.path, node: Some(started.id) })
    }
}

impl Description {
    fn clock_name(&self) -> &'static str {
        match self.clock {
            ClockMode::Virtual => "virtual",
            ClockMode::Real => "real",
        }
    }

    pub(crate) fn options(&self, base: Position) -> RecorderOptions {
        RecorderOptions {
            boot: self.boot.clone(),
            engine: self.engine.name().into(),
            clock: self.clock_name().into(),
            created_unix_seconds: host_unix_seconds(),
            budget_bytes: self.budget_bytes,
            base,
            ..RecorderOptions::default()
        }
    }

    /// `machine` as it stands, its own counts beginning at `base`, for a tree.
    pub fn saved(&self, machine: &Machine, base: Position) -> SavedState {
        SavedState {
            boot: self.boot.clone(),
            clock: self.clock_name().into(),
            engine: self.engine.name().into(),
            ..SavedState::of(machine, base)
        }
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
    if metadata.len() > 0 {
        return Err(StartError::Exists(path.into()));
    }
    // Held as long as it is written to; a file system without locks does without.
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(path.into())),
        Err(TryLockError::Error(_)) | Ok(()) => Ok(file),
    }
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
