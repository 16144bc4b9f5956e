//! Where a recording's bytes go to, and where they come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::temporary::{self, Opened};

/// Something that a recording is written to.
pub trait Sink: Send {
    /// Writes all of `bytes` at `offset`, or fails having written any part of them.
    ///
    /// # Errors
    /// The host's.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts off what lies behind `len` bytes.
    ///
    /// # Errors
    /// The host's.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Reads back exactly as many bytes as fit `to`.
    ///
    /// # Errors
    /// The host's, and if nothing can be read back.
    fn read_at(&self, _offset: u64, _to: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// An empty one that can take the place of this one; `None` if there can be none.
    ///
    /// # Errors
    /// The host's.
    fn replacement(&self) -> io::Result<Option<Box<dyn Sink>>> {
        Ok(None)
    }
    /// Makes sure that what was written outlives the host.
    ///
    /// # Errors
    /// The host's.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Of a [`Self::replacement`]: takes the place of the other, at once and whole.
    ///
    /// # Errors
    /// The host's; everything is as before then.
    fn take_place(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A file under its name.
pub struct FileSink {
    file: File,
    path: PathBuf,
    /// If it is to take the place of the file at `path`.
    replaces: Option<Replaced>,
}

/// A file that is to be replaced.
struct Replaced {
    /// The name that the new file has until then.
    temporary: PathBuf,
    /// Device and inode of the old one.
    identity: (u64, u64),
}

/// Device and inode of the file at `path`.
fn identity_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl FileSink {
    /// `file`, which is open for reading and writing and stands at `path`.
    pub fn new(file: File, path: PathBuf) -> Self {
        FileSink { file, path, replaces: None }
    }
}

impl Sink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        // Ext4 writes a file that was ever cut to nothing to the disk when it is closed, and the program waits for it.
        if self.file.metadata()?.len() == len { Ok(()) } else { self.file.set_len(len) }
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }
    fn replacement(&self) -> io::Result<Option<Box<dyn Sink>>> {
        let here = self.file.metadata()?;
        let identity = (here.dev(), here.ino());
        let Some(temporary) = temporary::name(&self.path) else { return Ok(None) };
        // Somebody may have moved the file away, and it stays theirs.
        if self.replaces.is_some() || identity_at(&self.path)? != identity {
            return Ok(None);
        }
        let Opened::Empty(file) = temporary::open(&temporary)? else { return Ok(None) };
        file.set_permissions(here.permissions())?;
        let replaces = Some(Replaced { temporary, identity });
        Ok(Some(Box::new(FileSink { file, path: self.path.clone(), replaces })))
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn take_place(&mut self) -> io::Result<()> {
        let Some(replaced) = &self.replaces else { return Err(io::ErrorKind::Unsupported.into()) };
        if identity_at(&self.path)? != replaced.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        std::fs::rename(&replaced.temporary, &self.path)?;
        self.replaces = None;
        Ok(())
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Some(replaced) = &self.replaces {
            // If this fails, the next thinning of a recording at this path uses the file.
            let _ = std::fs::remove_file(&replaced.temporary);
        }
    }
}

impl Sink for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Something that a recording is read from.
pub trait Source: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The host's.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Reads exactly as many bytes as fit `to`.
    ///
    /// # Errors
    /// The host's, and if there are not as many.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(to, offset)
    }
}

impl Source for Vec<u8> {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(to.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A recording in memory, that can be looked at while it is written.
#[derive(Clone, Default)]
pub struct MemorySink {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<Option<usize>>>,
    /// What this replaces.
    original: Option<Arc<Mutex<Vec<u8>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemorySink {
    /// What was written.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.bytes).clone()
    }

    /// From now on there is room for `bytes` in all; `None`: for any number.
    pub fn set_room(&self, bytes: Option<usize>) {
        *lock(&self.room) = bytes;
    }
}

impl Sink for MemorySink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let room = lock(&self.room).unwrap_or(usize::MAX);
        let mut to = lock(&self.bytes);
        let end = offset as usize + bytes.len();
        let fits = end.min(room.max(to.len()));
        if to.len() < fits {
            to.resize(fits, 0);
        }
        let part = fits.saturating_sub(offset as usize);
        to[offset as usize..][..part].copy_from_slice(&bytes[..part]);
        if fits < end { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        lock(&self.bytes).truncate(len as usize);
        Ok(())
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        Source::read_at(&*lock(&self.bytes), offset, to)
    }

    fn replacement(&self) -> io::Result<Option<Box<dyn Sink>>> {
        let (room, original) = (self.room.clone(), Some(self.bytes.clone()));
        Ok(Some(Box::new(MemorySink { bytes: Arc::default(), room, original })))
    }

    fn take_place(&mut self) -> io::Result<()> {
        let original = self.original.take().ok_or(io::ErrorKind::Unsupported)?;
        *lock(&original) = std::mem::take(&mut *lock(&self.bytes));
        self.bytes = original;
        Ok(())
    }
}
