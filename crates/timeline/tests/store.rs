//! The store: what goes in comes out, and deleting frees what nobody else used.

#[path = "support/stores.rs"]
mod stores;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use machine::{Idle, Machine};
use stores::{bytes_below, files_below, named, snapshot, store};
use support::{Random, Session, boot, config};
use timeline::store::node::Node;
use timeline::store::{Base, Keeper, NewNode, PendingBase, SavedState, Store, StoreError};
use timeline::{OpenError, Position, Recorder, Recording, Replayer, Target};
use x86::InsnCount;

#[test]
fn snapshots_come_back_and_share_pages() {
    let (directory, mut store) = store();
    let mut machine = boot(config(2, None));
    let mut digests = Vec::new();
    let mut sizes = Vec::new();
    let mut parent = None;
    for step in 1..4 {
        machine.run(InsnCount(step * 50_000), Idle::Jump);
        parent = Some(snapshot(&mut store, &machine, &format!("step {step}"), parent.as_ref()));
        digests.push(machine.digest());
        sizes.push(bytes_below(&directory.path().join("pages")));
    }
    // The same again costs no pages, and gets a name of its own.
    assert_eq!(snapshot(&mut store, &machine, "step 1", None).record.name, "step 1-2");
    assert_eq!(bytes_below(&directory.path().join("pages")), sizes[2]);
    let store = Store::open(directory.path()).expect("a store");
    for (step, digest) in digests.iter().enumerate() {
        let live = store.restore(&format!("step {}", step + 1)).expect("the snapshot");
        assert_eq!(live.machine.digest(), *digest);
    }
    let depths: Vec<usize> = store.tree().iter().map(|line| line.continues.len()).collect();
    assert_eq!(depths, [1, 2, 3, 1]);
    assert!(matches!(store.restore("nothing"), Err(StoreError::NoNode(_))));
}

/// Removes a node, and demands that as many bytes become free as were said to belong to it alone.
fn delete(directory: &Path, store: &mut Store, name: &str) {
    let node = store.find(name).expect("the node").clone();
    let at = store.nodes().iter().position(|other| other.id == node.id).expect("it is one of them");
    let only_it = store.sizes().expect("sizes")[at].only_it;
    let before = bytes_below(directory);
    let collected = store.delete(name).expect("deleted");
    assert_eq!(before - bytes_below(directory), only_it, "{name}");
    assert_eq!(collected.bytes(), only_it, "{name}");
    assert_eq!(store.gc().expect("collected"), Default::default(), "nothing was left behind");
}

#[test]
fn deleting_frees_exactly_what_only_that_node_used() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    let mut parent = None;
    let mut digests = Vec::new();
    for step in 0..8_u64 {
        machine.run(InsnCount(40_000 * (step + 1)), Idle::Jump);
        parent = Some(snapshot(&mut store, &machine, &format!("s{step}"), parent.as_ref()));
        digests.push(machine.digest());
    }
    // In an order in which parents, children and both ends go.
    let mut left: Vec<usize> = (0..8).collect();
    for step in [3, 0, 7, 4, 1, 6, 2, 5] {
        delete(directory.path(), &mut store, &format!("s{step}"));
        left.retain(|other| *other != step);
        let store = Store::open(directory.path()).expect("a store");
        for other in &left {
            let live = store.restore(&format!("s{other}")).expect("the snapshot");
            assert_eq!(live.machine.digest(), digests[*other], "s{other} after s{step} was deleted");
        }
        let depths: Vec<usize> = store.tree().iter().map(|line| line.continues.len()).collect();
        assert_eq!(depths, (1..=left.len()).collect::<Vec<_>>(), "children hang on their parent's parent");
    }
    assert_eq!(bytes_below(directory.path()), 0);
}

#[test]
fn names_are_checked_and_kept_apart() {
    let (_directory, mut store) = store();
    let machine = boot(config(1, None));
    snapshot(&mut store, &machine, "one", None);
    snapshot(&mut store, &machine, "two", None);
    assert!(matches!(store.rename("one", "two"), Err(StoreError::Taken(_))));
    for wrong in ["", "a/b", "a:b", ".hidden", " x", "a\nb", &"x".repeat(101)] {
        assert!(matches!(store.rename("one", wrong), Err(StoreError::Name(_))), "{wrong:?}");
    }
    store.rename("one", "größer").expect("a good name");
    assert_eq!(store.find("größer").expect("it").record.name, "größer");
    assert!(matches!(store.find("one"), Err(StoreError::NoNode(_))));
}

#[test]
fn what_a_crash_leaves_is_collected_and_damage_is_named() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    snapshot(&mut store, &machine, "first", None);
    let whole = bytes_below(directory.path());
    let strays = ["nodes/x.new", "pages/7.new", "states/7.state", "states/8.new", "recordings/0123456789abcdef.cvr"];
    for stray in strays {
        fs::write(directory.path().join(stray), b"half").expect("written");
    }
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.gc().expect("collected").bytes(), 4 * strays.len() as u64);
    assert_eq!(bytes_below(directory.path()), whole);

    let digest = machine.digest();
    let mut random = Random(3);
    for path in files_below(directory.path()).into_iter().filter(|path| !path.ends_with("lock")) {
        let bytes = fs::read(&path).expect("a file");
        let long = std::env::var_os("CHRONOVISOR_LONG").is_some();
        let few = if long { bytes.len() } else { 150 };
        for i in 0..2 * few {
            let mut damaged = bytes.clone();
            let at = if long { i / 2 } else { random.below(bytes.len() as u64) as usize };
            if i % 2 == 0 {
                damaged.truncate(at)
            } else {
                damaged[at] ^= 1 << random.below(8)
            }
            fs::write(&path, damaged).expect("written");
            let result = Store::open(directory.path()).and_then(|store| store.restore("first"));
            assert!(result.is_err(), "damage at {at} of {} went unnoticed", path.display());
        }
        fs::write(&path, bytes).expect("written");
    }
    let store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.restore("first").expect("mended").machine.digest(), digest);
}

#[test]
fn whoever_changes_a_store_waits_for_others() {
    let (directory, mut store) = store();
    let machine = boot(config(1, None));
    snapshot(&mut store, &machine, "one", None);
    let mut other = Store::open(directory.path()).expect("a store");
    let writer = timeline::store::StateWriter::begin(&mut store).expect("nobody else writes");
    let waits = std::thread::spawn(move || {
        let result = other.rename("one", "two");
        (result, other)
    });
    drop(writer);
    let (result, _) = waits.join().expect("no panic");
    result.expect("it waited");
    // And the first takes over what the other did.
    store.rename("two", "three").expect("it knows the new name");
}

/// A recording of `session` in the tree kept by `keeper`, with inputs that `seed` chooses; gives its node's id.
fn branch(
    keeper: &mut Keeper,
    live: timeline::replayer::Live,
    base: Base,
    parent: &Node,
    seed: u64,
) -> (String, Session) {
    let mut session = Session::new(live.machine, live.base);
    let new = NewNode { position: session.position(), ..named("a try", Some(parent)) };
    let started = keeper.recording_from(base, new);
    record(&mut session, started.path, started.base);
    let mut random = Random(seed);
    for _ in 0..30 {
        session.act(&mut random);
    }
    session.finish();
    (started.id, session)
}

fn record(session: &mut Session, path: PathBuf, base: PendingBase) {
    let file = fs::File::create(path).expect("a file");
    let options = timeline::RecorderOptions {
        base: session.base,
        first_interval: Some(30_000),
        ..timeline::RecorderOptions::default()
    };
    let recorder = Recorder::start_from(&mut session.machine, Box::new(file), options, base);
    session.recorder = Some(recorder.expect("recording starts"));
}

fn replays_to(recording: Recording, digest: machine::Digest) {
    let mut replayer = Replayer::new(Arc::new(recording)).expect("a replayer");
    replayer.seek(Target::End).expect("the end");
    assert_eq!(replayer.full_digest(), digest);
}

#[test]
fn branches_begin_with_the_snapshot_and_cost_what_they_change() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(300_000), Idle::Jump);
    let ready = snapshot(&mut store, &machine, "ready", None);
    let pages = bytes_below(&directory.path().join("pages"));
    let mut keeper = Keeper::start(Store::open(directory.path()).expect("a store")).expect("a thread");
    let mut branches = Vec::new();
    for seed in 0..3 {
        let state = store.snapshot_state(&ready).expect("the state");
        let base = Base { state: ready.record.state.clone(), pages: state.pages().expect("its pages") };
        let live = store.restore_state(state, &Default::default()).expect("the snapshot");
        branches.push(branch(&mut keeper, live, base, &ready, seed));
    }
    let added = keeper.finish(&mut machine);
    assert!(added.iter().all(|added| added.result.is_ok()), "{added:?}");
    assert_eq!(bytes_below(&directory.path().join("pages")), pages, "a branch adds no pages to the store");
    for (id, session) in &branches {
        let path = store.recording_path(id);
        let recording = Recording::open(&path).expect("it opens");
        assert_eq!(recording.header().snapshot, ready.record.state);
        let verified = timeline::verify(&Arc::new(recording), 1, &|_| {}).expect("it replays");
        assert_eq!((verified.difference, verified.digests > 2), (None, true));
        replays_to(Recording::open(&path).expect("it opens"), session.machine.digest());
        // By its address, too, and as one file that needs no store.
        let address = format!("{}:{id}", directory.path().display());
        let sink = timeline::sink::MemorySink::default();
        let recording = Recording::open(Path::new(&address)).expect("it opens");
        timeline::pack::pack(&recording, Box::new(sink.clone()), true).expect("packed");
        let packed = Recording::from_source(Box::new(sink.bytes())).expect("it opens");
        assert_eq!(packed.header().snapshot, "");
        replays_to(packed, session.machine.digest());
        // Away from the store it says what it needs.
        let elsewhere = directory.path().join("elsewhere.cvr");
        fs::copy(&path, &elsewhere).expect("copied");
        let lonely = Recording::open(&elsewhere).expect("what is in it can be told");
        let refused = Replayer::new(Arc::new(lonely)).err().expect("it cannot be replayed").to_string();
        assert!(refused.contains("pack") && refused.contains(&ready.record.state), "{refused}");
        fs::remove_file(elsewhere).expect("removed");
    }
    let address = format!("{}:ready", directory.path().display());
    let refused = Recording::open(Path::new(&address));
    assert!(matches!(refused, Err(OpenError::Store(StoreError::NotARecording(_)))));

    // The snapshot goes; what began with it stays as it was, until the last of them goes too.
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.nodes().len(), 4);
    delete(directory.path(), &mut store, "ready");
    assert_eq!(bytes_below(&directory.path().join("pages")), pages);
    for (id, session) in branches {
        replays_to(Recording::open(&store.recording_path(&id)).expect("it opens"), session.machine.digest());
        delete(directory.path(), &mut store, &id);
    }
    assert_eq!(bytes_below(directory.path()), 0);
}

#[test]
fn snapshots_are_taken_while_the_guest_runs_on_and_is_recorded() {
    let (directory, store) = store();
    let mut keeper = Keeper::start(store).expect("a thread");
    let mut session = Session::new(boot(config(1, None)), Position::default());
    session.run(20_000, Idle::Jump);
    let mut random = Random(9);
    let mut expected = Vec::new();
    let saved = SavedState::of(&session.machine, session.base);
    let started = keeper.recording(&mut session.machine, saved, named("run", None)).expect("it begins");
    record(&mut session, started.path.clone(), started.base);
    for number in 0..12 {
        session.act(&mut random);
        keeper.poll(&mut session.machine);
        if number % 3 == 2 {
            session.machine.settle();
            if let Some(recorder) = &mut session.recorder {
                recorder.checkpoint(&mut session.machine);
            }
            let saved = SavedState::of(&session.machine, session.base);
            let new = NewNode { position: saved.position, parent: Some(started.id.clone()), ..named("s", None) };
            let ticket = keeper.snapshot(&mut session.machine, saved, new).expect("it begins");
            let (ticket, _) = ticket;
            expected.push((ticket, session.machine.digest()));
            session.run(7000, Idle::Jump);
        }
    }
    session.finish();
    let added = keeper.finish(&mut session.machine);
    assert_eq!(added.len(), 1 + expected.len());
    let store = Store::open(directory.path()).expect("a store");
    for (ticket, digest) in expected {
        let node = added.iter().find(|added| added.ticket == ticket).expect("an answer").result.as_ref();
        let node = node.expect("a snapshot");
        assert_eq!(store.restore(&node.id).expect("the snapshot").machine.digest(), digest, "{}", node.record.name);
        assert_eq!(node.parent(), Some(started.id.as_str()));
    }
    let recording = Arc::new(Recording::open(&started.path).expect("it opens"));
    let verified = timeline::verify(&recording, 1, &|_| {}).expect("it replays");
    assert_eq!((verified.difference, verified.digests > 0), (None, true));
}

#[test]
fn a_recording_under_way_is_neither_deleted_nor_collected() {
    let (directory, store) = store();
    let mut keeper = Keeper::start(store).expect("a thread");
    let mut machine = boot(config(1, None));
    let saved = SavedState::of(&machine, Position::default());
    let started = keeper.recording(&mut machine, saved, named("run", None)).expect("it begins");
    let file = fs::File::create(&started.path).expect("a file");
    file.try_lock().expect("nobody else has it");
    keeper.finish(&mut machine);
    let mut store = Store::open(directory.path()).expect("a store");
    assert!(matches!(store.delete("run"), Err(StoreError::InUse(_))));
    let orphan = store.recording_path("00000000000000aa");
    let held = fs::File::create(&orphan).expect("a file");
    held.try_lock().expect("nobody else has it");
    store.gc().expect("collected");
    assert!(started.path.exists() && orphan.exists());
    drop((file, held));
    store.gc().expect("collected");
    assert!(started.path.exists() && !orphan.exists());
    store.delete("run").expect("deleted");
}

/// Waits until nothing is asked for any more, while the machine runs on.
fn settled(keeper: &mut Keeper, machine: &mut Machine) -> Vec<Node> {
    let mut nodes = Vec::new();
    while keeper.is_busy() {
        machine.run(InsnCount(machine.insn_count().0 + 500), Idle::Jump);
        keeper.poll(machine);
        nodes.extend(keeper.take_added().into_iter().map(|added| added.result.expect("it is saved")));
    }
    nodes
}

#[test]
fn a_snapshot_after_another_is_whole_whatever_was_deleted_meanwhile() {
    let (directory, store) = store();
    let mut keeper = Keeper::start(store).expect("a thread");
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(100_000), Idle::Jump);
    let mut random = Random(21);
    let mut left: Vec<(Node, machine::Digest)> = Vec::new();
    for number in 0..40 {
        if random.below(3) > 0 {
            machine.run(InsnCount(machine.insn_count().0 + random.below(60_000)), Idle::Jump);
        }
        machine.settle();
        let digest = machine.digest();
        let new = NewNode { name: format!("s{number}"), ..NewNode::default() };
        let saved = SavedState::of(&machine, Position::default());
        keeper.snapshot(&mut machine, saved, new).expect("it begins");
        if random.below(4) == 0 {
            // As before a reset: all at once.
            keeper.complete(&mut machine);
        }
        left.extend(settled(&mut keeper, &mut machine).into_iter().map(|node| (node, digest)));
        // Another process deletes what the next snapshot might be built upon.
        let mut store = Store::open(directory.path()).expect("a store");
        while left.len() as u64 > random.below(4) {
            let (node, _) = left.remove(random.below(left.len() as u64) as usize);
            store.delete(&node.id).expect("deleted");
        }
        for (node, digest) in &left {
            assert_eq!(store.check(node).damage, Vec::<String>::new(), "{}", node.record.name);
            assert_eq!(store.restore(&node.id).expect("the snapshot").machine.digest(), *digest, "{number}");
        }
    }
}

#[test]
fn a_snapshot_after_one_that_failed_is_whole() {
    let (directory, store) = store();
    let mut keeper = Keeper::start(store).expect("a thread");
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(100_000), Idle::Jump);
    let pages = directory.path().join("pages");
    let aside = directory.path().join("aside");
    for number in 0..4 {
        machine.run(InsnCount(machine.insn_count().0 + 30_000), Idle::Jump);
        machine.settle();
        let digest = machine.digest();
        let fails = number % 2 == 0;
        if fails {
            fs::rename(&pages, &aside).expect("moved");
        }
        let new = NewNode { name: format!("s{number}"), ..NewNode::default() };
        let saved = SavedState::of(&machine, Position::default());
        keeper.snapshot(&mut machine, saved, new).expect("it begins");
        if fails {
            while keeper.is_busy() {
                keeper.poll(&mut machine);
                assert!(keeper.take_added().iter().all(|added| added.result.is_err()));
            }
            fs::rename(&aside, &pages).expect("moved");
        } else {
            let node = settled(&mut keeper, &mut machine).remove(0);
            let store = Store::open(directory.path()).expect("a store");
            assert_eq!(store.restore(&node.id).expect("the snapshot").machine.digest(), digest);
        }
    }
}

/// A collection writes the pages that stay to a new file before it removes the old one. Killed in between, it leaves both.
#[test]
fn killed_before_the_old_pages_were_removed_the_next_collection_keeps_one() {
    for seed in 0..12 {
        let (directory, mut store) = store();
        let mut machine = boot(config(1, None));
        machine.run(InsnCount(50_000 + 1000 * seed), Idle::Jump);
        snapshot(&mut store, &machine, "first", None);
        machine.run(InsnCount(150_000), Idle::Jump);
        snapshot(&mut store, &machine, "second", None);
        let digest = machine.digest();
        let packs = files_below(&directory.path().join("pages"));
        let packs: Vec<(PathBuf, Vec<u8>)> =
            packs.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
        store.delete("first").expect("deleted");
        let whole = bytes_below(directory.path());
        for (path, bytes) in packs {
            fs::write(path, bytes).expect("written");
        }
        let before = bytes_below(directory.path());
        let mut store = Store::open(directory.path()).expect("a store");
        let freed = store.gc().expect("collected").bytes();
        assert_eq!((bytes_below(directory.path()), before - freed), (whole, whole), "seed {seed}");
        let store = Store::open(directory.path()).expect("a store");
        assert_eq!(store.restore("second").expect("the snapshot").machine.digest(), digest, "seed {seed}");
    }
}
