//! Random sequences of record, stop, seek, take over and branch, compared with what was seen.

mod support;

use std::sync::Arc;

use support::{Random, Session, boot, config};
use timeline::sink::MemorySink;
use timeline::{Recording, Replayer, Target, verify};

struct Path {
    recording: Arc<Recording>,
    session: Session,
}

/// Records `session` for some acts.
fn record(mut session: Session, random: &mut Random) -> Path {
    let sink = MemorySink::default();
    session.record(&sink, 10_000 + random.below(50_000));
    for _ in 0..random.below(25) {
        session.act(random);
    }
    session.finish();
    let recording = Arc::new(Recording::from_source(Box::new(sink.bytes())).expect("the recording opens"));
    assert_eq!(recording.end_position(), session.position());
    Path { recording, session }
}

fn sequences(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut random = Random(seed);
        let vcpus = 1 + random.below(2) as u8;
        let mut session = Session::new(boot(config(vcpus, None)), Default::default());
        for _ in 0..random.below(4) {
            session.act(&mut random);
        }
        session.seen.clear();
        let mut paths = vec![record(session, &mut random)];
        for _ in 0..3 {
            let from = &paths[random.below(paths.len() as u64) as usize];
            let mut replayer = Replayer::with_memory(from.recording.clone(), 1 << 20, 10_000).expect("a replayer");
            let (start, end) = (from.recording.start(), from.recording.end_position());
            let insns = start.insns + random.below(end.insns - start.insns + 1);
            replayer.seek(Target::Insns(insns)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let at_end = random.below(3) == 0;
            if at_end {
                replayer.seek(Target::End).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert_eq!(replayer.full_digest(), from.session.machine.digest(), "seed {seed}");
            }
            let ended = from.session.ended.filter(|_| at_end);
            let live = replayer.into_live();
            let mut session = Session::new(live.machine, live.base);
            session.ended = ended;
            paths.push(record(session, &mut random));
        }
        for path in &paths {
            let report = verify(&path.recording, 1, &|_| {}).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(report.difference, None, "seed {seed}");
            let mut replayer = Replayer::new(path.recording.clone()).expect("a replayer");
            replayer.seek(Target::End).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(replayer.full_digest(), path.session.machine.digest(), "seed {seed}");
        }
    }
}

#[test]
fn paths_come_again_however_they_were_made() {
    sequences(0..40);
}

#[test]
#[ignore = "takes minutes: part of the long tests"]
fn paths_come_again_however_they_were_made_a_thousand_times() {
    sequences(0..1000);
}
