//! Processes that are killed (`kill -9`) at random moments: every file and every tree opens, says what is missing, and what was
//! recorded earlier is as it was.

mod recording_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use recording_support::tree::{Tree, files_below};
use recording_support::{ctl, ended, json, quit, scratch, times, wait_until};
use vm_tests::bare_metal::{scribbler, wide_scribbler};
use vm_tests::{Program, Rng, Running};

/// Rounds of a guest that does not end while a test looks at it.
const FOR_EVER: u32 = u32::MAX;

/// A machine under way with a control socket.
fn session(kernel: &Path, more: &[&str]) -> (Running, String) {
    let (kernel, socket) = (kernel.to_str().expect("a plain path"), scratch("socket"));
    let options = [&["run", "--kernel", kernel, "--memory", "32M", "--control", &socket], more].concat();
    (Program::new(&options).spawn(), socket)
}

fn kill(mut child: Running) {
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

/// How long to wait at most before a process is killed, so that about half of them have done what they were asked for by then: the
/// host may be quick or busy.
struct Window(Duration);

impl Window {
    /// Asks the session for something and kills it at a random moment.
    fn killed_while(&self, rng: &mut Rng, child: Running, socket: &str, command: &[&str]) {
        let mut asking = Program::new(&[&["ctl", socket], command].concat()).spawn_unheard();
        std::thread::sleep(Duration::from_micros(rng.below(self.0.as_micros() as u64)));
        kill(child);
        asking.wait().expect("it ends");
    }

    /// The last one had done it, or had not.
    fn learn(&mut self, done: bool) {
        self.0 = if done { self.0 * 3 / 4 } else { self.0 * 4 / 3 }.min(Duration::from_secs(5));
    }
}

fn verify(what: &str) -> String {
    Program::new(&["verify", what]).run().expect_status(0).console
}

/// Whether the recording has begun; it is as good as it says then, and says what is missing otherwise.
fn has_begun(file: &str) -> bool {
    let info = Program::new(&["info", file, "--json"]).run();
    if info.status == Some(2) {
        let sentences = ["initial state", "is empty", "damaged or cut off"];
        assert!(sentences.iter().any(|sentence| info.errors.contains(sentence)), "{}", info.errors);
        return false;
    }
    assert_eq!(json(&info.expect_status(0).console)["cut_short"], true);
    assert!(verify(file).contains("cut short"));
    true
}

#[test]
fn a_killed_recorder_leaves_a_recording_that_replays() {
    let times = times(6, 200);
    let mut rng = Rng::new(1);
    let mut whole = 0;
    for time in 0..times {
        let file = scratch("killed.cvr");
        // With little room for checkpoints the file is thinned out now and then.
        let budget = if time % 2 == 0 { "128M" } else { "12M" };
        let (child, socket) = session(&scribbler(FOR_EVER), &["--record", &file, "--record-budget", budget]);
        let before = ctl(&socket, &["status"])["insns"].as_u64().expect("a number");
        let wait_ms = rng.below(2000);
        std::thread::sleep(Duration::from_millis(wait_ms));
        kill(child);
        if has_begun(&file) {
            whole += 1;
            // At most a second of the host's time is lost.
            let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
            let end = info["end"]["insns"].as_u64().expect("a number");
            assert!(wait_ms < 1000 || end >= before, "{time}: after {wait_ms} ms it ends at {end}, before {before}");
        }
        ended(&[&file]);
    }
    assert!(whole > times / 2, "only {whole} of {times} recordings had begun");
}

#[test]
fn killed_while_the_initial_state_is_written() {
    let times = times(4, 60);
    let mut rng = Rng::new(31);
    let kernel = wide_scribbler(24, FOR_EVER);
    let mut window = Window(Duration::from_millis(300));
    let (mut begun, mut in_the_middle) = (0, 0);
    for _ in 0..times {
        let (earlier, file) = (scratch("earlier.cvr"), scratch("killed.cvr"));
        let (child, socket) = session(&kernel, &["--record", &earlier]);
        // By then it has written to all of its pages.
        wait_until(&socket, 60_000_000);
        ctl(&socket, &["record", "stop"]);
        window.killed_while(&mut rng, child, &socket, &["record", "start", &file]);
        // Perhaps it had not come to it.
        let exists = Path::new(&file).exists();
        let whole = exists && has_begun(&file);
        if exists {
            ended(&[&file]);
        }
        (begun, in_the_middle) = (begun + usize::from(whole), in_the_middle + usize::from(exists && !whole));
        window.learn(whole);
        assert!(verify(&earlier).contains("the same"));
        ended(&[&earlier]);
    }
    println!("{begun} of {times} recordings had begun, {in_the_middle} were killed with a part of their state written");
    assert!(times < 60 || begun > 0 && in_the_middle > 0, "{begun} had begun, {in_the_middle} in part");
}

/// The file that will take the place of `file`.
fn beside(file: &str) -> PathBuf {
    let (directory, name) = file.rsplit_once('/').expect("a whole path");
    Path::new(directory).join(format!(".{name}.new"))
}

#[test]
fn killed_while_the_file_is_thinned_out() {
    let times = times(3, 60);
    let mut rng = Rng::new(32);
    let kernel = scribbler(FOR_EVER);
    let mut in_the_middle = 0;
    for time in 0..times {
        let file = scratch("killed.cvr");
        let beside = beside(&file);
        // Room for five checkpoints: with less there is nothing that thinning could leave out.
        let (child, socket) = session(&kernel, &["--record", &file, "--record-budget", "40M"]);
        let before = ctl(&socket, &["status"])["insns"].as_u64().expect("a number");
        // What is flushed by now must not be lost.
        std::thread::sleep(Duration::from_millis(1100));
        let start = Instant::now();
        while !beside.exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "{time}: it is never thinned out");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(rng.below(40_000)));
        kill(child);
        in_the_middle += usize::from(beside.exists());
        assert!(has_begun(&file), "{time}");
        let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
        assert!(info["end"]["insns"].as_u64() >= Some(before), "{time}: {info}, before {before}");
        let _ = fs::remove_file(&beside);
        ended(&[&file]);
    }
    println!("{in_the_middle} of {times} were killed before the new file had taken the place of the old");
    assert!(times < 60 || in_the_middle > 0, "none was killed in the middle");
}

#[test]
fn killed_while_a_snapshot_goes_to_a_file() {
    let times = times(4, 60);
    let mut rng = Rng::new(33);
    let kernel = wide_scribbler(24, FOR_EVER);
    let (earlier, file) = (scratch("earlier.cvr"), scratch("killed.cvr"));
    let mut window = Window(Duration::from_millis(300));
    let mut taken = 0;
    for _ in 0..times {
        let (child, socket) = session(&kernel, &[]);
        wait_until(&socket, 60_000_000);
        if !Path::new(&earlier).exists() {
            ctl(&socket, &["snapshot", &earlier]);
        }
        window.killed_while(&mut rng, child, &socket, &["snapshot", &file]);
        // It is there, and then it is whole, or it is not.
        window.learn(Path::new(&file).exists());
        if Path::new(&file).exists() {
            taken += 1;
            assert!(!verify(&file).contains("cut short"));
            ended(&[&file]);
        }
        assert!(!verify(&earlier).contains("cut short"));
    }
    ended(&[&earlier]);
    // What the last one that was killed has left, if it has.
    let _ = fs::remove_file(beside(&file));
    println!("{taken} of {times} snapshots were taken");
    assert!(times < 60 || (1..times).contains(&taken), "{taken} of {times} snapshots were taken");
}

/// Every node is whole, and nothing is left behind when the rest is collected.
fn is_sound(tree: &Tree) {
    for node in tree.nodes() {
        let id = node["id"].as_str().expect("an id");
        // A recording that has not begun says so; its node and its state are there.
        if node["kind"] == "snapshot" || !node["cut_short"].is_null() {
            verify(&tree.node(id));
        }
    }
    Program::new(&["tree", &tree.0, "gc"]).run().expect_status(0);
    let is_unfinished = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "new");
    assert_eq!(files_below(Path::new(&tree.0)).into_iter().filter(is_unfinished).count(), 0);
}

#[test]
fn a_killed_session_leaves_a_tree_that_opens() {
    let mut rng = Rng::new(7);
    let mut tree = Tree::new();
    let kernel = scribbler(FOR_EVER);
    let mut window = Window(Duration::from_millis(150));
    for _ in 0..times(4, 100) {
        let known = tree_size(&tree);
        let (child, socket) = tree.session(&kernel, &["--record", "run"]);
        ctl(&socket, &["status"]);
        window.killed_while(&mut rng, child, &socket, &["snapshot", "s"]);
        // The recording's node, and the snapshot's.
        window.learn(tree_size(&tree) > known + 1);
        is_sound(&tree);
        assert!(tree_size(&tree) >= known, "nodes that were there before are lost");
        if tree_size(&tree) > 12 {
            // All of them are looked at each time.
            tree = Tree::new();
        }
    }
}

fn tree_size(tree: &Tree) -> usize {
    if Path::new(&tree.0).exists() { tree.nodes().len() } else { 0 }
}

/// A tree with eight snapshots of a guest that changes all of its memory between them.
fn eight_snapshots() -> Tree {
    let tree = Tree::new();
    let (child, socket) = tree.session(&scribbler(FOR_EVER), &[]);
    for number in 0..8 {
        ctl(&socket, &["snapshot", &format!("s{number}")]);
    }
    quit(child, &socket);
    tree
}

#[test]
fn killed_in_the_middle_of_deleting_the_others_stay() {
    let mut rng = Rng::new(8);
    let tree = eight_snapshots();
    let digests: Vec<String> = (0..8).map(|number| tree.digest(&format!("s{number}"))).collect();
    for time in 0..times(6, 100) {
        let name = format!("s{}", time % 8);
        let delete = Program::new(&["tree", &tree.0, "delete", &name]).spawn_unheard();
        std::thread::sleep(Duration::from_micros(rng.below(60_000)));
        kill(delete);
        for node in tree.nodes() {
            let number: usize = node["name"].as_str().expect("a name")[1..].parse().expect("a number");
            assert_eq!(tree.digest_of(&node), digests[number], "s{number} after {name} was being deleted");
        }
        is_sound(&tree);
    }
    for node in tree.nodes() {
        tree.delete(node["name"].as_str().expect("a name"));
    }
    assert_eq!(tree.bytes(), 0);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch directory can be written");
    for entry in fs::read_dir(from).expect("a directory") {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn killed_in_the_middle_of_collecting_what_is_used_stays() {
    let mut rng = Rng::new(34);
    let original = eight_snapshots();
    // Half of the snapshots are deleted as by a process that was killed before it had collected what they used.
    for number in [0, 3, 4, 6] {
        let id = original.find(&format!("s{number}"))["id"].as_str().expect("an id").to_owned();
        fs::remove_file(format!("{}/nodes/{id}.node", original.0)).expect("it is there");
    }
    let collected = Tree::new();
    copy(Path::new(&original.0), Path::new(&collected.0));
    is_sound(&collected);
    assert!(collected.bytes() < original.bytes());
    let mut in_the_middle = 0;
    for time in 0..times(6, 100) {
        let tree = Tree::new();
        copy(Path::new(&original.0), Path::new(&tree.0));
        let gc = Program::new(&["tree", &tree.0, "gc"]).spawn_unheard();
        std::thread::sleep(Duration::from_micros(rng.below(120_000)));
        kill(gc);
        in_the_middle += usize::from(![original.bytes(), collected.bytes()].contains(&tree.bytes()));
        assert_eq!(tree.nodes().len(), 4, "{time}");
        is_sound(&tree);
        assert_eq!(tree.bytes(), collected.bytes(), "{time}");
    }
    println!("{in_the_middle} were killed with a part of it done");
}
