//! The loop with a guest of a few lines instead of a machine.

use std::fs::File;
use std::sync::Arc;

use super::*;
use crate::input::Source;

/// A guest that waits for bytes, works 1000 instructions for each, and powers off at `q`.
#[derive(Default)]
struct Echo {
    insns: u64,
    now_ns: u64,
    work_until: u64,
    fifo: Vec<u8>,
    /// Each byte with the instruction count at which it came.
    received: Vec<(u64, u8)>,
    /// A timer, in virtual nanoseconds.
    timer_ns: Option<u64>,
    power_button: bool,
    /// Never halts.
    busy: bool,
    /// Never reads a byte.
    deaf: bool,
    /// The instruction from which on it requests to send.
    listens_from: u64,
}

impl Vm for Echo {
    fn run(&mut self, until: u64, jump: bool) -> Stop {
        loop {
            if self.insns >= until {
                return Stop::Until;
            }
            if self.power_button {
                return Stop::PowerOff;
            }
            if self.busy || self.insns < self.work_until {
                self.insns += 1;
                self.now_ns += 1;
            } else if !self.fifo.is_empty() && !self.deaf {
                if self.fifo.remove(0) == b'q' {
                    return Stop::PowerOff;
                }
                self.work_until = self.insns + 1000;
            } else if self.timer_ns.is_some_and(|timer_ns| timer_ns <= self.now_ns) {
                return Stop::PowerOff;
            } else {
                match self.timer_ns {
                    Some(timer_ns) if jump => self.now_ns = timer_ns,
                    timer_ns => return Stop::Idle { wake: timer_ns.map(VirtualTime::from_ns) },
                }
            }
        }
    }
    fn insn_count(&self) -> u64 {
        self.insns
    }
    fn now(&self) -> VirtualTime {
        VirtualTime::from_ns(self.now_ns)
    }
    fn serial_requests_to_send(&self) -> bool {
        self.insns >= self.listens_from
    }
    fn serial_can_receive(&self) -> bool {
        self.fifo.len() < 4
    }
    fn serial_byte(&mut self, byte: u8) {
        self.received.push((self.insns, byte));
        self.fifo.push(byte);
    }
    fn power_button(&mut self) {
        self.power_button = true;
    }
    fn clock_to(&mut self, time: VirtualTime) {
        self.now_ns = time.as_ns();
    }
    fn take_output(&mut self) -> (Vec<u8>, Vec<u8>) {
        (Vec::new(), Vec::new())
    }
}

fn run(vm: &mut Echo, source: Source, typed: &[u8], clock: bool, limit: Option<u64>) -> Ending {
    let mailbox = Arc::new(Mailbox::default());
    if !matches!(source, Source::File(_)) {
        mailbox.put_bytes(typed);
        mailbox.put_end(None);
    }
    let mut input = Input::new(source);
    let clock = clock.then(|| RealClock::start(VirtualTime::ZERO, Instant::now()));
    let mut console = Console::default();
    let mut runner = Runner::new(mailbox, &mut input, &mut console, clock);
    runner.run(vm, limit).expect("nothing fails on the host")
}

#[test]
fn a_stream_reaches_the_guest_and_power_off_ends_the_run() {
    let mut vm = Echo::default();
    assert_eq!(run(&mut vm, Source::Stream, b"hello\x01xq", false, None), Ending::PowerOff);
    let bytes: Vec<u8> = vm.received.iter().map(|(_, byte)| *byte).collect();
    assert_eq!(bytes, b"hello\x01xq");
}

#[test]
fn keys_of_the_console_are_not_the_guests() {
    let mut vm = Echo::default();
    assert_eq!(run(&mut vm, Source::Terminal, b"ab\x01x", false, None), Ending::Quit);
    let mut vm = Echo::default();
    assert_eq!(run(&mut vm, Source::Terminal, b"\x01p", false, None), Ending::PowerOff);
    assert!(vm.received.is_empty());
}

#[test]
fn a_guest_that_waits_for_what_cannot_come_is_halted_for_ever() {
    for clock in [false, true] {
        assert_eq!(run(&mut Echo::default(), Source::Stream, b"abc", clock, None), Ending::HaltedForEver);
    }
}

#[test]
fn bytes_that_do_not_fit_do_not_keep_a_halted_guest_alive() {
    let mut vm = Echo { fifo: vec![b'x'; 4], deaf: true, ..Echo::default() };
    assert_eq!(run(&mut vm, Source::Stream, b"abc", false, None), Ending::HaltedForEver);
}

#[test]
fn a_guest_that_has_not_started_to_listen_loses_nothing() {
    for source in [Source::Stream, Source::File(File::open("Cargo.toml").unwrap())] {
        let mut vm = Echo { busy: true, listens_from: 300_000, ..Echo::default() };
        run(&mut vm, source, b"abc", false, Some(100_000_000));
        let (first_at, first) = vm.received[0];
        assert!(first_at >= 300_000 && [b'a', b'['].contains(&first));
    }
}

#[test]
fn the_limit_is_exact_and_wins_over_work() {
    for limit in [1, 999, 3_000_001] {
        let mut vm = Echo { busy: true, ..Echo::default() };
        assert_eq!(run(&mut vm, Source::Stream, b"", false, Some(limit)), Ending::MaxInsns);
        assert_eq!(vm.insns, limit);
    }
}

#[test]
fn a_file_goes_in_at_the_same_instructions_every_time() {
    for busy in [false, true] {
        let log = || {
            let mut vm = Echo { busy, ..Echo::default() };
            run(&mut vm, Source::File(File::open("Cargo.toml").unwrap()), b"", false, Some(2_000_000));
            vm.received
        };
        let first = log();
        assert!(!first.is_empty());
        assert_eq!(log(), first);
    }
}

#[test]
fn with_the_real_clock_a_timer_is_waited_for() {
    let start = Instant::now();
    let mut vm = Echo { timer_ns: Some(20_000_000), ..Echo::default() };
    assert_eq!(run(&mut vm, Source::Stream, b"", true, None), Ending::PowerOff);
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(vm.now_ns >= 20_000_000);
}
