//! One process at a time changes a store.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::{StoreError, io};

/// How long a process waits for another: longer than most changes take.
const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(20);

/// The right to change a store, until this is dropped; the host takes it from a process that was killed.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for it a while.
    ///
    /// # Errors
    /// If another process keeps it for longer.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io("open", &path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(directory.display().to_string())),
                Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
            }
        }
    }
}
