//! Recordings and snapshots of running machines: over the control socket, and on a full disk.

mod recording_support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use recording_support::{ctl, ended, json, scratch, wait_until};
use vm_tests::bare_metal::{self, scribbler};
use vm_tests::{Guest, Program, Running};

/// Rounds of a guest that does not end while a test looks at it.
const FOR_EVER: u32 = u32::MAX;

/// A machine under way with a control socket.
fn controlled(more: &[&str]) -> (Running, String) {
    let (kernel, socket) = (scribbler(FOR_EVER), scratch("socket"));
    let kernel = kernel.to_str().expect("a plain path");
    let options = [&["run", "--kernel", kernel, "--memory", "32M", "--control", &socket], more].concat();
    (Program::new(&options).spawn(), socket)
}

#[test]
fn a_session_is_recorded_from_its_middle() {
    let (mut child, socket) = controlled(&[]);
    let (file, snapshot) = (scratch("middle.cvr"), scratch("snapshot.cvr"));
    assert_eq!(ctl(&socket, &["status"])["recording"], serde_json::Value::Null);
    let refused = Program::new(&["ctl", &socket, "mark", "early"]).run().expect_status(2);
    assert!(refused.errors.contains("nothing is being recorded"), "{}", refused.errors);

    ctl(&socket, &["record", "start", &file]);
    let again = Program::new(&["ctl", &socket, "record", "start", &file]).run().expect_status(2);
    assert!(again.errors.contains("already"), "{}", again.errors);
    let mark = ctl(&socket, &["mark", "here"]);
    let taken = ctl(&socket, &["snapshot", &snapshot]);
    assert_eq!(ctl(&socket, &["pause"])["state"], "paused");
    let first = ctl(&socket, &["status"]);
    assert_eq!(ctl(&socket, &["status"])["insns"], first["insns"]);
    assert_eq!(ctl(&socket, &["resume"])["state"], "running");
    ctl(&socket, &["record", "stop"]);
    ctl(&socket, &["quit"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(10));

    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    assert_eq!(info["marks"][0]["insns"], mark["insns"]);
    assert!(info["start"]["insns"].as_u64() > Some(0), "{info}");
    assert_eq!(info["end_reason"], "stopped");
    Program::new(&["verify", &file]).run().expect_status(0);
    Program::new(&["replay", &file]).run().expect_status(0);
    let at_mark = Program::new(&["replay", &file, "--to", "here+1000i", "--digest"]).run().expect_status(0);
    assert_eq!(Some(at_mark.insns()), mark["insns"].as_u64().map(|insns| insns + 1000));

    // A snapshot is a place to go on from, the same as in the recording.
    let on = taken["insns"].as_u64().expect("a number") + 1_000_000;
    let options = ["--go-live", "--clock", "virtual", "--max-insns", &on.to_string(), "--digest"];
    let live = Program::new(&[&["replay", &snapshot], options.as_slice()].concat()).run().expect_status(8);
    let replayed = Program::new(&["replay", &file, "--to", &on.to_string(), "--digest"]).run();
    if replayed.status == Some(0) {
        assert_eq!(live.digest, replayed.digest);
    }
    ended(&[&file, &snapshot]);
}

/// A small file system that is unmounted at the end.
struct SmallDisk(String);

impl SmallDisk {
    /// `None`, said loudly, if this host does not let the test mount one.
    fn mount(size: &str) -> Option<Self> {
        let path = scratch("small-disk");
        std::fs::create_dir_all(&path).expect("the scratch directory can be written");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none", &path]).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk(path));
        }
        eprintln!("SKIPPED: a recording on a full disk: mounting a small tmpfs needs root");
        None
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options, &self.0]).status();
        assert!(status.expect("mount can be started").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_the_machine_waits_for_room_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let file = format!("{}/full.cvr", disk.0);
    // It scribbles for as long as it takes until the disk is full.
    let (mut child, socket) = controlled(&["--record", &file]);
    let mut errors = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("standard error is text");
    assert!(line.contains("paused") && line.contains("when there is room"), "{line}");
    let paused = ctl(&socket, &["status"])["insns"].as_u64();
    assert_eq!(ctl(&socket, &["status"])["insns"].as_u64(), paused);
    disk.resize("512m");
    let mut goes_on = String::new();
    errors.read_line(&mut goes_on).expect("standard error is text");
    assert!(goes_on.contains("goes on"), "{goes_on}");
    ctl(&socket, &["quit"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(10));
    let verified = Program::new(&["verify", &file]).run().expect_status(0);
    assert!(verified.console.contains("the same"), "{}", verified.console);
    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    assert_eq!((&info["cut_short"], &info["end_reason"]), (&false.into(), &"stopped".into()));
    assert!(info["end"]["insns"].as_u64() >= paused, "{info}");
}

#[test]
fn on_a_full_disk_a_recording_in_a_tree_waits_for_room_too() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let tree = format!("{}/tree", disk.0);
    let (mut child, socket) = controlled(&["--tree", &tree]);
    // By then the guest has written more than there is room for.
    wait_until(&socket, 40_000_000);
    let mut start = Program::new(&["ctl", &socket, "record", "start", "run"]).spawn_unheard();
    let mut errors = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("standard error is text");
    assert!(line.contains("paused") && line.contains("state that the recording begins with"), "{line}");
    disk.resize("512m");
    assert!(start.wait().expect("it ends").success());
    ctl(&socket, &["quit"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(10));
    Program::new(&["verify", &format!("{tree}:run")]).run().expect_status(0);
}

#[test]
fn a_snapshot_to_a_file_is_whole_or_not_there() {
    let (mut child, socket) = controlled(&[]);
    let taken = scratch("taken.cvr");
    let at = ctl(&socket, &["snapshot", &taken])["insns"].as_u64();
    let info = json(&Program::new(&["info", &taken, "--json"]).run().expect_status(0).console);
    assert_eq!((info["start"]["insns"].as_u64(), info["end"]["insns"].as_u64()), (at, at));
    assert_eq!(info["cut_short"], false);
    let verified = json(&Program::new(&["verify", &taken, "--json"]).run().expect_status(0).console);
    assert_eq!((&verified["same"], &verified["states"]), (&true.into(), &1.into()));
    // Whoever asks hears what is wrong, and nothing is written over.
    let before = std::fs::read(&taken).expect("the snapshot");
    for (path, sentence) in
        [(taken.as_str(), "exists already"), ("/", "not a regular file"), ("/nowhere/x.cvr", "cannot create")]
    {
        let refused = Program::new(&["ctl", &socket, "snapshot", path]).run().expect_status(2);
        assert!(refused.errors.contains(sentence), "{}", refused.errors);
    }
    assert_eq!(std::fs::read(&taken).expect("the snapshot"), before);
    // Several at once are taken one after the other.
    let several: Vec<String> = (0..4).map(|number| scratch(&format!("{number}.cvr"))).collect();
    let asking: Vec<Running> =
        several.iter().map(|path| Program::new(&["ctl", &socket, "snapshot", path]).spawn_unheard()).collect();
    asking.into_iter().for_each(|mut asking| assert!(asking.wait().expect("it ends").success()));
    for path in &several {
        Program::new(&["verify", path]).run().expect_status(0);
        ended(&[path]);
    }
    if let Some(disk) = SmallDisk::mount("2m") {
        // By then the guest has written more than there is room for.
        wait_until(&socket, 40_000_000);
        let path = format!("{}/full.cvr", disk.0);
        let refused = Program::new(&["ctl", &socket, "snapshot", &path]).run().expect_status(2);
        assert!(
            refused.errors.contains("No space left") && refused.errors.contains("nothing is left"),
            "{}",
            refused.errors
        );
        assert_eq!(std::fs::read_dir(&disk.0).expect("the directory").count(), 0);
        // The guest runs on, and with room a snapshot is taken.
        disk.resize("512m");
        ctl(&socket, &["snapshot", &path]);
        Program::new(&["verify", &path]).run().expect_status(0);
    }
    ctl(&socket, &["quit"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(10));
    ended(&[&taken]);
}

/// Fills 8 MiB, asks for the snapshots `a` to `l` in a row, works, and leaves.
fn asking_for_snapshots() -> PathBuf {
    bare_metal::build(
        "
        mov $0x400000, %edi
        mov $0x200000, %ecx
        mov $0x12345678, %eax
        rep stosl
        mov $'a', %ebx
    1:  mov $0x5c8, %dx
        mov %bl, %al
        out %al, %dx
        mov $0x5c0, %dx
        mov $4, %al
        out %al, %dx
        inc %ebx
        cmp $'m', %ebx
        jne 1b
        putc $'.'
        mov $50000000, %ecx
    2:  loop 2b
        debug_exit $0
    ",
    )
}

#[test]
fn snapshots_that_the_guest_asks_for_take_turns_and_are_few() {
    let directory = scratch("guest-files");
    std::fs::create_dir(&directory).expect("the scratch directory can be written");
    let options = &["--debug-exit", "--guest-files", &directory];
    let outcome = Guest::kernel(&asking_for_snapshots()).options(options).run().expect_status(1);
    // The first is taken at once, eight wait, and what is more is refused.
    let taken: Vec<u64> = ('a'..='i')
        .map(|name| {
            let path = format!("{directory}/{name}.cvr");
            assert!(outcome.errors.contains(&format!("took the snapshot \"{path}\"")), "{name}: {}", outcome.errors);
            let info = json(&Program::new(&["info", &path, "--json"]).run().expect_status(0).console);
            info["start"]["insns"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(std::fs::read_dir(&directory).expect("the directory").count(), taken.len());
    for name in ["j", "k", "l"] {
        let refused = format!("the guest asked for a snapshot: \"{name}\" is refused: 8 others still wait");
        assert!(outcome.errors.contains(&refused), "{name}: {}", outcome.errors);
    }
    // The copy of the first was not ended for the second, which is taken when the guest has run on: it asked within ten instructions.
    assert!(taken[1] > taken[0] + 1000, "{taken:?}");
    assert!(taken.is_sorted(), "{taken:?}");
    for name in ["a", "i"] {
        Program::new(&["verify", &format!("{directory}/{name}.cvr")]).run().expect_status(0);
    }
    std::fs::remove_dir_all(directory).expect("the directory is there");
}
