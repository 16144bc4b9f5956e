//! Every target with its committed inputs and with seeded random ones, on any compiler: `CHRONOVISOR_CASES=n` of them, from
//! `CHRONOVISOR_FIRST=number` on.

use std::path::Path;

use fuzz_cases::TARGETS;
use fuzz_cases::lockstep::engines::translator_missing;
use fuzz_cases::script::mix;

/// Runs what a target has committed, and `count` random inputs of up to `max_len` bytes.
fn smoke(name: &str, count: u64, max_len: u64) {
    let &(_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    let mut files = 0;
    // What was found with one engine is tried on the other, too: both read their bytes alike.
    let names = if name == "translator" { &["translator", "interpreter"][..] } else { &[name] };
    for (kind, name) in ["seeds", "regressions"].iter().flat_map(|kind| names.iter().map(move |name| (kind, name))) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(kind).join(name);
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("a directory can be listed").path();
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("a committed file can be read"));
            files += 1;
        }
    }
    println!("{files} committed inputs");
    let first = number("CHRONOVISOR_FIRST").unwrap_or(0);
    for seed in first..first + number("CHRONOVISOR_CASES").unwrap_or(count) {
        // Printed when the test fails: this is all that is needed to repeat it.
        println!("{name}: random input {seed}");
        target(&random(seed, max_len));
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn random(seed: u64, max_len: u64) -> Vec<u8> {
    let start = mix(seed ^ 0x5eed_0000_0000);
    let words = 1 + start % max_len / 8;
    (1..=words).flat_map(|i| mix(start.wrapping_add(i << 32)).to_le_bytes()).collect()
}

#[test]
fn boot() {
    smoke("boot", 400, 160);
}

#[test]
fn decoder() {
    smoke("decoder", 3000, 256);
}

#[test]
fn devices() {
    smoke("devices", 1000, 2048);
}

#[test]
fn interpreter() {
    smoke("interpreter", 1000, 512);
}

#[test]
fn machine() {
    smoke("machine", 60, 1024);
}

#[test]
fn recording() {
    smoke("recording", 200, 128);
}

#[test]
fn restore() {
    smoke("restore", 600, 512);
}

#[test]
fn translator() {
    if let Some(reason) = translator_missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    smoke("translator", 1000, 512);
}

#[test]
fn store() {
    smoke("store", 300, 96);
}

#[test]
#[ignore = "minutes"]
fn long() {
    for (name, _) in TARGETS.iter().filter(|(name, _)| *name != "translator" || translator_missing().is_none()) {
        smoke(name, 30_000, 1024);
    }
}

#[test]
fn every_target_has_its_file() {
    for (name, _) in TARGETS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets").join(format!("{name}.rs"));
        assert!(file.exists(), "{} is missing", file.display());
    }
}
