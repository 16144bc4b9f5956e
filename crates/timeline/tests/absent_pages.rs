//! RAM that comes page by page as it is touched: what is not touched is not read, and damage that shows late is got around or told.

mod support;

use std::sync::Arc;

use machine::Input;
use support::{Random, Session, boot, config};
use timeline::format::block::Kind;
use timeline::reader::{ReadError, Reader};
use timeline::replayer::Control;
use timeline::sink::MemorySink;
use timeline::{MachineMaker, Position, Recording, ReplayError, Replayer, Target};

/// A recording with some checkpoints, its instants with their digests, and what the guest sent.
fn recorded(seed: u64) -> (Vec<u8>, Session) {
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1 + (seed % 2) as u8, None)), Default::default());
    session.record(&sink, 30_000);
    let mut random = Random(seed);
    for step in 0..40 {
        session.idle_for(&mut random);
        if step % 5 == 0 {
            session.input(Input::SerialByte(if step == 20 { b'r' } else { b'a' + seed as u8 }));
        }
        if let Some(recorder) = &mut session.recorder {
            // So that checkpoints do not wait in memory.
            recorder.flush(&session.machine).expect("there is room");
            recorder.retry().expect("there is room");
        }
    }
    session.finish();
    (sink.bytes(), session)
}

fn open(bytes: Vec<u8>) -> Arc<Recording> {
    Recording::from_source(Box::new(bytes)).map(Arc::new).expect("it opens")
}

fn at(recording: &Arc<Recording>, budget_bytes: u64, target: Target) -> Result<Replayer, ReplayError> {
    Replayer::at(recording.clone(), MachineMaker::default(), budget_bytes, 20_000, target)
}

/// Whether inputs or resets of this very instant make more than one state of it.
fn is_one_state(recording: &Recording, position: Position) -> bool {
    let event = recording.events().iter().any(|event| event.position == position);
    !event && !recording.checkpoints().iter().skip(1).any(|info| info.position == position)
}

#[test]
fn only_what_is_touched_is_read() {
    let (bytes, session) = recorded(3);
    let recording = open(bytes);
    let (position, digest) = *session.seen.iter().rev().find(|seen| is_one_state(&recording, seen.0)).expect("one");
    let mut replayer = at(&recording, 0, Target::At(position)).expect("in the recording");
    let absent = replayer.machine().absent_page_count();
    assert!(absent > 0, "the guest has pages that it does not touch");
    assert_eq!(replayer.digest().expect("all pages are there").len(), 32);
    assert_eq!((replayer.machine().absent_page_count(), replayer.full_digest().0), (0, digest));
}

/// The places of the blocks of pages in a file.
fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let walk = Reader::new(Box::new(bytes.to_vec())).expect("readable").walk().expect("readable");
    let places = walk.blocks.iter().filter(|place| place.kind == Some(Kind::Pages));
    places.map(|place| place.offset as usize..(place.offset + place.len) as usize).collect()
}

/// All that a replay from the start to the end sends, or its error.
fn output(recording: &Arc<Recording>, budget_bytes: u64) -> Result<(Vec<u8>, [u8; 32]), ReplayError> {
    let mut serial = Vec::new();
    let mut replayer = Replayer::with_memory(recording.clone(), budget_bytes, 20_000)?;
    replayer.play(Target::End, &mut |_, output| {
        serial.extend(output.serial);
        Control::Continue
    })?;
    replayer.load_all()?;
    Ok((serial, replayer.full_digest().0))
}

#[test]
fn damage_that_shows_late_is_got_around_or_told() {
    let (mut mended, mut told) = (0, 0);
    for seed in [3, 4] {
        let (bytes, session) = recorded(seed);
        let whole = open(bytes.clone());
        let instants: Vec<_> = session.seen.iter().filter(|seen| is_one_state(&whole, seen.0)).step_by(3).collect();
        for (number, block) in blocks(&bytes).into_iter().enumerate() {
            let mut damaged = bytes.clone();
            damaged[block.end - 1] ^= 1;
            let recording = open(damaged);
            assert!(recording.end().is_some(), "the index tells what is in it");
            for budget in [0, 1 << 20] {
                match output(&recording, budget) {
                    Ok(got) => assert_eq!(got, (session.serial.clone(), whole.end().expect("an end").digest)),
                    Err(error) => assert!(is_damage(&error), "block {number}: {error}"),
                }
                for (position, digest) in &instants {
                    let replay = at(&recording, budget, Target::At(*position));
                    match replay.and_then(|mut replayer| replayer.load_all().map(|()| replayer)) {
                        Ok(replayer) => {
                            assert_eq!((replayer.position(), replayer.full_digest().0), (*position, *digest));
                            mended += 1;
                        }
                        Err(error) => {
                            assert!(is_damage(&error), "block {number}: {error}");
                            told += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(mended > 0 && told > 0, "{mended} replays were right, {told} refused");
}

fn is_damage(error: &ReplayError) -> bool {
    matches!(error, ReplayError::Read(ReadError::Format(_)))
}

#[test]
fn one_who_wanders_gets_around_damage_as_well() {
    let (bytes, session) = recorded(5);
    let whole = open(bytes.clone());
    let instants: Vec<_> = session.seen.iter().filter(|seen| is_one_state(&whole, seen.0)).collect();
    let blocks = blocks(&bytes);
    let mut damaged = bytes.clone();
    for block in &blocks[blocks.len() / 2..] {
        damaged[block.end - 1] ^= 1;
    }
    let recording = open(damaged);
    assert!(recording.checkpoints().len() > 9, "{} checkpoints", recording.checkpoints().len());
    let mut random = Random(5);
    let mut replayer = Replayer::with_memory(recording, 1 << 20, 20_000).expect("its start is whole");
    for _ in 0..30 {
        let (position, digest) = instants[random.below(instants.len() as u64) as usize];
        replayer.seek(Target::At(*position)).expect("it can be reached from the start");
        assert_eq!(replayer.position(), *position);
        if random.below(3) == 0 {
            assert_eq!(replayer.digest().map(|_| replayer.full_digest().0).expect("a digest"), *digest);
        }
    }
}
