//! The lists of changed pages that a finished recording has apart from its states.

mod support;

use std::sync::Arc;

use machine::{EngineKind, Idle};
use support::{Session, boot, config};
use timeline::format::block::{HEADER_BYTES, Kind};
use timeline::format::index::BlockPlace;
use timeline::format::lists::STEP;
use timeline::reader::Reader;
use timeline::recording::CheckpointInfo;
use timeline::sink::MemorySink;
use timeline::{Recording, ReplayError, Replayer, Target};

fn recorded() -> Vec<u8> {
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1, None)), Default::default());
    session.record(&sink, u64::MAX);
    for _ in 0..70 {
        session.run(100, Idle::Jump);
        if let Some(recorder) = &mut session.recorder {
            recorder.checkpoint(&mut session.machine);
            recorder.flush(&session.machine).expect("there is room");
        }
    }
    session.finish();
    sink.bytes()
}

fn blocks(bytes: &[u8], kind: Kind) -> Vec<BlockPlace> {
    let walk = Reader::new(Box::new(bytes.to_vec())).and_then(|reader| reader.walk()).expect("it is whole");
    walk.blocks.into_iter().filter(|place| place.kind == Some(kind)).collect()
}

fn damage(bytes: &mut [u8], place: &BlockPlace) {
    bytes[place.offset as usize + HEADER_BYTES] ^= 1;
}

/// The digest in a replay that begins as near to a checkpoint as it can.
fn digest_at(recording: &Arc<Recording>, info: &CheckpointInfo) -> Result<[u8; 32], ReplayError> {
    let target = Target::At(info.position);
    Replayer::at(recording.clone(), EngineKind::Interpreter.into(), 0, 1, target)?.digest()
}

fn open(bytes: &[u8]) -> Arc<Recording> {
    Arc::new(Recording::from_source(Box::new(bytes.to_vec())).expect("its index is whole"))
}

#[test]
fn a_checkpoint_can_be_had_without_those_before_it() {
    let mut bytes = recorded();
    let checkpoints = blocks(&bytes, Kind::Checkpoint);
    assert_eq!(blocks(&bytes, Kind::Lists).len(), checkpoints.len().div_ceil(STEP));
    for (number, place) in checkpoints.iter().enumerate() {
        if ![40, 63, 64].contains(&number) {
            damage(&mut bytes, place);
        }
    }
    let recording = open(&bytes);
    for number in [40, 63, 64] {
        let info = &recording.checkpoints()[number];
        assert_eq!(digest_at(&recording, info).expect("its own block is whole"), info.digest, "number {number}");
    }
    assert!(digest_at(&recording, &recording.checkpoints()[39]).is_err(), "nothing is left to begin with");
}

#[test]
fn lists_that_are_damaged_are_in_the_checkpoints_as_well() {
    let whole = recorded();
    for damaged in [vec![], vec![0], vec![1], vec![2], vec![0, 1, 2]] {
        let mut bytes = whole.clone();
        let lists = blocks(&bytes, Kind::Lists);
        for &number in &damaged {
            damage(&mut bytes, &lists[number]);
        }
        let recording = open(&bytes);
        for info in recording.checkpoints().iter().step_by(7) {
            assert_eq!(digest_at(&recording, info).expect("it can be had"), info.digest, "without {damaged:?}");
        }
    }
}

#[test]
fn one_replay_that_wanders_finds_ram_as_it_was() {
    let recording = open(&recorded());
    let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
    for number in [70, 3, 33, 31, 32, 64, 0, 63, 69, 12] {
        let info = &recording.checkpoints()[number];
        replayer.seek(Target::At(info.position)).expect("it is in the recording");
        assert_eq!(replayer.digest().expect("RAM is whole"), info.digest, "number {number}");
    }
}
