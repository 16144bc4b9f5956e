//! Damaged files of a store: each is named, and keeps only those from use that need it.

#[path = "support/stores.rs"]
mod stores;
mod support;

use std::fs;
use std::path::Path;

use machine::Idle;
use stores::{files_below, snapshot, store};
use support::{Random, boot, config};
use timeline::store::{Store, StoreError};
use x86::InsnCount;

/// The bytes of a file to be changed, by position: every one in the long tests.
fn places(len: usize, random: &mut Random) -> Vec<usize> {
    match std::env::var_os("CHRONOVISOR_LONG") {
        Some(_) => (0..len).collect(),
        None => (0..60).map(|_| random.below(len as u64) as usize).collect(),
    }
}

/// What is wrong with the snapshot `id`, all of it in one text.
fn damage(directory: &Path, id: &str) -> String {
    let store = Store::open(directory).expect("a store opens whatever its files hold");
    match store.find(id) {
        Ok(node) => store.check(node).damage.join("\n"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_flipped_byte_in_any_file_is_named() {
    let (directory, mut store) = store();
    let mut machine = boot(config(2, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    let first = snapshot(&mut store, &machine, "first", None);
    machine.run(InsnCount(160_000), Idle::Jump);
    let second = snapshot(&mut store, &machine, "second", Some(&first));
    for node in [&first, &second] {
        let checked = store.check(node);
        assert_eq!((checked.damage, checked.has_digest), (Vec::new(), true));
        assert!(checked.pages > 10);
    }
    let mut random = Random(11);
    let mut kinds = Vec::new();
    for path in files_below(directory.path()).into_iter().filter(|path| !path.ends_with("lock")) {
        let (bytes, name) = (fs::read(&path).expect("a file"), path.display().to_string());
        kinds.push(path.extension().expect("an ending").to_owned());
        for at in places(bytes.len(), &mut random) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << random.below(8);
            fs::write(&path, damaged).expect("written");
            let found = [&first, &second].map(|node| damage(directory.path(), &node.id));
            assert!(found.iter().any(|damage| damage.contains(&name)), "byte {at} of {name}: {found:?}");
            if path.extension().is_some_and(|ending| ending != "pack") {
                assert!(found.iter().any(String::is_empty), "byte {at} of {name} damages both: {found:?}");
            }
        }
        fs::write(&path, bytes).expect("written");
    }
    kinds.sort();
    assert_eq!(kinds, ["node", "node", "pack", "pack", "state", "state"]);
    for node in [&first, &second] {
        assert_eq!(damage(directory.path(), &node.id), "");
    }
}

#[test]
fn a_missing_file_is_named() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    let node = snapshot(&mut store, &machine, "first", None);
    for folder in ["states", "pages"] {
        let path = files_below(&directory.path().join(folder)).remove(0);
        let aside = directory.path().join("aside");
        fs::rename(&path, &aside).expect("moved");
        let found = damage(directory.path(), &node.id);
        assert!(found.contains(folder) && found.contains("missing"), "{found}");
        let store = Store::open(directory.path()).expect("a store");
        assert_eq!((store.tree().len(), store.sizes().expect("sizes").len()), (1, 1));
        fs::rename(&aside, &path).expect("moved");
    }
    assert_eq!(damage(directory.path(), &node.id), "");
}

#[test]
fn nothing_is_collected_that_a_damaged_node_may_use() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    machine.run(InsnCount(60_000), Idle::Jump);
    let first = snapshot(&mut store, &machine, "first", None);
    machine.run(InsnCount(160_000), Idle::Jump);
    let second = snapshot(&mut store, &machine, "second", Some(&first));
    let path = directory.path().join("nodes").join(&first.id).with_extension("node");
    let bytes = fs::read(&path).expect("a file");
    fs::write(&path, &bytes[1..]).expect("written");

    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!((store.nodes().len(), store.damaged().len()), (1, 1));
    for refused in [store.gc(), store.delete("second")] {
        let Err(StoreError::InTheWay { id, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(id, first.id);
    }
    assert!(matches!(store.find("first"), Err(StoreError::Damaged { .. })), "its name may be that of the damaged one");
    fs::write(&path, &bytes).expect("mended");
    let mut store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.check(store.find("first").expect("it is back")).damage, Vec::<String>::new());

    fs::write(&path, &bytes[1..]).expect("written");
    let freed = store.delete(&first.id).expect("given up");
    assert!(freed.pages > 0);
    assert_eq!(store.check(store.find(&second.id).expect("the other")).damage, Vec::<String>::new());
    assert_eq!(store.gc().expect("collected").bytes(), 0);
}

#[test]
fn a_damaged_page_is_carried_along_and_still_named() {
    let (directory, mut store) = store();
    let mut machine = boot(config(1, None));
    let one = snapshot(&mut store, &machine, "one", None);
    machine.run(InsnCount(160_000), Idle::Jump);
    let two = snapshot(&mut store, &machine, "two", None);
    // The last page of each file: that of the first is of both, or of the first alone.
    for path in files_below(&directory.path().join("pages")) {
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(&path, bytes).expect("written");
    }
    assert!(damage(directory.path(), &two.id).contains("checksum of a page"));
    store.delete(&one.id).expect("the other's pages are moved as they are");
    let found = damage(directory.path(), &two.id);
    assert!(found.contains("checksum of a page") && found.contains("of the guest's RAM"), "{found}");
}
