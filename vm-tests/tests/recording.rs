//! Recordings by way of the program: what was recorded comes again, from any position, and whatever happened to
//! the recorder.

mod recording_support;

use recording_support::{ended, json, recorded, scratch};
use vm_tests::bare_metal::{echo, resetting};
use vm_tests::{Guest, Program};

#[test]
fn a_replay_ends_as_the_run_did_with_the_same_output() {
    let (file, run) = recorded();
    let replay = Program::new(&["replay", &file, "--digest"]).run().expect_status(0);
    assert_eq!((replay.digest, replay.console), (run.digest.clone(), run.console.clone()));
    assert!(replay.errors.contains("matched"), "{}", replay.errors);

    // Being recorded changes nothing.
    let kernel = echo();
    let plain =
        Guest::kernel(&kernel).options(&["--debug-exit", "--digest"]).stdin_file(recording_support::TYPED).run();
    assert_eq!(plain.digest, run.digest);

    let report = json(&Program::new(&["replay", &file, "--json"]).run().expect_status(0).errors);
    assert_eq!(report["replayed"], "matched");
    assert_eq!(report["insns"], run.insns());
}

#[test]
fn verify_info_and_events_know_the_recording() {
    let (file, run) = recorded();
    let verified = json(&Program::new(&["verify", &file, "--json", "--jobs", "2"]).run().expect_status(0).console);
    assert_eq!(verified["same"], true);
    assert!(Program::new(&["verify", &file]).run().expect_status(0).console.contains("the same"));

    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    assert_eq!(info["instructions"], run.insns());
    assert_eq!(info["inputs"]["serial"], recording_support::TYPED.len());
    assert_eq!((&info["cut_short"], &info["end_reason"]), (&false.into(), &"debug-exit".into()));
    assert_eq!(
        info["file_bytes"].as_u64(),
        info["log_bytes"].as_u64().zip(info["checkpoint_bytes"].as_u64()).map(|(log, checkpoints)| log + checkpoints)
    );
    assert!(Program::new(&["info", &file]).run().expect_status(0).console.contains("serial"));

    let events = Program::new(&["events", &file, "--json"]).run().expect_status(0).console;
    let bytes: Vec<u8> = events.lines().map(|line| json(line)["byte"].as_u64().expect("a byte") as u8).collect();
    assert_eq!(bytes, recording_support::TYPED.as_bytes());
    let count = |from: &str, to: &str| {
        let events = Program::new(&["events", &file, "--from", from, "--to", to]).run().expect_status(0);
        events.console.lines().count()
    };
    assert_eq!(count("start", "50%") + count("50%", "end"), bytes.len());
}

#[test]
fn positions_of_every_form_are_gone_to() {
    let (file, run) = recorded();
    let end = run.insns();
    let at = |position: &str| {
        let outcome = Program::new(&["replay", &file, "--to", position, "--digest"]).run().expect_status(0);
        (outcome.insns(), outcome.digest.expect("a digest"))
    };
    let kernel = echo();
    for insns in [1, 200_000, 200_001, end - 1000] {
        let limit = insns.to_string();
        let options = &["--debug-exit", "--digest", "--max-insns", &limit];
        let straight = Guest::kernel(&kernel).options(options).stdin_file(recording_support::TYPED).run();
        assert_eq!(Some(at(&limit).1), straight.digest, "at {insns}");
    }
    assert_eq!(at("start").0, 0);
    assert_eq!(at("start+5i"), at("5"));
    assert_eq!(at("end-1000i"), at(&format!("{}i", end - 1000)));
    assert_eq!(at("50%").0, end / 2);
    assert_eq!(at("200us"), at("0.0002s"));
    assert_eq!(at("200us").0, 200_000);
    assert_eq!(at("end").0, end);
    let from_the_middle = Program::new(&["replay", &file, "--from", "50%", "--digest"]).run().expect_status(0);
    assert_eq!(from_the_middle.digest, run.digest);
}

#[test]
fn going_live_makes_a_branch() {
    let (file, run) = recorded();
    let branch = scratch("branch.cvr");
    let options = ["replay", &file, "--to", "50%", "--go-live", "--record", &branch, "--digest"];
    let live = Program::new(&options).stdin_file("branch q").run().expect_status(1);
    assert!(live.console.trim_end().ends_with("branch q"), "{}", live.console);
    assert_ne!(live.digest, run.digest);
    let replay = Program::new(&["replay", &branch, "--digest"]).run().expect_status(0);
    assert_eq!(replay.digest, live.digest);
    // Going live from a position needs no second one.
    let from_there = ["replay", &file, "--from", "50%", "--go-live", "--digest"];
    let again = Program::new(&from_there).stdin_file("branch q").run().expect_status(1);
    assert_eq!((again.console.trim_end(), again.digest), ("branch q", live.digest), "{}", again.errors);
    // The old path stays.
    Program::new(&["verify", &file]).run().expect_status(0);
    let ended = Program::new(&["replay", &file, "--go-live"]).run().expect_status(2);
    assert!(ended.errors.contains("--to"), "{}", ended.errors);
}

#[test]
fn a_recording_goes_on_over_a_reset() {
    let kernel = resetting();
    let file = scratch("reset.cvr");
    let options = &["--debug-exit", "--digest", "--record", &file];
    let run = Guest::kernel(&kernel).options(options).stdin_file("rrx").run().expect_status(1);
    assert_eq!(run.console.trim_end(), "rrx");
    let replay = Program::new(&["replay", &file, "--digest"]).run().expect_status(0);
    assert_eq!((replay.console, replay.digest), (run.console, run.digest));
    Program::new(&["verify", &file]).run().expect_status(0);
}

#[test]
fn what_cannot_be_used_is_one_sentence_and_status_2() {
    let (file, _) = recorded();
    let nonsense = scratch("nonsense.cvr");
    std::fs::write(&nonsense, "this is no recording").expect("the scratch directory can be written");
    let cases: &[&[&str]] = &[
        &["replay", "/nowhere/boot.cvr"],
        &["replay", &nonsense],
        &["info", &nonsense],
        &["verify", &nonsense],
        &["events", &nonsense],
        &["replay", &file, "--to", "no-such-mark"],
        &["replay", &file, "--to", "101%"],
        &["replay", &file, "--to", "end+1s"],
        &["replay", &file, "--speed", "fast"],
        &["replay", &file, "--record", "/tmp/x.cvr"],
        &["ctl", "/nowhere/socket", "status"],
    ];
    for options in cases {
        let outcome = Program::new(options).run();
        assert_eq!(outcome.status, Some(2), "{options:?}: {}", outcome.errors);
        assert!(!outcome.errors.is_empty() && !outcome.errors.contains("panicked"), "{options:?}: {}", outcome.errors);
    }
    // Nothing that was recorded is overwritten.
    let kernel = echo();
    let again = Guest::kernel(&kernel).options(&["--record", &file]).run().expect_status(2);
    assert!(again.errors.contains("exists already"), "{}", again.errors);
}

#[test]
fn a_damaged_digest_is_told() {
    let (file, _) = recorded();
    let mut bytes = std::fs::read(&file).expect("the recording");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = scratch("damaged.cvr");
    std::fs::write(&damaged, bytes).expect("the scratch directory can be written");
    for command in ["replay", "verify", "info"] {
        let outcome = Program::new(&[command, &damaged]).run();
        assert!(matches!(outcome.status, Some(0..=2)), "{command}: {:?} {}", outcome.status, outcome.errors);
        assert!(!outcome.errors.contains("panicked"), "{}", outcome.errors);
    }
}

#[test]
fn debians_boot_is_recorded_in_a_small_log() {
    let file = scratch("debian.cvr");
    let run = Guest::linux().append("chronovisor.quiet").options(&["--record", &file]).run().expect_status(0);
    let replay = Program::new(&["replay", &file, "--digest"]).run().expect_status(0);
    assert_eq!((replay.digest, replay.console), (run.digest.clone(), run.console.clone()));
    let verified = json(&Program::new(&["verify", &file, "--jobs", "2", "--json"]).run().expect_status(0).console);
    assert_eq!(verified["same"], true);
    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    assert_eq!(info["instructions"], run.insns());
    assert!(info["log_bytes"].as_u64().is_some_and(|bytes| bytes <= 64 << 10), "{info}");
    assert!(info["file_bytes"].as_u64().is_some_and(|bytes| bytes <= 150 << 20), "{info}");
    ended(&[&file]);
}

#[test]
fn software_in_the_guest_asks_for_recordings() {
    let directory = scratch("guest-files");
    std::fs::create_dir_all(&directory).expect("the scratch directory can be written");
    let script = "chronoctl status\nchronoctl record start mine\nchronoctl status\nchronoctl mark hello\n\
                  echo $((6 * 7))-ok\nchronoctl record stop\nchronoctl record start ../evil\nexit\n";
    let run = Guest::linux()
        .append("quiet chronovisor.shell")
        .options(&["--guest-files", &directory])
        .stdin_file(script)
        .run()
        .expect_status(0)
        .expect_console("not recorded");
    assert!(run.errors.contains("started the recording") && run.errors.contains("../evil"), "{}", run.errors);

    let file = format!("{directory}/mine.cvr");
    // It begins in the middle of the run, and ends before the guest hears that it has.
    let replay = Program::new(&["replay", &file]).run().expect_status(0).expect_console("recorded");
    replay.expect_console("42-ok");
    let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
    assert_eq!((&info["marks"][0]["name"], &info["inputs"]["recording"]), (&"hello".into(), &1.into()));
    assert_eq!(std::fs::read_dir(&directory).expect("the directory").count(), 1);
    ended(&[&file]);
}

#[test]
fn a_packed_recording_is_the_same_recording() {
    let (file, run) = recorded();
    for more in [[].as_slice(), &["--without-checkpoints"]] {
        let packed = scratch("packed.cvr");
        let options = [&["pack", &file, "-o", &packed, "--json"], more].concat();
        assert_eq!(json(&Program::new(&options).run().expect_status(0).console)["file"], packed.as_str());
        let replay = Program::new(&["replay", &packed, "--digest"]).run().expect_status(0);
        assert_eq!((&replay.digest, &replay.console), (&run.digest, &run.console));
        Program::new(&["verify", &packed]).run().expect_status(0);
        let again = Program::new(&["pack", &file, "-o", &packed]).run().expect_status(2);
        assert!(again.errors.contains("cannot create"), "{}", again.errors);
    }
    let tree = Program::new(&["tree", "/nowhere"]).run().expect_status(2);
    assert!(tree.errors.contains("no tree"), "{}", tree.errors);
}
