//! Long recordings with small budgets: the file stays within them, its checkpoints stay even, and nothing is lost.

use std::sync::Arc;

use machine::Idle;
use timeline::format::preamble::MAGIC;
use timeline::sink::{FileSink, MemorySink, Sink};
use timeline::{Recorder, RecorderOptions, Recording, verify};

mod support;
use support::{Random, Session, boot, config};

const BUDGET_BYTES: u64 = 3 << 20;
const INTERVAL: u64 = 3_000;

fn start(sink: Box<dyn Sink>) -> Session {
    let mut session = Session::new(boot(config(1, None)), Default::default());
    let options =
        RecorderOptions { first_interval: Some(INTERVAL), budget_bytes: BUDGET_BYTES, ..RecorderOptions::default() };
    session.recorder = Some(Recorder::start(&mut session.machine, sink, options).expect("recording starts"));
    session
}

/// Runs on for some steps, with all that the recorder has to do done after each stretch.
fn run(session: &mut Session, stretches: u64, random: &mut Random) {
    for stretch in 0..stretches {
        session.run(1_000 + random.below(300), Idle::Jump);
        if stretch % 40 == 0 {
            session.input(machine::Input::SerialByte(b'a' + random.below(16) as u8));
        }
        let recorder = session.recorder.as_mut().expect("it records");
        recorder.flush(&session.machine).expect("there is room");
        recorder.retry().expect("there is room");
        while recorder.is_thinning() {
            recorder.retry().expect("there is room");
        }
    }
}

fn open(bytes: Vec<u8>) -> Arc<Recording> {
    Arc::new(Recording::from_source(Box::new(bytes)).expect("it opens"))
}

/// The widest gap between checkpoints, and the mean.
fn gaps(recording: &Recording) -> (u64, u64) {
    let mut places: Vec<u64> = recording.checkpoints().iter().map(|info| info.position.insns).collect();
    places.push(recording.end_position().insns);
    let widest = places.windows(2).map(|pair| pair[1] - pair[0]).max().expect("a gap");
    (widest, (places[places.len() - 1] - places[0]) / (places.len() as u64 - 1))
}

#[test]
fn a_long_recording_has_even_checkpoints_within_its_budget() {
    let sink = MemorySink::default();
    let mut session = start(Box::new(sink.clone()));
    let mut random = Random(1);
    let mut most_checkpoints = 0;
    for round in 0..30 {
        run(&mut session, 100, &mut random);
        // As if the recorder was killed here.
        let recording = open(sink.bytes());
        let bytes = recording.sizes().checkpoints;
        assert!(bytes <= BUDGET_BYTES + BUDGET_BYTES / 32, "round {round}: {bytes} bytes");
        let (widest, mean) = gaps(&recording);
        assert!(widest <= 4 * mean, "round {round}: {widest} steps against {mean}");
        most_checkpoints = most_checkpoints.max(recording.checkpoints().len());
    }
    session.finish();
    let recording = open(sink.bytes());
    assert!(recording.end().is_some() && recording.events().len() == 90);
    let (widest, mean) = gaps(&recording);
    let length = recording.end_position().insns;
    println!(
        "{} checkpoints, {most_checkpoints} at most, in {length} steps: {widest} against {mean}",
        recording.checkpoints().len()
    );
    assert!(length / INTERVAL > 4 * most_checkpoints as u64, "it was thinned out twice at least");
    let verification = verify(&recording, 2, &|_| {}).expect("it replays");
    assert_eq!(verification.difference, None);
    assert_eq!(verification.digests, recording.checkpoints().len());
}

/// A sink whose replacement has room for only so many bytes, or that has none.
struct Cramped(MemorySink, Option<u64>);

impl Sink for Cramped {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        if self.1.is_some_and(|room| offset + bytes.len() as u64 > room) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(offset, bytes)
    }
    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.0.truncate(len)
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> std::io::Result<()> {
        Sink::read_at(&self.0, offset, to)
    }
    fn replacement(&self) -> std::io::Result<Option<Box<dyn Sink>>> {
        Ok(Some(Box::new(Cramped(MemorySink::default(), Some(1_000_000)))))
    }
}

/// A sink that cannot be replaced.
struct Fixed(MemorySink);

impl Sink for Fixed {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.0.truncate(len)
    }
}

#[test]
fn without_room_for_a_second_file_checkpoints_become_rarer() {
    let (cramped, fixed) = (MemorySink::default(), MemorySink::default());
    let sinks: [Box<dyn Sink>; 2] = [Box::new(Cramped(cramped.clone(), None)), Box::new(Fixed(fixed.clone()))];
    for (sink, memory) in sinks.into_iter().zip([cramped, fixed]) {
        let mut session = start(sink);
        run(&mut session, 600, &mut Random(2));
        session.finish();
        let recording = open(memory.bytes());
        let bytes = recording.sizes().checkpoints;
        assert!(bytes <= BUDGET_BYTES + BUDGET_BYTES / 32, "{bytes} bytes");
        assert!(recording.end().is_some() && recording.events().len() == 15);
        assert_eq!(verify(&recording, 1, &|_| {}).expect("it replays").difference, None);
    }
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.cvr");
    let temporary = timeline::temporary::name(&path).expect("a file's name");
    let create = || std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = || FileSink::new(create().expect("a file"), path.clone());
    let names = || std::fs::read_dir(directory.path()).expect("a directory").count();
    // What a killed recorder has left is in nobody's way.
    std::fs::write(&temporary, MAGIC).expect("a file");
    let mut session = start(Box::new(file()));
    run(&mut session, 300, &mut Random(3));
    assert_eq!(names(), 1);
    let recording = Arc::new(Recording::open(&path).expect("it opens"));
    assert!(recording.is_cut_short() && recording.fault().is_none());
    let (widest, mean) = gaps(&recording);
    assert!(widest <= 4 * mean && mean > 2 * INTERVAL, "{widest} against {mean}");
    session.finish();
    assert_eq!(names(), 1);
    let recording = Arc::new(Recording::open(&path).expect("it opens"));
    assert!(recording.end().is_some());
    assert_eq!(verify(&recording, 1, &|_| {}).expect("it replays").difference, None);

    // Another's file under that name stays, and so does a recording that was moved away.
    std::fs::write(&temporary, b"somebody's").expect("a file");
    let mut session = start(Box::new(file()));
    run(&mut session, 200, &mut Random(4));
    assert_eq!(std::fs::read(&temporary).expect("a file"), b"somebody's");
    std::fs::remove_file(&temporary).expect("a file");
    session.finish();
    let mut session = start(Box::new(file()));
    let moved = directory.path().join("moved.cvr");
    std::fs::rename(&path, &moved).expect("a file");
    run(&mut session, 200, &mut Random(5));
    session.finish();
    assert!(!path.exists() && names() == 1);
    let recording = Recording::open(&moved).expect("it opens");
    assert!(recording.end().is_some());
}

#[test]
fn a_recorder_that_goes_away_in_the_middle_of_thinning_leaves_one_whole_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.cvr");
    let mut interrupted = 0;
    for seed in 0..8 {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let mut session = start(Box::new(FileSink::new(file.expect("a file"), path.clone())));
        let mut random = Random(seed);
        // Until thinning has begun, and then some steps of it.
        while !session.recorder.as_ref().is_some_and(Recorder::is_thinning) {
            session.run(1_000, Idle::Jump);
            let recorder = session.recorder.as_mut().expect("it records");
            recorder.flush(&session.machine).expect("there is room");
            recorder.retry().expect("there is room");
        }
        let mut recorder = session.recorder.take().expect("it records");
        for _ in 0..random.below(20) {
            recorder.retry().expect("there is room");
        }
        interrupted += usize::from(recorder.is_thinning());
        drop(recorder);
        let recording = Arc::new(Recording::open(&path).expect("it opens"));
        assert!(recording.is_cut_short() && recording.fault().is_none());
        assert_eq!(verify(&recording, 1, &|_| {}).expect("it replays").difference, None, "seed {seed}");
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1, "seed {seed}");
    }
    assert!(interrupted > 0);
}
