//! Snapshots to files of their own, taken while the guest runs on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use machine::Machine;
use serde_json::{Value, json};
use timeline::Position;
use timeline::new_file::NewFile;
use timeline::snapshot_file::{SnapshotFile, failure};

use crate::control::Request;
use crate::guest::Guest;
use crate::recording::{Description, StartError};
use crate::tree::Waiting;

/// A snapshot that is being taken.
struct UnderWay {
    snapshot: SnapshotFile,
    path: PathBuf,
    waiting: Waiting,
}

/// Those that are being taken; pages are copied for one of them at most.
#[derive(Default)]
pub struct Snapshots(Vec<UnderWay>);

impl Snapshots {
    fn begin(
        &mut self,
        machine: &mut Machine,
        base: Position,
        path: &Path,
        description: &Description,
        waiting: Waiting,
    ) -> Option<String> {
        let started =
            create(path).and_then(|file| Ok(SnapshotFile::start(machine, Box::new(file), description.options(base))?));
        match started {
            Ok(snapshot) => {
                self.0.push(UnderWay { snapshot, path: path.into(), waiting });
                None
            }
            Err(error) => waiting.tell(&Err(error.to_string())),
        }
    }

    /// Whether [`Self::tend`] should be called soon.
    pub fn is_busy(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether pages of one are still being copied.
    pub fn is_copying(&self) -> bool {
        self.0.iter().any(|under_way| under_way.snapshot.is_copying())
    }

    /// Copies some more pages, and answers for the snapshots that are done. Gives notices.
    pub fn tend(&mut self, machine: &mut Machine) -> Vec<String> {
        let mut notices = Vec::new();
        for mut under_way in std::mem::take(&mut self.0) {
            under_way.snapshot.poll(machine);
            match under_way.snapshot.outcome() {
                Some(outcome) => notices.extend(under_way.tell(outcome)),
                None => self.0.push(under_way),
            }
        }
        notices
    }

    /// Ends all copying, so that another may begin or the machine be replaced.
    pub fn complete(&mut self, machine: &mut Machine) {
        self.0.iter_mut().for_each(|under_way| under_way.snapshot.complete(machine));
    }

    /// Waits until all are written. Gives notices.
    pub fn finish(&mut self, machine: &mut Machine) -> Vec<String> {
        let finish = |mut under_way: UnderWay| {
            let outcome = under_way.snapshot.finish(machine);
            under_way.tell(outcome)
        };
        std::mem::take(&mut self.0).into_iter().filter_map(finish).collect()
    }
}

impl UnderWay {
    fn tell(self, outcome: Result<(), String>) -> Option<String> {
        let UnderWay { snapshot, path, waiting } = self;
        let name = path.display().to_string();
        let result = match outcome {
            Ok(()) => Ok((described(&name, snapshot.position()), name)),
            Err(why) => Err(failure(&path, &why)),
        };
        waiting.tell(&result)
    }
}

fn described(file: &str, at: Position) -> Value {
    json!({ "file": file, "insns": at.insns, "virtual_ns": at.time.as_ns() })
}

fn create(path: &Path) -> Result<NewFile, StartError> {
    NewFile::create(path).map_err(|source| match source.kind() {
        // With a sentence of its own it is about another file.
        ErrorKind::AlreadyExists if source.get_ref().is_none() => StartError::Exists(path.into()),
        ErrorKind::InvalidInput => StartError::NotAFile(path.into()),
        ErrorKind::ResourceBusy => StartError::InUse(path.into()),
        _ => StartError::Create { path: path.into(), source },
    })
}

impl Guest {
    /// Takes a snapshot to a file for a program on the socket.
    pub(crate) fn snapshot_to(&mut self, request: Request, path: &Path, state: &'static str) {
        self.snapshot_file(path, Waiting::Program(request, state));
    }

    /// Begins a snapshot to a file, while the guest runs on.
    pub(crate) fn snapshot_file(&mut self, path: &Path, waiting: Waiting) {
        self.complete_copies();
        let notice = self.snapshots.begin(&mut self.machine, self.base, path, &self.description, waiting);
        self.notices.extend(notice);
    }

    /// Looks after snapshots that are being taken.
    pub(crate) fn tend_snapshots(&mut self) {
        if self.snapshots.is_busy() {
            let notices = self.snapshots.tend(&mut self.machine);
            self.notices.extend(notices);
        }
    }
}
