//! Where the threads that wait for the outside leave what came, and where the machine's thread looks.
//!
//! One lock and two conditions: the machine's thread waits for something to arrive, a reader
//! waits for room. The room is bounded, so that a huge input does not pile up in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::Request;

/// The most bytes that wait here; a reader that has more waits itself.
const CAPACITY_BYTES: usize = 64 * 1024;
/// How long the end waits for programs that do not take their answers.
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

/// What came from outside since the last look.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Bytes from the terminal or the pipe, in order.
    pub bytes: Vec<u8>,
    /// No more bytes will come. Stays true once it is.
    pub ended: bool,
    /// Why reading failed, if it did. Reported once.
    pub error: Option<io::Error>,
    /// Somebody asked this process to stop, by this signal.
    pub signal: Option<i32>,
    /// What other programs asked for over the control socket.
    pub requests: Vec<Request>,
}

#[derive(Debug, Default)]
struct Contents {
    bytes: VecDeque<u8>,
    ended: bool,
    ended_told: bool,
    error: Option<io::Error>,
    signal: Option<i32>,
    requests: Vec<Request>,
    farewells: Vec<Request>,
    /// Requests whose answers have not reached the socket.
    unanswered: usize,
}

impl Contents {
    /// Whether the last byte was taken and no more will come.
    fn is_at_end(&self) -> bool {
        self.ended && self.bytes.is_empty()
    }

    fn has_news(&self, bytes_count: bool) -> bool {
        (bytes_count && !self.bytes.is_empty())
            || self.is_at_end() != self.ended_told
            || self.error.is_some()
            || self.signal.is_some()
            || !self.requests.is_empty()
    }
}

/// The meeting point of the machine's thread and the threads that wait for the outside.
#[derive(Debug, Default)]
pub struct Mailbox {
    contents: Mutex<Contents>,
    arrived: Condvar,
    has_room: Condvar,
    answered: Condvar,
}

impl Mailbox {
    /// Adds bytes; waits while the box is full.
    pub fn put_bytes(&self, bytes: &[u8]) {
        let mut contents = self.lock();
        while contents.bytes.len() >= CAPACITY_BYTES {
            contents = self.has_room.wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
        contents.bytes.extend(bytes);
        self.arrived.notify_one();
    }

    /// Says that no more bytes will come, and why if that was a failure.
    pub fn put_end(&self, error: Option<io::Error>) {
        let mut contents = self.lock();
        contents.ended = true;
        contents.error = error;
        self.arrived.notify_one();
    }

    /// Says that a signal asked this process to stop.
    pub fn put_signal(&self, signal: i32) {
        self.lock().signal = Some(signal);
        self.arrived.notify_one();
    }

    /// Whether a signal asked this process to stop.
    pub fn has_signal(&self) -> bool {
        self.lock().signal.is_some()
    }

    /// Leaves what another program asks for. Call [`Self::note_answered`] when it has its answer.
    pub fn put_request(&self, request: Request) {
        let mut contents = self.lock();
        contents.requests.push(request);
        contents.unanswered += 1;
        self.arrived.notify_one();
    }

    /// A program has the answer to its request, or is gone.
    pub fn note_answered(&self) {
        let mut contents = self.lock();
        contents.unanswered = contents.unanswered.saturating_sub(1);
        self.answered.notify_all();
    }

    /// Keeps a request that is answered when all is done.
    pub fn put_farewell(&self, request: Request) {
        self.lock().farewells.push(request);
    }

    /// Answers what was kept, and whatever else still waits: the run is over. The process may end at once then, so this waits until
    /// the answers have been passed on.
    pub fn say_farewell(&self) {
        let (kept, others) = {
            let mut contents = self.lock();
            (std::mem::take(&mut contents.farewells), std::mem::take(&mut contents.requests))
        };
        kept.into_iter().for_each(|request| request.answer(Ok(serde_json::json!({ "state": "ended" }))));
        others.into_iter().for_each(|request| request.answer(Err("the machine has ended".into())));
        let is_owed = |contents: &mut Contents| contents.unanswered > contents.requests.len();
        // Whoever does not read in this time gets no answer.
        drop(self.answered.wait_timeout_while(self.lock(), LONGEST_FAREWELL, is_owed));
    }

    /// Takes what is there, at most `max_bytes` of the bytes, without waiting.
    pub fn take(&self, max_bytes: usize) -> Arrived {
        let mut contents = self.lock();
        let len = contents.bytes.len().min(max_bytes);
        let bytes = contents.bytes.drain(..len).collect();
        self.has_room.notify_one();
        let ended = contents.is_at_end();
        contents.ended_told = ended;
        let requests = std::mem::take(&mut contents.requests);
        Arrived { bytes, ended, error: contents.error.take(), signal: contents.signal.take(), requests }
    }

    /// Waits until something is there or `timeout` has passed; `None` waits for ever. Says whether something is.
    ///
    /// `for_bytes` says whether bytes count: somebody who has no room for them does not wait for them.
    pub fn wait(&self, timeout: Option<Duration>, for_bytes: bool) -> bool {
        let contents = self.lock();
        let nothing = |contents: &mut Contents| !contents.has_news(for_bytes);
        let contents = match timeout {
            Some(timeout) => {
                self.arrived.wait_timeout_while(contents, timeout, nothing).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.arrived.wait_while(contents, nothing).unwrap_or_else(PoisonError::into_inner),
        };
        contents.has_news(for_bytes)
    }

    /// A thread that panicked while it held the lock left whole values behind: every change is one statement.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_end_is_told_after_the_last_byte() {
        let mailbox = Mailbox::default();
        mailbox.put_bytes(b"abc");
        mailbox.put_end(None);
        let first = mailbox.take(2);
        assert_eq!((first.bytes.as_slice(), first.ended), (&b"ab"[..], false));
        let second = mailbox.take(2);
        assert_eq!((second.bytes.as_slice(), second.ended), (&b"c"[..], true));
        assert!(mailbox.take(2).ended);
    }

    #[test]
    fn waiting_ends_at_once_when_something_is_there() {
        let mailbox = Mailbox::default();
        mailbox.put_signal(15);
        mailbox.wait(None, true);
        assert_eq!(mailbox.take(1).signal, Some(15));
    }

    #[test]
    fn the_end_waits_until_answers_have_been_passed_on() {
        let mailbox = Mailbox::default();
        let (reply, answer) = std::sync::mpsc::channel();
        mailbox.put_request(Request { command: crate::control::Command::Quit, reply });
        let request = mailbox.take(1).requests.pop().expect("it was left there");
        mailbox.put_farewell(request);
        let pause = Duration::from_millis(50);
        let told = &mailbox;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                assert!(answer.recv().is_ok_and(|answer| answer.is_ok()));
                std::thread::sleep(pause);
                told.note_answered();
            });
            let start = Instant::now();
            mailbox.say_farewell();
            assert!((pause..LONGEST_FAREWELL).contains(&start.elapsed()), "{:?}", start.elapsed());
        });
    }

    #[test]
    fn the_end_behind_bytes_that_have_no_room_is_no_news() {
        let mailbox = Mailbox::default();
        mailbox.put_bytes(b"abc");
        mailbox.put_end(None);
        mailbox.take(1);
        let (start, timeout) = (Instant::now(), Duration::from_millis(30));
        mailbox.wait(Some(timeout), false);
        assert!(start.elapsed() >= timeout);
    }

    #[test]
    fn a_full_box_holds_the_reader_until_there_is_room() {
        let mailbox = Mailbox::default();
        let sent: Vec<u8> = (0..3 * CAPACITY_BYTES).map(|i| i as u8).collect();
        let mut received = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sent.chunks(1000).for_each(|chunk| mailbox.put_bytes(chunk));
                mailbox.put_end(None);
            });
            loop {
                mailbox.wait(None, true);
                let arrived = mailbox.take(777);
                received.extend_from_slice(&arrived.bytes);
                if arrived.ended {
                    break;
                }
            }
        });
        assert_eq!(received, sent);
    }
}
