//! Files of a store: written whole or not at all, checked when they are read.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::error::{StoreError, damaged, io};

/// Ending of files that are being written.
const UNFINISHED: &str = "new";

/// Writes a file so that it is there whole or not at all, also after the host lost power.
pub(super) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    let temporary = path.with_extension(UNFINISHED);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| {
        // The half-written file belongs to nobody; the next collection removes it if this fails.
        let _ = fs::remove_file(&temporary);
        io("write", path)(source)
    })
}

/// Removes a file, and gives its length; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<u64, StoreError> {
    let bytes = len_bytes(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(bytes),
    }
}

/// Bytes of a file; 0 if there is none.
pub(super) fn len_bytes(path: &Path) -> Result<u64, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io("read", path)(error)),
    }
}

/// The files in a directory, in order.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(io("read", directory))? {
        paths.push(entry.map_err(io("read", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The files in a directory that end in `extension`, in order.
pub(super) fn files_with(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = files(directory)?;
    paths.retain(|path| path.extension() == Some(OsStr::new(extension)));
    Ok(paths)
}

/// A file's name without its ending.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes a message: magic, CRC-32C of the rest (4 bytes, little-endian), the message (zstd if `packed`).
pub(super) fn write_message(
    path: &Path,
    magic: &[u8; 8],
    message: &impl Message,
    packed: bool,
) -> Result<(), StoreError> {
    let mut bytes = message.encode_to_vec();
    if packed {
        bytes = zstd::bulk::compress(&bytes, 1).map_err(io("pack", path))?;
    }
    write_whole(path, &[magic, &crc32c::crc32c(&bytes).to_le_bytes(), &bytes])
}

/// Reads a message that [`write_message`] wrote, of at most `limit` bytes.
pub(super) fn read_message<M: Message + Default>(
    path: &Path,
    magic: &[u8; 8],
    packed: bool,
    limit: u64,
) -> Result<M, StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io("open", path))?;
    file.take(limit + 12).read_to_end(&mut bytes).map_err(io("read", path))?;
    let rest = bytes.strip_prefix(magic).ok_or(damaged(path, "it does not begin as it should"))?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(damaged(path, "it is cut off"))?;
    if crc32c::crc32c(rest).to_le_bytes() != *crc {
        return Err(damaged(path, "its checksum is wrong"));
    }
    let mut raw = Vec::new();
    let rest = if packed {
        let decoder = zstd::Decoder::new(rest).map_err(io("unpack", path))?;
        decoder.take(limit).read_to_end(&mut raw).map_err(io("unpack", path))?;
        raw.as_slice()
    } else {
        rest
    };
    M::decode(rest).map_err(|_| damaged(path, "it is not readable, though its checksum is right"))
}
