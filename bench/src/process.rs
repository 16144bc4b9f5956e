//! One program under way, timed from outside. This is the only way in which anything here is timed.
//!
//! What a program prints says how far it is: each line is stamped with the host's time since the program's start
//! and with the CPU time that it has used so far. So a guest is timed by the lines on its serial port, and no clock of
//! its own plays a part. On a host that has other things to do, the CPU time is what can be relied on.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::cpu_time::cpu_time;

/// How much of what a program printed last goes into errors.
const TAIL_BYTES: usize = 600;

/// How long something took, or how far a program is, from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// On the host's clock.
    pub wall: Duration,
    /// User and system time of all its threads and of its descendants. What is known only of threads and descendants
    /// that ended comes in steps of 10 ms.
    pub cpu: Duration,
}

impl Span {
    /// From `earlier` to here.
    pub fn since(self, earlier: Span) -> Span {
        Span { wall: self.wall.saturating_sub(earlier.wall), cpu: self.cpu.saturating_sub(earlier.cpu) }
    }
}

/// A line that a program printed.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line, without its end.
    pub text: String,
    /// When it came.
    pub at: Span,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct End {
    /// When.
    pub at: Span,
    /// What it wrote to standard error.
    pub errors: String,
}

/// A program did not end in time.
#[derive(Debug)]
pub struct TimeUp(String);

impl fmt::Display for TimeUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimeUp {}

/// A running program.
pub struct Running {
    name: String,
    child: Child,
    start: Instant,
    deadline: Instant,
    chunks: Receiver<(Instant, Vec<u8>)>,
    errors: Option<JoinHandle<String>>,
    /// Whole lines that nobody asked for yet.
    lines: VecDeque<Line>,
    /// The beginning of the next line.
    partial: Vec<u8>,
    tail: Vec<u8>,
    reaped: bool,
}

impl Running {
    /// Starts a program, which is killed if it runs for longer than `limit`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, limit: Duration) -> Result<Running> {
        let name = command.get_program().to_string_lossy().into_owned();
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut output = child.stdout.take().context("a program without standard output")?;
        let mut errors = child.stderr.take().context("a program without standard error")?;
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error ends the stream as its end does: what is missing is then missed.
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send((Instant::now(), buffer[..len].to_vec())).is_err() {
                    break;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut bytes = Vec::new();
            let complete = errors.read_to_end(&mut bytes).is_ok();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if complete { text } else { format!("{text}\n(the rest could not be read)") }
        });
        Ok(Running {
            name,
            child,
            start,
            deadline: start + limit,
            chunks,
            errors: Some(errors),
            lines: VecDeque::new(),
            partial: Vec::new(),
            tail: Vec::new(),
            reaped: false,
        })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` at the end of its output.
    ///
    /// # Errors
    /// [`TimeUp`].
    pub fn line(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            match self.chunks.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok((at, bytes)) => self.take(at, &bytes)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    let limit = self.deadline.saturating_duration_since(self.start);
                    bail!(TimeUp(format!("{} did not end within {} s{}", self.name, limit.as_secs(), self.tail())));
                }
            }
        }
    }

    /// Waits for a line that has `marker` in it.
    ///
    /// # Errors
    /// If none comes.
    pub fn wait_for(&mut self, marker: &str) -> Result<Line> {
        while let Some(line) = self.line()? {
            if line.text.contains(marker) {
                return Ok(line);
            }
        }
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        bail!("{} never printed '{marker}'{}\n{errors}", self.name, self.tail())
    }

    /// Waits for its end, which must be with exit status `expected`.
    ///
    /// # Errors
    /// If it ends otherwise, or not in time.
    pub fn finish(mut self, expected: i32) -> Result<End> {
        while self.line()?.is_some() {}
        let pid = Pid::from_child(&self.child);
        // Left a zombie for a moment, so that its times can be read.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).context("waiting for a program")?;
        let at = Span { wall: self.start.elapsed(), cpu: cpu_time(self.id())? };
        let status = self.reap()?;
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.code() != Some(expected) {
            bail!("{} ended with {status}, not with status {expected}{}\n{errors}", self.name, self.tail());
        }
        Ok(End { at, errors })
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        self.reaped = true;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    fn take(&mut self, at: Instant, bytes: &[u8]) -> Result<()> {
        self.tail.extend_from_slice(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        let mut stamp = None;
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
            self.partial.clear();
            let at = match stamp {
                Some(at) => at,
                None => *stamp.insert(Span { wall: at - self.start, cpu: cpu_time(self.id())? }),
            };
            self.lines.push_back(Line { text, at });
        }
        Ok(())
    }

    fn tail(&self) -> String {
        format!("; the end of its output:\n{}", String::from_utf8_lossy(&self.tail))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // Nothing is to be done about a program that cannot be killed, or that has just ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end, which must be with status 0.
///
/// # Errors
/// If it ends otherwise, or not in time.
pub fn run(command: &mut Command, limit: Duration) -> Result<End> {
    Running::start(command, limit)?.finish(0)
}

/// Runs a program to its end and gives back all that it printed; for short answers.
///
/// # Errors
/// If it does not end with status 0.
pub fn answer(command: &mut Command, limit: Duration) -> Result<String> {
    let mut running = Running::start(command, limit)?;
    let mut text = String::new();
    while let Some(line) = running.line()? {
        text += &line.text;
        text.push('\n');
    }
    text += &String::from_utf8_lossy(&running.partial);
    running.finish(0)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_come_in_order_and_with_their_stamps() {
        let mut running = Running::start(&mut shell("echo one; echo two; echo three"), LIMIT).unwrap();
        let two = running.wait_for("two").unwrap();
        let three = running.line().unwrap().unwrap();
        assert_eq!((two.text.as_str(), three.text.as_str()), ("two", "three"));
        assert!(running.line().unwrap().is_none());
        let end = running.finish(0).unwrap();
        assert!(two.at.wall <= three.at.wall && three.at.wall <= end.at.wall);
    }

    #[test]
    fn what_goes_wrong_is_told_with_what_was_printed() {
        let mut running = Running::start(&mut shell("echo nothing; echo why >&2"), LIMIT).unwrap();
        let error = running.wait_for("marker").unwrap_err().to_string();
        assert!(error.contains("marker") && error.contains("nothing") && error.contains("why"), "{error}");
        let error = run(&mut shell("echo oops; exit 3"), LIMIT).unwrap_err().to_string();
        assert!(error.contains("oops") && error.contains('3'), "{error}");
        Running::start(&mut shell("exit 8"), LIMIT).unwrap().finish(8).unwrap();
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let error = run(&mut shell("exec cat /dev/zero"), Duration::ZERO).unwrap_err();
        assert!(error.is::<TimeUp>() && error.to_string().contains("within 0 s"), "{error}");
    }

    #[test]
    fn an_answer_need_not_end_its_line() {
        assert_eq!(answer(&mut shell("printf 'a\\nb'"), LIMIT).unwrap(), "a\nb");
    }

    #[test]
    fn the_cpu_time_of_children_counts_before_they_end() {
        // Work is counted by ticks, so its amount decides when this ends, and no clock of the test.
        let script = "sh -c 'while :; do echo; done' & echo started; wait";
        let mut running = Running::start(&mut shell(script), LIMIT).unwrap();
        while running.line().unwrap().is_some_and(|line| line.at.cpu < Duration::from_millis(30)) {}
        assert_eq!(running.line().unwrap().map(|line| line.text), Some(String::new()));
    }

    #[test]
    fn the_cpu_time_of_a_child_is_not_lost_while_it_is_waited_for() {
        // Each child ends right behind its line, as the programs of the suite do.
        let script = "n=0; while [ $n -lt 60 ]; do \
                      sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo a; echo b'; n=$((n+1)); done";
        let mut running = Running::start(&mut shell(script), LIMIT).unwrap();
        let mut before = Duration::ZERO;
        while let Some(line) = running.line().unwrap() {
            // Of a child that is over, the kernel may leave out less than a step.
            assert!(line.at.cpu + Duration::from_millis(20) > before, "{:?} after {before:?}", line.at.cpu);
            before = line.at.cpu;
        }
        assert!(running.finish(0).unwrap().at.cpu > Duration::from_millis(60));
    }
}
