//! The store: what goes in comes out, and deleting frees what nobody else used.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use machine::Idle;
use support::{Random, Session, boot, config};
use timeline::store::{NewNode, Store, StoreError};
use timeline::{Position, Recording, Replayer, Target};
use x86::InsnCount;

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { bytes_below(&path) } else { fs::metadata(&path).expect("a file").len() })
        .sum()
}

fn named(name: &str) -> NewNode<'_> {
    NewNode { name, ..NewNode::default() }
}

#[test]
fn snapshots_come_back_and_share_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(directory.path()).expect("a store");
    let mut machine = boot(config(2, None));
    let mut digests = Vec::new();
    let mut sizes = Vec::new();
    for step in 1..4 {
        machine.run(InsnCount(step * 50_000), Idle::Jump);
        let name = format!("step {step}");
        let parent = (step > 1).then(|| format!("step {}", step - 1));
        let new = NewNode { parent: parent.as_deref(), position: Position::of(&machine), ..named(&name) };
        store.snapshot(&machine, Position::default(), &new).expect("a snapshot");
        digests.push(machine.digest());
        sizes.push(bytes_below(&directory.path().join("pages")));
    }
    // The same again costs no pages.
    store.snapshot(&machine, Position::default(), &named("again")).expect("a snapshot");
    assert_eq!(bytes_below(&directory.path().join("pages")), sizes[2]);
    let store = Store::open(directory.path()).expect("a store");
    for (step, digest) in digests.iter().enumerate() {
        let live = store.restore(&format!("step {}", step + 1)).expect("the snapshot");
        assert_eq!(live.machine.digest(), *digest);
    }
    let depths: Vec<usize> = store.tree().iter().map(|line| line.continues.len()).collect();
    assert_eq!(depths.iter().max(), Some(&3));
    assert!(matches!(store.restore("nothing"), Err(StoreError::NoNode(_))));
}

#[test]
fn deleting_frees_what_only_that_node_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(directory.path()).expect("a store");
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    let first = machine.digest();
    store.snapshot(&machine, Position::default(), &named("first")).expect("a snapshot");
    let alone = bytes_below(directory.path());
    machine.run(InsnCount(120_000), Idle::Jump);
    let child = NewNode { parent: Some("first"), ..named("second") };
    store.snapshot(&machine, Position::default(), &child).expect("a snapshot");
    let second = machine.digest();

    store.rename("second", "another name").expect("a new name");
    store.delete("another name").expect("deleted");
    let collected = store.gc().expect("collected");
    assert!(collected.pages > 0);
    assert_eq!(bytes_below(directory.path()), alone);
    assert_eq!(store.gc().expect("collected"), Default::default());
    assert_eq!(store.restore("first").expect("the snapshot").machine.digest(), first);

    // The other way round: the parent goes, and the child keeps what both used.
    store.snapshot(&machine, Position::default(), &child).expect("a snapshot");
    store.delete("first").expect("deleted");
    store.gc().expect("collected");
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.restore("second").expect("the snapshot").machine.digest(), second);
    assert_eq!(store.tree().len(), 1);
    store.delete("second").expect("deleted");
    store.gc().expect("collected");
    assert_eq!(bytes_below(directory.path()), 0);
}

#[test]
fn what_a_crash_leaves_is_collected_and_damage_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(directory.path()).expect("a store");
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    let id = store.snapshot(&machine, Position::default(), &named("first")).expect("a snapshot");
    let whole = bytes_below(directory.path());
    for stray in ["nodes/x.new", "pages/7.new", "recordings/0123456789abcdef.cvr"] {
        fs::write(directory.path().join(stray), b"half").expect("written");
    }
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.gc().expect("collected").bytes, 12);
    assert_eq!(bytes_below(directory.path()), whole);

    let mut random = Random(3);
    for path in [format!("nodes/{id}.node"), "pages/00000000.pack".into()] {
        let path = directory.path().join(path);
        let bytes = fs::read(&path).expect("a file");
        for _ in 0..200 {
            let mut damaged = bytes.clone();
            let at = random.below(bytes.len() as u64) as usize;
            if random.below(2) == 0 {
                damaged.truncate(at)
            } else {
                damaged[at] ^= 1 << random.below(8)
            }
            fs::write(&path, damaged).expect("written");
            let result = Store::open(directory.path()).and_then(|store| store.restore("first").map(drop));
            assert!(result.is_err(), "damage at {at} of {} went unnoticed", path.display());
        }
        fs::write(&path, bytes).expect("written");
    }
}

#[test]
fn a_recording_has_its_place_in_the_tree() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(directory.path()).expect("a store");
    let mut session = Session::new(boot(config(1, None)), Position::default());
    session.run(20_000, Idle::Jump);
    store.snapshot(&session.machine, session.base, &named("ready")).expect("a snapshot");

    let live = store.restore("ready").expect("the snapshot");
    let mut branch = Session::new(live.machine, live.base);
    let new = NewNode { parent: Some("ready"), position: branch.position(), ..named("a try") };
    let (id, path) = store.new_recording(&new).expect("a place");
    let file = fs::File::create(&path).expect("a file");
    branch.recorder = Some(
        timeline::Recorder::start(&mut branch.machine, Box::new(file), Default::default()).expect("recording starts"),
    );
    let mut random = Random(4);
    for _ in 0..10 {
        branch.act(&mut random);
    }
    branch.finish();
    let recording = Arc::new(Recording::open(&store.recording_path(&id)).expect("it opens"));
    let mut replayer = Replayer::new(recording).expect("a replayer");
    replayer.seek(Target::End).expect("the end");
    assert_eq!(replayer.full_digest(), branch.machine.digest());
    store.gc().expect("collected");
    assert!(path.exists());
    store.delete("a try").expect("deleted");
    assert!(!path.exists());
}
