//! What the guest's serial port is fed with, and when.
//!
//! A terminal or a pipe delivers bytes whenever the host does. A regular file is different:
//! all of it is there from the start, so its bytes go in at points that the guest's own
//! progress decides (every [`FEED_INTERVAL`] instructions, and whenever every vCPU is idle),
//! as many as the serial port takes. Such a run can be repeated exactly.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};

/// Instructions between two points at which a file's bytes go in.
pub const FEED_INTERVAL: u64 = 50_000;

/// Bytes that are read ahead from a file.
const READ_AHEAD_BYTES: usize = 4096;

/// Bytes that wait for the guest's serial port before a pipe is left alone for a while.
const PENDING_LIMIT_BYTES: usize = 4096;

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// A terminal: bytes as they come, with the keys of the console among them.
    Terminal,
    /// A pipe, a socket or a device: bytes as they come.
    Stream,
    /// A regular file.
    File(File),
}

/// The bytes on their way to the guest's serial port.
#[derive(Debug)]
pub struct Input {
    source: Source,
    pending: VecDeque<u8>,
    ended: bool,
}

impl Input {
    /// Input from `source`, none of it read yet.
    pub fn new(source: Source) -> Self {
        Input { source, pending: VecDeque::new(), ended: false }
    }

    /// Whether the console's keys are among the bytes.
    pub fn has_keys(&self) -> bool {
        matches!(self.source, Source::Terminal)
    }

    /// Whether bytes go in at points fixed by the guest's progress.
    pub fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// How many more bytes should be taken from the mailbox now.
    ///
    /// A terminal is always read, so that Ctrl-A X works while the guest does not listen;
    /// what the guest does not take in time beyond the limit is lost, as on a serial line.
    pub fn room(&self) -> usize {
        match self.source {
            Source::Terminal => READ_AHEAD_BYTES,
            Source::Stream => PENDING_LIMIT_BYTES.saturating_sub(self.pending.len()),
            Source::File(_) => 0,
        }
    }

    /// Adds a byte for the guest.
    pub fn push(&mut self, byte: u8) {
        if !self.has_keys() || self.pending.len() < PENDING_LIMIT_BYTES {
            self.pending.push_back(byte);
        }
    }

    /// No more bytes will be pushed.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether all that will ever come has come, though some of it may wait for the guest.
    pub fn is_complete(&self) -> bool {
        self.ended || self.is_file()
    }

    /// Whether there may be a byte for the guest without waiting for the host.
    pub fn has_more_now(&self) -> bool {
        !self.pending.is_empty() || (self.is_file() && !self.ended)
    }

    /// Whether nothing more can ever come from here.
    pub fn is_exhausted(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// The next byte for the guest, if there is one now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn next_byte(&mut self) -> io::Result<Option<u8>> {
        if let (Source::File(file), true, false) = (&mut self.source, self.pending.is_empty(), self.ended) {
            let mut buffer = [0; READ_AHEAD_BYTES];
            let len = file.read(&mut buffer)?;
            self.pending.extend(&buffer[..len]);
            self.ended = len == 0;
        }
        Ok(self.pending.pop_front())
    }

    /// The first point at or after which bytes should go in again, when the guest stands at `insns`.
    ///
    /// `None` if only the host decides.
    pub fn next_feed(&self, insns: u64) -> Option<u64> {
        let feeds = self.is_file() && !self.is_exhausted();
        feeds.then(|| (insns / FEED_INTERVAL + 1).saturating_mul(FEED_INTERVAL))
    }

    /// Whether bytes may go in when the guest stands at `insns`; `idle` if every vCPU waits.
    pub fn may_feed(&self, insns: u64, idle: bool) -> bool {
        !self.is_file() || idle || insns.is_multiple_of(FEED_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_left_alone_while_much_is_pending() {
        let mut input = Input::new(Source::Stream);
        assert!(input.room() > 0);
        (0..PENDING_LIMIT_BYTES).for_each(|_| input.push(b'x'));
        assert_eq!(input.room(), 0);
        input.end();
        assert!(!input.is_exhausted());
        while input.next_byte().unwrap().is_some() {}
        assert!(input.is_exhausted());
    }

    #[test]
    fn a_terminal_is_always_read_and_never_piles_up() {
        let mut input = Input::new(Source::Terminal);
        (0..3 * PENDING_LIMIT_BYTES).for_each(|_| input.push(b'x'));
        assert!(input.room() > 0);
        let pending = std::iter::from_fn(|| input.next_byte().unwrap()).count();
        assert_eq!(pending, PENDING_LIMIT_BYTES);
    }

    #[test]
    fn a_file_is_fed_at_fixed_points() {
        let mut input = Input::new(Source::File(File::open("Cargo.toml").unwrap()));
        assert_eq!(input.next_feed(0), Some(FEED_INTERVAL));
        assert_eq!(input.next_feed(FEED_INTERVAL), Some(2 * FEED_INTERVAL));
        assert!(input.may_feed(FEED_INTERVAL, false) && !input.may_feed(FEED_INTERVAL + 1, false));
        assert!(input.may_feed(FEED_INTERVAL + 1, true));
        let bytes: Vec<u8> = std::iter::from_fn(|| input.next_byte().unwrap()).collect();
        assert_eq!(bytes, std::fs::read("Cargo.toml").unwrap());
        assert_eq!(input.next_feed(0), None);
    }
}
