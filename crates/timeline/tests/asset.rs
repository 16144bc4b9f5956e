//! Recordings that were made by released versions replay for ever.
//!
//! A failure here means that recordings of users do not replay any more: what changed must be undone for the
//! machines of old recordings (see the version rule in [`timeline::format`]). A recording is made anew only as long as its
//! version was not released (`cargo test -p vm-tests --test asset -- --ignored`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use machine::EngineKind;
use timeline::replayer::Control;
use timeline::verify::{Engines, verify_with};
use timeline::{Recording, Replayer, Target};

/// What is kept beside a recording.
#[derive(Debug, Default)]
struct Expected {
    /// Step counts, and the digests at the first instants with them.
    states: Vec<(u64, String)>,
    serial: String,
    end: (u64, u64, String),
}

impl Expected {
    fn read(path: &Path) -> Self {
        let mut expected = Expected::default();
        let number = |word: &str| word.parse::<u64>().expect("a number");
        for line in std::fs::read_to_string(path).expect("what is expected stands beside the recording").lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["state", insns, digest] => expected.states.push((number(insns), (*digest).into())),
                ["serial", bytes] => expected.serial = (*bytes).into(),
                ["end", insns, time, digest] => expected.end = (number(insns), number(time), (*digest).into()),
                words => panic!("{words:?}"),
            }
        }
        expected
    }
}

fn assets() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/assets");
    let entries = std::fs::read_dir(directory).expect("the recordings are in the repository");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "cvr")).collect();
    paths.sort();
    paths
}

fn engines() -> impl Iterator<Item = EngineKind> {
    EngineKind::ALL.into_iter().filter(|kind| kind.engine().is_ok())
}

#[test]
fn old_recordings_replay_for_ever() {
    let assets = assets();
    assert!(!assets.is_empty());
    for path in assets {
        let expected = Expected::read(&path.with_extension("expected"));
        let recording = Arc::new(Recording::open(&path).expect("it opens"));
        assert!(!recording.is_cut_short() && recording.fault().is_none());
        for engine in engines() {
            let mut replayer = Replayer::with_maker(recording.clone(), engine.into(), 0, 1).expect("a replayer");
            let mut serial = String::new();
            let watch = &mut |_, output: machine::Output| {
                serial.extend(output.serial.iter().map(|byte| format!("{byte:02x}")));
                Control::Continue
            };
            replayer.play(Target::End, watch).expect("it replays");
            let end = replayer.position();
            let digest = replayer.full_digest().to_string();
            assert_eq!((end.insns, end.time.units(), digest), expected.end, "{path:?}, {engine:?}");
            assert_eq!(serial, expected.serial, "{path:?}, {engine:?}");
            for (insns, digest) in &expected.states {
                replayer.seek(Target::Insns(*insns)).expect("in the recording");
                assert_eq!(replayer.full_digest().to_string(), *digest, "{path:?} at {insns}, {engine:?}");
            }
        }
    }
}

#[test]
fn old_recordings_are_verified_by_every_engine() {
    for path in assets() {
        let recording = Arc::new(Recording::open(&path).expect("it opens"));
        for engine in engines() {
            let engines = Engines { first: engine.into(), others: Vec::new() };
            let report = verify_with(&recording, &engines, 2, &|_| {}).expect("it replays");
            assert_eq!(report.difference, None, "{path:?}, {engine:?}");
            assert!(report.digests >= 3);
        }
    }
}
