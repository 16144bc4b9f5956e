//! Stores from anyone: a small one with changes, to the bytes of its files or to the messages in them (whose checksums
//! are made right again). It is refused, or it opens, is drawn, restored and collected. Changed bytes never show as another state.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use machine::{Digest, Idle, Machine, MachineConfig};
use timeline::store::{NewNode, SavedState, Store};
use timeline::{Position, Recording};

use crate::machine::program;
use crate::restore::wire;
use crate::script::Script;

/// RAM of the saved machine; states that claim more are left out.
const RAM_BYTES: u64 = 1 << 20;

/// A store's files (path in it, content), and the digests of its snapshots by name.
struct Sound {
    files: Vec<(PathBuf, Vec<u8>)>,
    digests: Vec<(String, Digest)>,
}

/// A directory for one run.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("fuzz-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // In memory where the host has such a directory: each run writes and syncs many files.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        Directory(parent.join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens and uses what the script makes of a store.
///
/// # Panics
/// If an unchanged store does not work, or a changed one makes its reader misbehave.
pub fn run(bytes: &[u8]) {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    let sound = SOUND.get_or_init(make);
    let mut script = Script::new(bytes);
    let (is_changed, resealed) = (!script.is_over(), script.flag());
    let mut files = sound.files.clone();
    while is_changed && !script.is_over() {
        let at = script.below(files.len());
        if resealed {
            change_message(&mut files[at].1, &mut script)
        } else {
            change_bytes(&mut files[at].1, &mut script)
        }
        if script.below(16) == 1 {
            // A file of another node, or under another name.
            files[at].0 = sound.files[script.below(sound.files.len())].0.clone();
        }
    }
    let directory = Directory::new();
    drop(Store::create(&directory.0).expect("the scratch directory can be written"));
    for (path, content) in &files {
        fs::write(directory.0.join(path), content).expect("the scratch directory can be written");
    }
    let digests: &[(String, Digest)] = if resealed && is_changed { &[] } else { &sound.digests };
    let works = use_store(&directory.0, digests);
    assert!(works || is_changed, "a sound store does not work");
}

/// Does everything with a store; whether all of it went well.
fn use_store(directory: &Path, digests: &[(String, Digest)]) -> bool {
    let Ok(mut store) = Store::open(directory) else { return false };
    let mut works = store.tree().len() == store.nodes().len() && store.sizes().is_ok();
    for node in store.nodes() {
        let Ok(state) = store.snapshot_state(node) else {
            works &= Recording::open(&store.recording_path(&node.id)).is_ok();
            continue;
        };
        if state.config().is_ok_and(|config| config.ram_bytes != RAM_BYTES || config.vcpus > 4) {
            continue;
        }
        let is_sound = store.check(node).damage.is_empty();
        match store.restore_state(state, &Default::default()) {
            Ok(mut live) => {
                let digest = live.machine.digest();
                let known = digests.is_empty() || digests.iter().any(|(_, known)| *known == digest);
                assert!(known, "{} was restored as another state", node.record.name);
                let until = live.machine.insn_count() + 100;
                live.machine.run(until, Idle::Jump);
                works &= is_sound;
            }
            Err(error) => {
                assert!(!is_sound, "{} is said to be sound: {error}", node.record.name);
                works = false;
            }
        }
    }
    let names: Vec<String> = store.nodes().iter().map(|node| node.id.clone()).collect();
    works &= store.gc().is_ok();
    for name in names {
        works &= store.delete(&name).is_ok();
    }
    works
}

/// A store with two snapshots.
fn make() -> Sound {
    let config = MachineConfig { vcpus: 2, ..MachineConfig::new(RAM_BYTES) };
    let (state, ram) = program::start(config, &mut Script::new(&[0, 12, 40, 4, 1, 1, 1, 12, 41, 4, 2, 1, 1]));
    let mut machine = Machine::new(config).expect("a small machine");
    machine.restore(state, &ram).expect("a state of the same machine");
    let directory = Directory::new();
    let mut store = Store::create(&directory.0).expect("the scratch directory can be written");
    let (mut digests, mut parent) = (Vec::new(), None);
    for name in ["first", "second"] {
        let until = machine.insn_count() + 700;
        machine.run(until, Idle::Jump);
        let saved = SavedState::of(&machine, Position::default());
        let new = NewNode { name: name.into(), parent, position: saved.position, created_unix_seconds: 7 };
        parent = Some(store.snapshot(&machine, saved, &new).expect("a snapshot").id);
        digests.push((name.to_owned(), machine.digest()));
    }
    let mut files = Vec::new();
    for folder in ["nodes", "pages", "states"] {
        for entry in fs::read_dir(directory.0.join(folder)).expect("the store is there") {
            let path = entry.expect("the store is there").path();
            let content = fs::read(&path).expect("the store is there");
            files.push((Path::new(folder).join(path.file_name().expect("a file")), content));
        }
    }
    // Ids are other ones each time, so the order is by what the files are and how long.
    files.sort_by_key(|(path, content)| (path.parent().map(Path::to_path_buf), content.len(), content.clone()));
    Sound { files, digests }
}

/// Changes the message in a file of a node, a state or pages, and makes its checksum right.
fn change_message(file: &mut Vec<u8>, script: &mut Script<'_>) {
    let Some(magic) = file.first_chunk::<8>().copied() else { return };
    match &magic {
        b"CVRNODE1" => {
            let mut message = file[12..].to_vec();
            wire::change(&mut message, script);
            *file = sealed(&magic, &message);
        }
        b"CVRSTAT1" => {
            let mut message = zstd::decode_all(&file[12..]).expect("a sound state");
            wire::change(&mut message, script);
            let packed = zstd::bulk::compress(&message, 1).expect("room in memory");
            *file = sealed(&magic, &packed);
        }
        _ => {
            // One number of an entry; the pages stay.
            let count = u32::from_le_bytes(file[8..12].try_into().expect("four bytes")) as usize;
            let entries = 16..16 + count * 40;
            if entries.end <= file.len() && count > 0 {
                let at = 16 + script.below(count) * 40 + script.below(10) * 4;
                file[at..at + 4].copy_from_slice(&script.u32().to_le_bytes());
                let crc = crc32c::crc32c(&file[entries]);
                file[12..16].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

fn sealed(magic: &[u8; 8], message: &[u8]) -> Vec<u8> {
    [magic.as_slice(), &crc32c::crc32c(message).to_le_bytes(), message].concat()
}

fn change_bytes(file: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = script.u32() as usize % file.len().max(1);
    match script.u8() % 4 {
        0 => file.truncate(at),
        1 => file.extend(script.value().to_le_bytes()),
        _ => {
            if let Some(byte) = file.get_mut(at) {
                *byte = script.u8();
            }
        }
    }
}
