//! Checked access to the bytes of a kernel file: nothing here trusts an offset.

use super::BootError;

/// A kernel file and the name to call it by in errors.
#[derive(Clone, Copy)]
pub(super) struct KernelFile<'a> {
    pub path: &'a str,
    pub bytes: &'a [u8],
}

impl<'a> KernelFile<'a> {
    /// `len` bytes at `offset`; `what` names them if the file ends before.
    pub fn slice(&self, offset: u64, len: u64, what: &'static str) -> Result<&'a [u8], BootError> {
        let range = usize::try_from(offset).ok().zip(offset.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        range
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or_else(|| BootError::Truncated { kernel: self.path.into(), what })
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: u64, what: &'static str) -> Result<u8, BootError> {
        Ok(self.slice(offset, 1, what)?[0])
    }

    /// The little-endian word at `offset`.
    pub fn u16(&self, offset: u64, what: &'static str) -> Result<u16, BootError> {
        self.array(offset, what).map(u16::from_le_bytes)
    }

    /// The little-endian double word at `offset`.
    pub fn u32(&self, offset: u64, what: &'static str) -> Result<u32, BootError> {
        self.array(offset, what).map(u32::from_le_bytes)
    }

    /// The little-endian quad word at `offset`.
    pub fn u64(&self, offset: u64, what: &'static str) -> Result<u64, BootError> {
        self.array(offset, what).map(u64::from_le_bytes)
    }

    /// An error about this file's content.
    pub fn bad(&self, format: &'static str, problem: impl Into<String>) -> BootError {
        BootError::BadKernel { kernel: self.path.into(), format, problem: problem.into() }
    }

    fn array<const N: usize>(&self, offset: u64, what: &'static str) -> Result<[u8; N], BootError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(offset, N as u64, what)?);
        Ok(array)
    }
}
