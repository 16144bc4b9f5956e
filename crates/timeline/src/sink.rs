//! Where a recording's bytes go to, and where they come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

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
}

impl MemorySink {
    /// What was written.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// From now on there is room for `bytes` in all; `None`: for any number.
    pub fn set_room(&self, bytes: Option<usize>) {
        *self.room.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = bytes;
    }
}

impl Sink for MemorySink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let room = self.room.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).unwrap_or(usize::MAX);
        let mut to = self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
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
        self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).truncate(len as usize);
        Ok(())
    }
}
