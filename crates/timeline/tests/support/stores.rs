//! Stores in directories of their own, for the tests of stores.
#![allow(dead_code)] // each test file uses a part

use std::fs;
use std::path::{Path, PathBuf};

use machine::Machine;
use timeline::Position;
use timeline::store::node::Node;
use timeline::store::{NewNode, SavedState, Store};

pub fn bytes_below(directory: &Path) -> u64 {
    files_below(directory).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
}

pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

pub fn named(name: &str, parent: Option<&Node>) -> NewNode {
    NewNode { name: name.into(), parent: parent.map(|node| node.id.clone()), ..NewNode::default() }
}

pub fn snapshot(store: &mut Store, machine: &Machine, name: &str, parent: Option<&Node>) -> Node {
    let saved = SavedState::of(machine, Position::default());
    let new = NewNode { position: saved.position, ..named(name, parent) };
    store.snapshot(machine, saved, &new).expect("a snapshot")
}

pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::create(directory.path()).expect("a store");
    (directory, store)
}
