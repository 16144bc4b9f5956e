//! How much CPU time a process has used, from procfs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Linux tells CPU times to programs in hundredths of a second (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The CPU time so far of a process, which may be over, and of its descendants.
///
/// The kernel says it in steps of 10 ms for all that the process ever did, and exactly for each thread that is still there: neither
/// is too much, so the larger is right.
///
/// # Errors
/// If there is no such process, not even one that ended and was not waited for.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    loop {
        let (_, before) = ticks_of(pid)?;
        let children = children_of(pid).iter().filter_map(|child| cpu_time(*child).ok()).sum::<Duration>();
        let threads = files_of_threads(pid, "schedstat").iter().filter_map(|text| running_time(text)).sum();
        let (own, waited_for) = ticks_of(pid)?;
        // A child that was waited for meanwhile is in the one sum or the other, or in neither, or in both.
        if waited_for == before {
            return Ok((TICK * own).max(threads) + TICK * waited_for + children);
        }
    }
}

/// User and system time of a process, and of the children that it has waited for, with theirs.
fn ticks_of(pid: u32) -> Result<(u32, u32)> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    cpu_ticks(&text).with_context(|| format!("{path} is not as proc(5) says"))
}

/// Processes that the threads of a process have started and that it has not waited for.
fn children_of(pid: u32) -> Vec<u32> {
    let lists = files_of_threads(pid, "children");
    lists.iter().flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok())).collect()
}

/// What the file of this name says of each thread that is still there.
fn files_of_threads(pid: u32, name: &str) -> Vec<String> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join(name)).ok()).collect()
}

/// utime + stime and cutime + cstime, fields 14 to 17 of proc_pid_stat(5). Field 2, the name in parentheses, may have
/// anything in it.
fn cpu_ticks(stat: &str) -> Option<(u32, u32)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|time| time.parse::<u32>().ok());
    let mut sum = || times.next()??.checked_add(times.next()??);
    Some((sum()?, sum()?))
}

/// Nanoseconds on a CPU, the first number of a thread's schedstat (Linux, Documentation/scheduler/sched-stats.rst).
fn running_time(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_read_whatever_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some((33, 77)));
        assert_eq!(cpu_ticks("7 (a) S 1 2"), None);
        assert_eq!(running_time("632409 5 1\n"), Some(Duration::from_nanos(632_409)));
    }
}
