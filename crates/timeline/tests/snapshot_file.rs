//! Snapshots to files of their own: of one instant, whatever the guest does meanwhile, and whole or not there.

mod support;

use std::fs;
use std::sync::Arc;

use machine::{Digest, Idle, Machine};
use support::{Random, Session, boot, config};
use timeline::new_file::NewFile;
use timeline::sink::{MemorySink, Sink};
use timeline::snapshot_file::SnapshotFile;
use timeline::{Position, RecorderOptions, Recording, Replayer, verify};
use x86::InsnCount;

/// Runs on until the snapshot is done; what became of it.
fn taken(snapshot: &mut SnapshotFile, machine: &mut Machine) -> Result<(), String> {
    loop {
        machine.run(InsnCount(machine.insn_count().0 + 300), Idle::Jump);
        snapshot.poll(machine);
        if let Some(outcome) = snapshot.outcome() {
            return outcome;
        }
    }
}

fn holds(recording: Recording, position: Position, digest: Digest) {
    assert!(!recording.is_cut_short() && recording.fault().is_none());
    assert_eq!((recording.start(), recording.end_position()), (position, position));
    let recording = Arc::new(recording);
    let verified = verify(&recording, 1, &|_| {}).expect("it can be read");
    assert_eq!((verified.difference, verified.digests, verified.states), (None, 1, 1));
    assert_eq!(Replayer::new(recording).expect("a replayer").full_digest(), digest);
}

#[test]
fn it_is_of_the_instant_that_it_was_asked_for_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut machine = boot(config(2, None));
    let mut random = Random(4);
    for number in 0..8 {
        machine.run(InsnCount(machine.insn_count().0 + random.below(90_000)), Idle::Jump);
        machine.settle();
        let (position, digest) = (Position::of(&machine), machine.digest());
        let path = directory.path().join(format!("{number}.cvr"));
        let file = Box::new(NewFile::create(&path).expect("the name is free"));
        let mut snapshot = SnapshotFile::start(&mut machine, file, RecorderOptions::default()).expect("it begins");
        if number % 3 == 2 {
            snapshot.complete(&mut machine);
        }
        assert_eq!(taken(&mut snapshot, &mut machine), Ok(()));
        holds(Recording::open(&path).expect("it opens"), position, digest);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 8);
}

#[test]
fn a_recording_under_way_misses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1, None)), Position::default());
    session.record(&sink, 20_000);
    let mut random = Random(5);
    for number in 0..6 {
        for _ in 0..8 {
            session.act(&mut random);
        }
        session.machine.settle();
        let (position, digest) = (session.position(), session.machine.digest());
        let path = directory.path().join(format!("{number}.cvr"));
        let file = Box::new(NewFile::create(&path).expect("the name is free"));
        let options = RecorderOptions { base: session.base, ..RecorderOptions::default() };
        let mut snapshot = SnapshotFile::start(&mut session.machine, file, options).expect("it begins");
        session.run(5_000, Idle::Jump);
        assert_eq!(snapshot.finish(&mut session.machine), Ok(()));
        holds(Recording::open(&path).expect("it opens"), position, digest);
    }
    session.finish();
    let recording = Arc::new(Recording::from_source(Box::new(sink.bytes())).expect("it opens"));
    let verified = verify(&recording, 1, &|_| {}).expect("it replays");
    assert_eq!((verified.difference, verified.digests > 3), (None, true));
}

/// A file with room for so many bytes.
struct Cramped(NewFile, u64);

impl Sink for Cramped {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.1 { Err(std::io::ErrorKind::StorageFull.into()) } else { self.0.write_at(offset, bytes) }
    }
    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }
    fn take_place(&mut self) -> std::io::Result<()> {
        self.0.take_place()
    }
}

#[test]
fn one_that_fails_or_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.cvr");
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(100_000), Idle::Jump);
    let start = |room, machine: &mut Machine| {
        let file = Cramped(NewFile::create(&path).expect("the name is free"), room);
        let options = RecorderOptions::default();
        SnapshotFile::start_in_steps(machine, Box::new(file), options, 20).expect("it begins")
    };
    for room in [0, 100, 20_000] {
        let error = taken(&mut start(room, &mut machine), &mut machine).expect_err("there is no room");
        assert!(error.contains("no storage space") || error.contains("space"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0, "with room for {room}");
    }
    drop(start(u64::MAX, &mut machine));
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0);
    // Somebody takes the name meanwhile.
    let mut snapshot = start(u64::MAX, &mut machine);
    fs::write(directory.path().join("a.cvr"), "somebody else's").expect("written");
    taken(&mut snapshot, &mut machine).expect_err("the name is taken");
    assert_eq!(fs::read(directory.path().join("a.cvr")).expect("the file"), b"somebody else's");
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1);
}
