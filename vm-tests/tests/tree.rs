//! The tree of a VM by way of the program: nodes made from outside and from inside the guest, branches, replays,
//! deletion to the byte, and damage that is named.

mod recording_support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use recording_support::tree::{Tree, files_below};
use recording_support::{TYPED, ctl, json, quit, scratch, wait_until};
use vm_tests::bare_metal::{echo, scribbler};
use vm_tests::debian::Debian;
use vm_tests::{Outcome, Program};

/// Replays a node, which must end as `run` did.
fn replays(tree: &Tree, name: &str, run: &Outcome) {
    let replay = Program::new(&["replay", &tree.node(name), "--digest"]).run().expect_status(0);
    assert_eq!((&replay.digest, &replay.console), (&run.digest, &run.console), "{name}");
    assert!(replay.errors.contains("matched"), "{}", replay.errors);
}

/// What the guest's init runs. Each branch gets another line.
const SCRIPT: &str = "
echo before: $(chronoctl status)
chronoctl mark here
chronoctl snapshot ready
read line
echo branch $line: $(chronoctl status)
chronoctl snapshot deep
echo position $(chronoctl position)
poweroff -f
";

#[test]
fn debian_branches_from_a_snapshot_that_it_took_itself() {
    let (tree, socket, initrd) = (Tree::new(), scratch("socket"), scratch("initrd"));
    let debian = Debian::with_script(SCRIPT);
    fs::write(&initrd, debian.initrd()).expect("the scratch directory can be written");
    let kernel = vm_tests::debian::kernel_file();
    let kernel = kernel.to_str().expect("a plain path");
    let machine =
        ["run", "--kernel", kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet", "--memory", "256M"];
    let session = ["--clock", "virtual", "--tree", &tree.0, "--record", "boot", "--control", &socket];
    let child = Program::new(&[machine.as_slice(), &session].concat()).spawn();
    ctl(&socket, &["status"]);
    for _ in 0..2400 {
        if tree.nodes().iter().any(|node| node["name"] == "ready") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let outside = ctl(&socket, &["snapshot", "ready"]);
    assert_eq!(outside["name"], "ready-2", "the guest has taken the name");
    let status = ctl(&socket, &["status"]);
    assert_eq!(status["recording"]["node"], tree.find("boot")["id"]);
    quit(child, &socket);

    let branch = |name: &str, line: &str| {
        let options = ["run", "--from", &tree.node("ready"), "--record", name, "--digest", "--no-reboot"];
        Program::new(&options).stdin_file(line).run().expect_status(0)
    };
    let (one, two) = (branch("one", "1\n"), branch("two", "second\n"));
    assert!(one.console.contains("branch 1: recorded"), "{}", one.console);
    assert!(two.console.contains("branch second: recorded"), "{}", two.console);
    let unrecorded = ["run", "--from", &tree.node("ready"), "--digest", "--no-reboot"];
    let unrecorded = Program::new(&unrecorded).stdin_file("1\n").run().expect_status(0);
    assert!(unrecorded.console.contains("branch 1: not recorded"), "{}", unrecorded.console);

    // The answers that the guest got come again: it cannot tell that it is replayed.
    replays(&tree, "one", &one);
    replays(&tree, "two", &two);
    Program::new(&["verify", &tree.node("boot")]).run().expect_status(0);
    let parents = ["ready", "ready-2", "one", "two", "deep", "deep-2", "deep-3"].map(|name| tree.parent_of(name));
    let expected = ["boot", "boot", "ready", "ready", "one", "two", "ready"];
    assert_eq!(parents.each_ref().map(|parent| parent.as_deref().expect("a parent")), expected);
    // A branch costs what it changes.
    assert!(tree.find("one")["recording_bytes"].as_u64() < Some(1 << 20));

    // Another branch from the middle of one; the old path stays.
    let options = ["replay", &tree.node("two"), "--to", "50%", "--go-live", "--record", "three", "--digest"];
    let three = Program::new(&options).run().expect_status(0);
    assert_eq!(tree.parent_of("three").as_deref(), Some("two"));
    let alone = Program::new(&["replay", &tree.node("three"), "--digest"]).run().expect_status(0);
    assert_eq!(alone.digest, three.digest);
    replays(&tree, "two", &two);

    let drawn = Program::new(&["tree", &tree.0]).run().expect_status(0).console;
    assert!(drawn.starts_with("boot ") && drawn.contains("└─ ") && drawn.contains("├─ "), "{drawn}");
    assert!(drawn.contains('┬'), "branches leave recordings somewhere: {drawn}");

    // One path goes, with all that only it used; the others stay as they were.
    for name in ["one", "deep", "ready"] {
        tree.delete(name);
    }
    replays(&tree, "two", &two);
    assert_eq!(tree.parent_of("two").as_deref(), Some("boot"));
    Program::new(&["verify", &tree.node("boot")]).run().expect_status(0);
    Program::new(&["run", "--from", &tree.node("deep-2"), "--no-reboot"]).run().expect_status(0);
    while let Some(node) = tree.nodes().pop() {
        tree.delete(node["id"].as_str().expect("an id"));
    }
    assert_eq!(tree.bytes(), 0);
}

#[test]
fn names_are_nodes_and_paths_are_files() {
    let tree = Tree::new();
    let kernel = scribbler(u32::MAX);
    let (child, socket) = tree.session(&kernel, &[]);
    let file = scratch("file.cvr");
    assert_eq!(ctl(&socket, &["snapshot", "first"])["name"], "first");
    let taken = ctl(&socket, &["snapshot", &file]);
    assert_eq!(taken["file"], file.as_str());
    let started = ctl(&socket, &["record", "start"]);
    assert_eq!(started["name"], "recording");
    let refused = Program::new(&["ctl", &socket, "record", "start", "other"]).run().expect_status(2);
    assert!(refused.errors.contains("already"), "{}", refused.errors);
    let refused = Program::new(&["tree", &tree.0, "delete", "recording"]).run().expect_status(2);
    assert!(refused.errors.contains("is being recorded"), "{}", refused.errors);
    let refused = Program::new(&["ctl", &socket, "snapshot", "a:b"]).run().expect_status(2);
    assert!(refused.errors.contains("name"), "{}", refused.errors);
    assert_eq!(ctl(&socket, &["snapshot", "first"])["name"], "first-2");
    ctl(&socket, &["pause"]);
    assert_eq!(ctl(&socket, &["snapshot", "paused"])["state"], "paused");
    ctl(&socket, &["resume"]);
    ctl(&socket, &["record", "stop"]);
    assert_eq!(ctl(&socket, &["record", "start", "again"])["name"], "again");
    quit(child, &socket);
    let parents = ["recording", "first-2", "paused", "again"].map(|name| tree.parent_of(name));
    let expected = ["first", "recording", "recording", "recording"];
    assert_eq!(parents.each_ref().map(|parent| parent.as_deref().expect("a parent")), expected);
    for name in ["recording", "again"] {
        Program::new(&["verify", &tree.node(name)]).run().expect_status(0);
    }
    // A snapshot is where the recording was.
    let at = tree.find("paused")["position"]["insns"].to_string();
    let replayed = Program::new(&["replay", &tree.node("recording"), "--to", &at, "--digest"]).run().expect_status(0);
    assert_eq!(replayed.digest, Some(tree.digest("paused")));
    fs::remove_file(file).expect("the snapshot is a file");
}

#[test]
fn a_recording_away_from_its_tree_says_what_it_needs_and_packs() {
    let tree = Tree::new();
    let kernel = echo();
    let kernel = kernel.to_str().expect("a plain path");
    let options = ["run", "--kernel", kernel, "--debug-exit", "--digest", "--tree", &tree.0, "--record", "echo"];
    let run = Program::new(&options).stdin_file(TYPED).run().expect_status(1);
    replays(&tree, "echo", &run);
    let id = tree.find("echo")["id"].as_str().expect("an id").to_owned();
    // By the beginning of its id, and by its file.
    replays(&tree, &id[..6], &run);
    let inside = format!("{}/recordings/{id}.cvr", tree.0);
    Program::new(&["replay", &inside]).run().expect_status(0);
    let (alone, packed) = (scratch("alone.cvr"), scratch("packed.cvr"));
    fs::copy(&inside, &alone).expect("copied");
    let info = json(&Program::new(&["info", &alone, "--json"]).run().expect_status(0).console);
    assert_eq!(info["inputs"]["serial"], TYPED.len());
    let refused = Program::new(&["replay", &alone]).run().expect_status(2);
    assert!(refused.errors.contains("chronovisor pack") && refused.errors.contains(&tree.0), "{}", refused.errors);
    Program::new(&["pack", &tree.node("echo"), "-o", &packed]).run().expect_status(0);
    let replay = Program::new(&["replay", &packed, "--digest"]).run().expect_status(0);
    assert_eq!(replay.digest, run.digest);

    for (arguments, sentence) in [
        (vec!["run", "--from", &tree.node("echo")], "is a recording"),
        (vec!["run", "--from", &tree.node("none")], "no node"),
        (vec!["run", "--from", "/nowhere:x"], "has no tree"),
        (vec!["run", "--from", &tree.node("echo"), "--memory", "1G"], "cannot be used with"),
        (vec!["tree", "/nowhere"], "has no tree"),
        (vec!["tree", &tree.0, "rename", "echo", "a/b"], "cannot be a node's name"),
    ] {
        let refused = Program::new(&arguments).run().expect_status(2);
        assert!(refused.errors.contains(sentence), "{arguments:?}: {}", refused.errors);
    }
    Program::new(&["tree", &tree.0, "rename", "echo", "the echo"]).run().expect_status(0);
    replays(&tree, "the echo", &run);
    for file in [alone, packed] {
        fs::remove_file(file).expect("it is there");
    }
}

/// Flips a byte in the middle of each file below `directory`, one at a time, and gives `look` its path.
fn with_each_file_damaged(directory: &str, mut look: impl FnMut(&str)) {
    for path in files_below(Path::new(directory)).into_iter().filter(|path| !path.ends_with("lock")) {
        let bytes = fs::read(&path).expect("a file");
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 0x10;
        fs::write(&path, damaged).expect("written");
        look(path.to_str().expect("a plain path"));
        fs::write(&path, bytes).expect("written");
    }
}

#[test]
fn verify_names_each_damaged_file_of_a_tree() {
    let tree = Tree::new();
    let kernel = scribbler(u32::MAX);
    let (child, socket) = tree.session(&kernel, &["--record", "run"]);
    // Until the guest has written to some pages.
    wait_until(&socket, 1_000_000);
    ctl(&socket, &["snapshot", "taken"]);
    quit(child, &socket);
    let verify = |name: &str| Program::new(&["verify", &tree.node(name), "--json"]).run();
    let sound = json(&verify("taken").expect_status(0).console);
    assert_eq!(
        (&sound["same"], &sound["digests"], sound["pages"].as_u64() > Some(10)),
        (&true.into(), &1.into(), true)
    );
    assert_eq!(json(&verify("run").expect_status(0).console)["same"], true);
    let text = Program::new(&["verify", &tree.node("taken")]).run().expect_status(0).console;
    assert!(text.contains("the same") && text.contains("pages"), "{text}");

    let (taken, run) = (tree.find("taken")["id"].clone(), tree.find("run")["id"].clone());
    let ids = [taken, run].map(|id| id.as_str().expect("an id").to_owned());
    let mut kinds = Vec::new();
    with_each_file_damaged(&tree.0, |path| {
        let outcomes = ids.each_ref().map(|id| verify(id));
        let names_it = |outcome: &Outcome| match outcome.status {
            Some(0) => false,
            Some(1) => {
                let said = json(&outcome.console);
                assert_eq!(said["same"], false);
                let damage = said["damage"].as_array().expect("a list");
                // A recording is told by the name that was given for it.
                damage.iter().any(|sentence| {
                    let sentence = sentence.as_str().expect("a sentence");
                    sentence.contains(path) || path.contains("/recordings/") && sentence.contains(&ids[1])
                })
            }
            Some(2) => outcome.errors.contains(path),
            other => panic!("{other:?}: {}", outcome.errors),
        };
        assert!(outcomes.iter().any(names_it), "{path}: {outcomes:?}");
        // The tree can be drawn whatever is damaged in it.
        Program::new(&["tree", &tree.0]).run().expect_status(0);
        kinds.push(Path::new(path).extension().expect("an ending").to_owned());
    });
    kinds.dedup();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["cvr", "node", "pack", "state"]);
    Program::new(&["verify", &tree.node("run")]).run().expect_status(0);
}
