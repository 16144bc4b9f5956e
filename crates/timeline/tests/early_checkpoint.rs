//! Checkpoints are noted while the initial state is still on its way into the file.

mod support;

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use machine::{Idle, Machine};
use support::{config, keeper};
use timeline::format::records::EndReason;
use timeline::sink::{MemorySink, Sink};
use timeline::{Recorder, RecorderOptions, Recording, Replayer, Target};
use x86::InsnCount;

/// More than the recording's header takes, and less than a state.
const HEADER_BYTES: u64 = 1024;
/// More than checkpoints are apart.
const STEPS: u64 = 33_000_000;

/// Whether the writer has come to the initial state, and whether it may write that.
#[derive(Default)]
struct Gate {
    places: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait_until(&self, holds: impl Fn(&(bool, bool)) -> bool) {
        let places = self.places.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(places, |places| !holds(places)).expect("nobody panics with it"));
    }

    fn set(&self, change: impl Fn(&mut (bool, bool))) {
        change(&mut self.places.lock().expect("nobody panics with it"));
        self.changed.notify_all();
    }
}

/// A file on a disk that takes its time with the initial state.
struct SlowSink(MemorySink, Arc<Gate>);

impl Sink for SlowSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > HEADER_BYTES {
            self.1.set(|(is_there, _)| *is_there = true);
            self.1.wait_until(|(_, may_go_on)| *may_go_on);
        }
        self.0.write_at(offset, bytes)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

/// Bug: none was noted before the initial state was in the file, which is a tenth of a second of the guest's time for a kernel
/// and what comes with it: going to an instant there took twice as long as elsewhere.
#[test]
fn a_checkpoint_is_noted_while_the_initial_state_is_being_saved() {
    let (sink, gate) = (MemorySink::default(), Arc::new(Gate::default()));
    let mut machine = keeper(Machine::new(config(1, None)).expect("a machine"));
    let slow = Box::new(SlowSink(sink.clone(), gate.clone()));
    let mut recorder = Recorder::start(&mut machine, slow, RecorderOptions::default()).expect("it starts");
    gate.wait_until(|(is_there, _)| *is_there);
    machine.run(InsnCount(STEPS), Idle::Jump);
    recorder.poll(&mut machine);
    assert_eq!(recorder.sizes().1, 0, "nothing of the initial state is in the file");
    let (noted, digest) = (recorder.position(&machine), machine.digest().0);
    machine.run(InsnCount(STEPS + 1_000_000), Idle::Jump);
    gate.set(|(_, may_go_on)| *may_go_on = true);
    recorder.finish(&mut machine, EndReason::Stopped, 0).expect("it is written");

    let recording = Arc::new(Recording::from_source(Box::new(sink.bytes())).expect("it opens"));
    let positions: Vec<_> = recording.checkpoints().iter().map(|info| info.position).collect();
    assert_eq!(positions, [recording.start(), noted, recording.end_position()]);
    let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
    replayer.seek(Target::At(noted)).expect("it is there");
    replayer.load_all().expect("every page is there");
    assert_eq!(replayer.full_digest().0, digest);
    replayer.seek(Target::End).expect("the end is there");
    replayer.load_all().expect("every page is there");
    assert_eq!(replayer.full_digest().0, recording.end().expect("it has an end").digest);
}
