//! One invocation at a time: a request is several writes, and two programs must not mix theirs.

use std::fs::File;
use std::io;

/// Runs `exchange` while no other process that runs this program is in one of its own.
///
/// # Errors
/// If the kernel cannot wait for the others.
pub fn alone<T>(exchange: impl FnOnce() -> T) -> io::Result<T> {
    // Any file would do that all invocations find: the program itself. A guest that has not mounted
    // /proc yet is so early in its boot that nothing else runs.
    let lock = File::open("/proc/self/exe").ok();
    if let Some(file) = &lock {
        file.lock()?;
    }
    Ok(exchange())
}
