//! Makes the recording that must replay for ever: `cargo test -p vm-tests --test asset -- --ignored`.
//!
//! Once a version of the format was released, its recording is never made anew: `crates/timeline/tests/asset.rs` replays it in
//! each run of the tests, and what it expects stands beside it.

use std::fmt::Write as _;
use std::path::Path;

use machine::{Idle, Input, Machine, StopReason};
use timeline::format::records::EndReason;
use timeline::sink::MemorySink;
use timeline::{Position, Recorder, RecorderOptions};
use vm_tests::{BareGuest, assemble};
use x86::InsnCount;

/// What happens, and at which step of the whole run.
const SCRIPT: &[(u64, Act)] = &[
    (600_000, Act::Type(b'h')),
    (640_000, Act::Type(b'i')),
    (700_000, Act::Key(&[0x1c])),
    (750_000, Act::Key(&[0xf0, 0x1c])),
    (800_000, Act::Mouse(5, -3)),
    (900_000, Act::Mark("middle")),
    (950_000, Act::Skip(2_345_678)),
    (1_000_000, Act::Checkpoint),
    (1_100_000, Act::Recording),
    (1_300_000, Act::Type(b'r')),
    (1_900_000, Act::Type(b'x')),
    (2_000_000, Act::Mark("after the reset")),
    (2_050_000, Act::Key(&[0xe0, 0x75])),
    (2_100_000, Act::Checkpoint),
    (2_200_000, Act::Skip(40_000_001)),
    (2_300_000, Act::Mouse(-300, 7)),
    (2_500_000, Act::Power),
];

#[derive(Clone, Copy)]
enum Act {
    Type(u8),
    Key(&'static [u8]),
    Mouse(i32, i32),
    /// The clock moves on by so many nanoseconds.
    Skip(u64),
    Recording,
    Mark(&'static str),
    Checkpoint,
    Power,
}

/// A machine under way, recorded.
struct Run<'a> {
    make: &'a dyn Fn() -> Machine,
    machine: Machine,
    recorder: Recorder,
    base: Position,
    serial: Vec<u8>,
}

impl Run<'_> {
    fn position(&self) -> Position {
        Position::of(&self.machine).after(self.base)
    }

    /// Runs to step `until` of the whole run; true if the guest switched off before.
    fn run_to(&mut self, until: u64) -> bool {
        while self.position().insns < until {
            let reason = self.machine.run(InsnCount(until - self.base.insns), Idle::Jump);
            self.serial.extend(self.machine.take_output().serial);
            match reason {
                StopReason::PowerOff => return true,
                StopReason::Reset => {
                    let mut new = (self.make)();
                    let end = self.position();
                    self.recorder.restart(&mut self.machine, &mut new).expect("the restart is recorded");
                    (self.machine, self.base) = (new, end);
                }
                StopReason::Until | StopReason::Idle(_) => {}
                other => panic!("the guest ended: {other:?}"),
            }
        }
        false
    }

    fn act(&mut self, act: Act) {
        let machine = &mut self.machine;
        match act {
            Act::Type(byte) => self.recorder.input(machine, Input::SerialByte(byte)),
            Act::Key(bytes) => self.recorder.input(machine, Input::Key(bytes.to_vec())),
            Act::Mouse(right, up) => self.recorder.input(machine, Input::Mouse { right, up, wheel: 0, buttons: 1 }),
            Act::Skip(ns) => self.recorder.input(machine, Input::ClockTo(machine.now().after_ns(ns))),
            Act::Recording => self.recorder.input(machine, Input::Recording(true)),
            Act::Mark(name) => self.recorder.mark(machine, name),
            Act::Checkpoint => self.recorder.checkpoint(machine),
            Act::Power => self.recorder.input(machine, Input::PowerButton),
        }
    }
}

fn guest() -> BareGuest {
    BareGuest::new("everything").vcpus(2).chaos(7)
}

#[test]
fn the_guest_runs_the_same_in_every_way() {
    let guest = guest().input(400_000, Input::SerialByte(b'y')).input(500_000, Input::PowerButton);
    guest.ends_with(StopReason::PowerOff).check();
}

#[test]
#[ignore = "writes the recording that is kept, anew: only before a version of the format is released"]
fn make_the_recording_that_is_kept() {
    assert!(assemble::available("the recording that is kept"));
    let guest = guest();
    let kernel = guest.kernel().expect("the guest is assembled");
    let make = || guest.machine(&kernel, machine::EngineKind::Interpreter);
    let sink = MemorySink::default();
    let mut machine = make();
    // It begins in the midst of the run.
    machine.run(InsnCount(200_000), Idle::Jump);
    machine.take_output();
    let options = RecorderOptions { first_interval: Some(u64::MAX), ..RecorderOptions::default() };
    let recorder = Recorder::start(&mut machine, Box::new(sink.clone()), options).expect("it is recorded");
    let mut run = Run { make: &make, machine, recorder, base: Position::default(), serial: Vec::new() };
    let mut expected = String::new();
    for &(at, act) in SCRIPT {
        assert!(!run.run_to(at), "it switched off");
        writeln!(expected, "state {} {}", run.position().insns, run.machine.digest()).expect("memory");
        run.act(act);
    }
    assert!(run.run_to(10_000_000), "the power button switches off");
    run.recorder.finish(&mut run.machine, EndReason::PowerOff, 0).expect("memory");
    let end = run.position();
    let serial: String = run.serial.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(expected, "serial {serial}").expect("memory");
    writeln!(expected, "end {} {} {}", end.insns, end.time.units(), run.machine.digest()).expect("memory");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/timeline/tests/assets");
    std::fs::create_dir_all(&directory).expect("the source directory can be written");
    std::fs::write(directory.join("v1.0.cvr"), sink.bytes()).expect("the source directory can be written");
    std::fs::write(directory.join("v1.0.expected"), expected).expect("the source directory can be written");
    println!("{} bytes, {} steps, {} resets", sink.bytes().len(), end.insns, u8::from(run.base != Position::default()));
}
