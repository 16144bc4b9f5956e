//! Damaged files, killed writers and full disks: a clear error, or a correct replay of a correct prefix.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use machine::{Idle, Input};
use prost::Message;
use support::{Random, Session, altered, boot, config};
use timeline::format::block::{self, Kind};
use timeline::format::log::EventKind;
use timeline::format::preamble::PREAMBLE_BYTES;
use timeline::format::records::{EndReason, RecordingHeader};
use timeline::reader::Reader;
use timeline::recorder::RecordError;
use timeline::replayer::{Control, check_host};
use timeline::sink::MemorySink;
use timeline::{OpenError, Position, Recording, ReplayError, Replayer, Target, verify};
use x86::CpuModel;
use x86::vector::HostFeatures;

/// A recording of a few kilobytes with some of everything.
fn small() -> Vec<u8> {
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1, None)), Default::default());
    session.record(&sink, u64::MAX);
    for step in 0..4 {
        session.run(700, Idle::Jump);
        session.input(Input::SerialByte(b'a' + step));
        if let Some(recorder) = &mut session.recorder {
            recorder.mark(&mut session.machine, "step");
            recorder.flush(&session.machine).expect("there is room");
            if step == 1 {
                recorder.checkpoint(&mut session.machine);
            }
        }
    }
    session.finish();
    sink.bytes()
}

fn open(bytes: Vec<u8>) -> Result<Arc<Recording>, OpenError> {
    Recording::from_source(Box::new(bytes)).map(Arc::new)
}

/// The state in which a replay ends.
fn end_state(recording: &Arc<Recording>) -> Result<[u8; 32], ReplayError> {
    let mut replayer = Replayer::with_memory(recording.clone(), 0, 1)?;
    replayer.play(Target::End, &mut |_, _| Control::Continue)?;
    Ok(replayer.full_digest().0)
}

/// The undamaged run, to compare with.
struct Truth {
    recording: Arc<Recording>,
    states: BTreeMap<(Position, usize), [u8; 32]>,
}

impl Truth {
    fn new(bytes: &[u8]) -> Self {
        Truth { recording: open(bytes.to_vec()).expect("the recording opens"), states: BTreeMap::new() }
    }

    /// The state at `position`, after the first `events` events.
    fn state(&mut self, position: Position, events: usize) -> [u8; 32] {
        let recording = self.recording.clone();
        *self.states.entry((position, events)).or_insert_with(|| {
            let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
            replayer.seek(Target::At(position)).expect("in the recording");
            let given = replayer.events_given();
            let mut live = replayer.into_live().expect("its RAM is whole");
            for event in &recording.events()[given.min(events)..events] {
                assert_eq!(event.position, position);
                if let EventKind::Input(input) = &event.kind {
                    live.machine.input(input.clone());
                }
            }
            live.machine.settle();
            live.machine.digest().0
        })
    }

    /// Whatever `bytes` are: they are refused, or replay as the truth does. Says whether they replayed.
    fn check(&mut self, bytes: Vec<u8>, what: &str) -> bool {
        let Ok(recording) = open(bytes) else { return false };
        let events = recording.events();
        assert_eq!(events, &self.recording.events()[..events.len()], "{what}");
        let Ok(state) = end_state(&recording) else { return false };
        assert_eq!(state, self.state(recording.end_position(), events.len()), "{what}");
        true
    }
}

#[test]
fn every_length_is_a_prefix() {
    let bytes = small();
    let mut truth = Truth::new(&bytes);
    let mut last: Option<(Position, usize)> = None;
    for len in 0..bytes.len() {
        let Ok(recording) = open(bytes[..len].to_vec()) else {
            assert_eq!(last, None, "{len} bytes are worse than fewer");
            continue;
        };
        assert!(recording.is_cut_short() || len >= bytes.len() - 2000, "{len} bytes");
        let reached = (recording.end_position(), recording.events().len());
        assert!(last.is_none_or(|last| last <= reached), "{len} bytes reach less than fewer");
        if last.replace(reached) != Some(reached) {
            assert!(truth.check(bytes[..len].to_vec(), &format!("{len} bytes")), "{len} bytes cannot be replayed");
        }
    }
    assert_eq!(last.map(|(position, _)| position), Some(truth.recording.end_position()));
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let bytes = small();
    let mut truth = Truth::new(&bytes);
    let mut replayed = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        replayed += usize::from(truth.check(damaged, &format!("byte {at} flipped")));
    }
    assert!(replayed > 0);
}

#[test]
fn bytes_of_nothing_are_refused() {
    let mut random = Random(1);
    for len in [0, 1, 8, 79, 80, 81, 1000] {
        let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        assert!(open(bytes).is_err());
        assert!(open(vec![0; len as usize]).is_err());
    }
}

/// Why it cannot be replayed, as it is told.
fn refusal(bytes: Vec<u8>) -> String {
    let recording = match open(bytes) {
        Ok(recording) => recording,
        Err(error) => return error.to_string(),
    };
    Replayer::new(recording).err().expect("it is refused").to_string()
}

/// The recording with its header changed.
fn with_header(change: &dyn Fn(&mut RecordingHeader)) -> Vec<u8> {
    altered(&small(), &mut |kind, payload| match kind {
        Kind::Header => {
            let mut header = RecordingHeader::decode(payload.as_slice()).expect("a header");
            change(&mut header);
            header.encode_to_vec()
        }
        _ => payload,
    })
}

/// The recording with another version in its first bytes.
fn with_version(major: u8, minor: u8) -> Vec<u8> {
    let mut bytes = small();
    (bytes[8], bytes[10]) = (major, minor);
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn what_is_refused_says_what_is_needed() {
    let newer = refusal(with_version(2, 5));
    assert!(newer.contains("version 2.5") && newer.contains("use a newer chronovisor"), "{newer}");
    let feature = refusal(with_header(&|header| header.features.push("antigravity".into())));
    assert!(feature.contains("needs \"antigravity\"") && feature.contains("use a newer chronovisor"), "{feature}");
    let level = refusal(with_header(&|header| header.config.as_mut().expect("a machine").cpu_level = 4));
    assert!(level.contains("x86-64-v4") && level.contains("use a newer chronovisor"), "{level}");
    assert!(refusal(Vec::new()).contains("the file is empty"));
    assert!(refusal(b"GIF89a, and a lot of other things".repeat(9)).contains("not a recording"));
    let mut damaged = small();
    damaged[9] ^= 1;
    assert!(refusal(damaged).contains("first bytes of the recording are damaged"));
    let mut damaged = small();
    damaged[PREAMBLE_BYTES + 30] ^= 1;
    let header = refusal(damaged);
    assert!(header.contains("nothing to replay: the block at byte 80 is damaged"), "{header}");
}

#[test]
fn a_host_without_the_cpu_level_is_told_what_it_lacks() {
    let small = HostFeatures::of(&["SSE4.2", "AES", "PCLMULQDQ", "F16C"]);
    assert!(check_host(CpuModel::V2, small).is_ok());
    let error = check_host(CpuModel::V3, small).expect_err("it lacks some").to_string();
    assert!(error.contains("x86-64-v3") && error.contains("must have AVX2 and FMA"), "{error}");
}

/// What a later minor version may add: fields everywhere, and blocks that may be skipped.
#[test]
fn what_may_be_ignored_is_ignored() {
    const UNKNOWN_FIELD: [u8; 5] = [0xfa, 0x3e, 2, 7, 7];
    let original = open(small()).expect("it opens");
    let mut bytes = with_version(1, 9);
    bytes = altered(&bytes, &mut |_, payload| [payload.as_slice(), &UNKNOWN_FIELD].concat());
    // A block of kind 77 that is optional, behind the last: number, lengths and checksum as they should be.
    let number = Reader::new(Box::new(bytes.clone())).expect("readable").walk().expect("readable").blocks.len() as u32;
    let mut block = block::encode(Kind::Log, number, b"what this says is not known yet");
    (block[4], block[5]) = (77, block[5] | 2);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..20]), &block[24..]);
    block[20..24].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(block);
    let later = open(bytes).expect("it opens");
    assert_eq!((later.fault(), later.is_cut_short()), (None, false));
    assert_eq!(later.events(), original.events());
    assert_eq!(verify(&later, 1, &|_| {}).expect("it replays").difference, None);
    assert_eq!(end_state(&later).expect("it replays"), end_state(&original).expect("it replays"));
}

#[test]
fn a_killed_recorder_leaves_what_was_flushed() {
    let mut random = Random(5);
    for _ in 0..20 {
        let sink = MemorySink::default();
        let mut session = Session::new(boot(config(1, None)), Default::default());
        session.record(&sink, 5_000);
        let mut flushed = session.position();
        for _ in 0..random.below(30) {
            session.act(&mut random);
            if let Some(recorder) = &mut session.recorder {
                recorder.flush(&session.machine).expect("there is room");
                flushed = session.position();
            }
        }
        // The kernel keeps what was written; the thread would have had its turn within a moment.
        if let Some(recorder) = &mut session.recorder {
            recorder.retry().expect("there is room");
        }
        let recording = open(sink.bytes()).expect("it opens");
        assert!(recording.is_cut_short());
        assert_eq!(recording.end_position(), flushed);
        end_state(&recording).expect("it replays");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut random = Random(9);
    for round in 0..10 {
        let (sink, other) = (MemorySink::default(), MemorySink::default());
        let mut expected = None;
        for (target, disturbed) in [(&other, false), (&sink, true)] {
            let mut run = Random(1000 + round);
            let mut session = Session::new(boot(config(1, None)), Default::default());
            session.record(target, 10_000);
            let mut failures = 0;
            for _ in 0..30 {
                if disturbed && random.below(4) == 0 {
                    target.set_room(Some(target.bytes().len() + random.below(300) as usize));
                }
                let recorder = session.recorder.as_mut().expect("recording");
                if disturbed && let Err(error) = recorder.flush(&session.machine).and_then(|()| recorder.retry()) {
                    assert!(matches!(&error, RecordError::Write(error) if error.is_full()), "{error}");
                    let cut = open(target.bytes());
                    assert!(cut.as_ref().is_ok_and(|cut| cut.fault().is_none()) || cut.is_err());
                    failures += 1;
                    target.set_room(None);
                    recorder.retry().expect("there is room again");
                }
                session.input(Input::SerialByte(b'a' + run.below(10) as u8));
                session.run(1 + run.below(5_000), Idle::Jump);
            }
            target.set_room(None);
            session.finish();
            assert!(!disturbed || failures > 0, "the disk was never full");
            let recording = open(target.bytes()).expect("it opens");
            let got = (end_state(&recording).expect("it replays"), recording.events().to_vec());
            assert_eq!(recording.end().map(|end| end.reason), Some(EndReason::Stopped));
            assert_eq!(*expected.get_or_insert(got.clone()), got);
        }
    }
}
