//! The name that a recording's file has until it is whole.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::format::preamble::MAGIC;

/// The name that the file for `path` has until it takes its place; `None` if `path` names no file. What a killed process leaves
/// under it belongs to nobody.
pub fn name(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(".new");
    Some(path.with_file_name(name))
}

/// What [`open`] found.
#[derive(Debug)]
pub enum Opened {
    /// An empty file, which others see by its lock to be in use; a file system without locks does without.
    Empty(File),
    /// A file that is no recording: somebody else's.
    Foreign,
    /// Another process is writing it.
    Busy,
}

/// Opens the file with a temporary `name`, or makes it. What a killed process left in it is dropped.
///
/// # Errors
/// The host's.
pub fn open(name: &Path) -> io::Result<Opened> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name)?;
    let len = file.metadata()?.len().min(MAGIC.len() as u64) as usize;
    let mut begin = [0; MAGIC.len()];
    file.read_exact_at(&mut begin[..len], 0)?;
    if begin[..len] != MAGIC[..len] {
        return Ok(Opened::Foreign);
    }
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Ok(Opened::Busy);
    }
    file.set_len(0)?;
    Ok(Opened::Empty(file))
}
