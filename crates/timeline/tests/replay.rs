//! What was recorded comes again: state by state, byte by byte.

mod support;

use std::sync::Arc;

use machine::{Idle, Input};
use support::{Random, Session, boot, config};
use timeline::sink::MemorySink;
use timeline::{Recording, Replayer, Target, verify};
use x86::InsnCount;

fn open(sink: &MemorySink) -> Arc<Recording> {
    Arc::new(Recording::from_source(Box::new(sink.bytes())).expect("the recording opens"))
}

/// Records a run that `seed` describes.
fn recorded(seed: u64, acts: usize, vcpus: u8, chaos: Option<u64>) -> (Session, MemorySink) {
    let mut random = Random(seed);
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(vcpus, chaos)), Default::default());
    session.run(random.below(30_000), Idle::Jump);
    session.serial.clear();
    session.record(&sink, 50_000);
    for _ in 0..acts {
        session.act(&mut random);
    }
    if seed.is_multiple_of(3) {
        session.input(Input::SerialByte(if seed.is_multiple_of(2) { b'q' } else { b't' }));
        session.run(1_000_000, Idle::Jump);
    }
    session.finish();
    (session, sink)
}

#[test]
fn a_replay_ends_in_the_recorded_state_with_the_same_output() {
    for seed in 0..24 {
        let (vcpus, chaos) = ([1, 2, 4][seed as usize % 3], (seed % 4 == 3).then_some(seed));
        let (session, sink) = recorded(seed, 60, vcpus, chaos);
        let recording = open(&sink);
        assert!(!recording.is_cut_short());
        assert_eq!(recording.end_position(), session.position(), "seed {seed}");
        let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
        let mut serial = Vec::new();
        let watch = &mut |_, output: machine::Output| {
            serial.extend(output.serial);
            timeline::replayer::Control::Continue
        };
        replayer.play(Target::End, watch).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(replayer.full_digest().0, recording.end().expect("an end").digest, "seed {seed}");
        assert_eq!(serial, session.serial, "seed {seed}");
        for jobs in [1, 3] {
            let report = verify(&recording, jobs, &|_| {}).expect("every stretch can be replayed");
            assert_eq!(report.difference, None, "seed {seed}");
        }
    }
}

#[test]
fn any_instant_can_be_gone_to_and_left_again() {
    for seed in 100..112 {
        let (session, sink) = recorded(seed, 40, 1 + (seed % 2) as u8, None);
        let recording = open(&sink);
        let mut replayer = Replayer::with_memory(recording.clone(), 1 << 20, 20_000).expect("a replayer");
        let mut random = Random(seed);
        for _ in 0..40 {
            let (position, digest) = session.seen[random.below(session.seen.len() as u64) as usize];
            replayer.seek(Target::At(position)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            // Events of this very instant are still to come there.
            let pending = recording.events().iter().any(|event| event.position == position);
            let restarts = recording.checkpoints().iter().skip(1).any(|info| info.position == position);
            if !pending && !restarts {
                assert_eq!(replayer.full_digest().0, digest, "seed {seed} at {position}");
            }
        }
        // From wherever that was, to the end.
        replayer.seek(Target::End).expect("the end");
        assert_eq!(replayer.full_digest().0, recording.end().expect("an end").digest);
    }
}

/// Bug: a seek to the instant of a reset came behind it if the state there was in the file, and before it else.
#[test]
fn an_instant_is_before_a_reset_there_however_it_is_reached() {
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1, None)), Default::default());
    session.record(&sink, u64::MAX);
    session.run(20_000, Idle::Jump);
    session.input(Input::SerialByte(b'r'));
    let before = session.position();
    session.run(20_000, Idle::Jump);
    assert_ne!(session.base, Default::default(), "it was reset");
    let at_reset = session.base;
    session.finish();
    let recording = open(&sink);
    for target in [Target::At(at_reset), Target::Time(at_reset.time), Target::Insns(at_reset.insns)] {
        let mut direct = Replayer::with_memory(recording.clone(), 0, 1).expect("a replayer");
        direct.seek(target).expect("in the recording");
        let mut running = Replayer::with_memory(recording.clone(), 0, 1).expect("a replayer");
        running.seek(Target::At(before)).expect("in the recording");
        running.play(target, &mut |_, _| timeline::replayer::Control::Continue).expect("it runs");
        assert_eq!(direct.position(), running.position(), "{target:?}");
        assert_eq!(direct.full_digest(), running.full_digest(), "{target:?}");
    }
}

#[test]
fn instants_by_count_and_time_are_the_same_however_they_are_reached() {
    let (_, sink) = recorded(7, 60, 2, None);
    let recording = open(&sink);
    let (start, end) = (recording.start(), recording.end_position());
    let mut wanderer = Replayer::with_memory(recording.clone(), 1 << 20, 5_000).expect("a replayer");
    let mut random = Random(7);
    for _ in 0..20 {
        let insns = start.insns + random.below(end.insns - start.insns);
        let time =
            x86::VirtualTime::from_ns(start.time.as_ns() + 1 + random.below(end.time.as_ns() - start.time.as_ns()));
        for target in [Target::Insns(insns), Target::Time(time)] {
            let mut direct = Replayer::with_memory(recording.clone(), 0, 1).expect("a replayer");
            direct.seek(target).expect("in the recording");
            wanderer.seek(target).expect("in the recording");
            assert_eq!(direct.position(), wanderer.position(), "{target:?}");
            assert_eq!(direct.full_digest(), wanderer.full_digest(), "{target:?}");
            assert_eq!(direct.digest().expect("a digest"), wanderer.digest().expect("a digest"), "{target:?}");
        }
    }
}

#[test]
fn taking_dirty_pages_does_not_show() {
    let plain = |each: Option<u64>| {
        let mut machine = boot(config(2, None));
        let mut at = 0;
        while at < 300_000 {
            at += each.unwrap_or(300_000);
            machine.run(InsnCount(at.min(300_000)), Idle::Jump);
            if each.is_some() {
                machine.take_dirty_pages();
            }
        }
        machine.digest()
    };
    assert_eq!(plain(None), plain(Some(1_000)));
    assert_eq!(plain(None), plain(Some(7)));
}

#[test]
fn dirty_pages_name_everything_that_changed() {
    let mut machine = boot(config(1, None));
    let mut before = machine.ram_bytes().to_vec();
    machine.take_dirty_pages();
    for step in 1..200 {
        machine.run(InsnCount(step * 997), Idle::Jump);
        let dirty = machine.take_dirty_pages();
        let changed =
            before.chunks(4096).zip(machine.ram_bytes().chunks(4096)).enumerate().filter(|(_, (a, b))| a != b);
        for (page, _) in changed {
            assert!(dirty.contains(&(page as u64)), "page {page} changed unseen");
        }
        before = machine.ram_bytes().to_vec();
    }
}

#[test]
fn the_log_is_small_and_an_idle_guest_logs_nothing() {
    let sink = MemorySink::default();
    let mut session = Session::new(boot(config(1, None)), Default::default());
    session.record(&sink, u64::MAX);
    for _ in 0..1000 {
        session.run(10_000, Idle::Jump);
        if let Some(recorder) = &mut session.recorder {
            recorder.flush(&session.machine).expect("there is room");
        }
    }
    if let Some(recorder) = &mut session.recorder {
        recorder.retry().expect("there is room");
    }
    let idle_log = Recording::from_source(Box::new(sink.bytes())).expect("opens").sizes().log;
    assert!(idle_log < 400, "an idle guest's log has {idle_log} bytes");
    for second in 0..100 {
        for _ in 0..100 {
            let time = session.machine.now().after_ns(2_000_000 + second * 997);
            session.input(Input::ClockTo(time));
            session.run(3_000_000 / 1000, Idle::Jump);
        }
        if let Some(recorder) = &mut session.recorder {
            recorder.flush(&session.machine).expect("there is room");
        }
    }
    session.finish();
    let busy = (open(&sink).sizes().log - idle_log) / 100;
    assert!(busy < 1500, "a hundred corrections take {busy} bytes");
}

#[test]
fn a_packed_recording_replays_like_the_original_and_is_smaller_without_checkpoints() {
    for seed in [3, 5, 8] {
        let (session, sink) = recorded(seed, 50, 1, None);
        let original = open(&sink);
        let mut sizes = Vec::new();
        for with_checkpoints in [true, false] {
            let packed = MemorySink::default();
            timeline::pack::pack(&original, Box::new(packed.clone()), with_checkpoints).expect("it can be packed");
            let recording = open(&packed);
            assert_eq!(recording.events(), original.events());
            assert_eq!(recording.end_position(), original.end_position());
            assert_eq!(verify(&recording, 1, &|_| {}).expect("it replays").difference, None);
            let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
            replayer.seek(Target::End).expect("the end");
            assert_eq!(replayer.full_digest(), session.machine.digest(), "seed {seed}");
            sizes.push(recording.sizes().file);
        }
        assert!(sizes[1] < sizes[0], "{sizes:?}");
        // One that was cut short can be packed too.
        let mut bytes = sink.bytes();
        bytes.truncate(bytes.len() * 4 / 5);
        let cut = Recording::from_source(Box::new(bytes)).expect("it opens");
        let packed = MemorySink::default();
        timeline::pack::pack(&cut, Box::new(packed.clone()), true).expect("it can be packed");
        assert_eq!(open(&packed).end_position(), cut.end_position());
    }
}
