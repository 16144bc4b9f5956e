//! How much memory a machine takes beside its guest's RAM, from procfs.

use std::fs;

use anyhow::{Context, Result};

/// Resident memory of a machine's process without its guest's RAM. A page that is mapped twice, as translated code is, counts
/// once: what is added up is the proportional set size.
///
/// # Errors
/// If no mapping can be the RAM.
pub fn beside_ram_bytes(pid: u32, ram_kib: u64) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps");
    let maps = match fs::read_to_string(&path) {
        Ok(maps) => maps,
        // It ended right behind its last line.
        Err(error) if has_ended(&error) => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("reading {path}")),
    };
    let beside = beside_ram_kib(&maps, ram_kib);
    beside.map(|kib| kib * 1024).with_context(|| format!("{path} has no mapping as large as the guest's RAM"))
}

/// What procfs says of a process that is no more: its directory is gone, or "no such process".
fn has_ended(error: &std::io::Error) -> bool {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH];
    error.raw_os_error().is_some_and(|number| gone.iter().any(|errno| errno.raw_os_error() == number))
}

/// The sum of `Pss` over all mappings but RAM, in the format of proc_pid_smaps(5). RAM is what is large enough for it,
/// and of several such the one that is used most.
fn beside_ram_kib(smaps: &str, ram_kib: u64) -> Option<u64> {
    let field = |line: &str, name: &str| -> Option<u64> {
        line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    let (mut size, mut all, mut ram) = (0, 0, None);
    for line in smaps.lines() {
        if let Some(kib) = field(line, "Size:") {
            size = kib;
        } else if let Some(kib) = field(line, "Pss:") {
            all += kib;
            if size >= ram_kib {
                ram = ram.max(Some(kib));
            }
        }
    }
    Some(all - ram?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_what_is_large_enough_and_used_most() {
        let smaps = "1000-2000 rw-p 0 0:0 0 [heap]\nSize:  400 kB\nRss:  600 kB\nPss:  300 kB\n\
                     2000-9000 rw-s 0 0:1 7 /memfd:ram (deleted)\nSize:  4096 kB\nPss:  2000 kB\n\
                     a000-b000 ---p 0 0:0 0\nSize:  99999 kB\nPss:  100 kB\n";
        assert_eq!(beside_ram_kib(smaps, 4096), Some(400));
        assert_eq!(beside_ram_kib(smaps, 1 << 20), None);
    }
}
