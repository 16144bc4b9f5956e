//! Interpreter and translator are one to a guest: Debian's kernel on both, compared all along the way, and recordings that go from one
//! to the other.

mod recording_support;

use machine::StopReason;
use recording_support::{TYPED, json, scratch};
use vm_tests::bare_metal::echo;
use vm_tests::debian::{Debian, MAX_INSNS};
use vm_tests::lockstep::{Plan, engines_agree};
use vm_tests::{Guest, Program};

/// Looks at the first part of a boot, in the middle of which the kernel's own code is patched.
const SLICE: Plan = Plan { every: 2_000_000, digest_every: 10, max_insns: 120_000_000, longest: 1 << 20, seed: 1 };

#[test]
fn debian_starts_in_lockstep() {
    let Some(guest) = Debian::new() else { return };
    let compared = engines_agree(&|engine| guest.executed_by(engine), SLICE);
    println!("{compared:?}");
    assert_eq!((compared.stop, compared.insns), (StopReason::Until, SLICE.max_insns));
}

#[test]
fn debian_starts_in_lockstep_with_two_vcpus_and_avx2() {
    let Some(guest) = Debian::new() else { return };
    let guest = guest.vcpus(2).v3();
    let compared = engines_agree(&|engine| guest.executed_by(engine), Plan { seed: 2, ..SLICE });
    println!("{compared:?}");
    assert_eq!((compared.stop, compared.insns), (StopReason::Until, SLICE.max_insns));
}

/// Whole boots in lockstep, with a digest every million steps: in pieces of all lengths, and then in short ones only.
fn boots_in_lockstep(configure: impl Fn(Debian) -> Debian, seed: u64) {
    let Some(guest) = Debian::new().map(configure) else { return };
    for longest in [1 << 20, 1 << 10] {
        let plan = Plan { every: 1_000_000, digest_every: 1, max_insns: MAX_INSNS, longest, seed };
        let compared = engines_agree(&|engine| guest.executed_by(engine), plan);
        println!("seed {seed}, pieces up to {longest}: {compared:?}");
        assert_eq!(compared.stop, StopReason::PowerOff);
    }
}

#[test]
#[ignore = "long: whole boots with a digest every million steps"]
fn debian_boots_in_lockstep() {
    boots_in_lockstep(|guest| guest, 3);
}

#[test]
#[ignore = "long: whole boots with a digest every million steps"]
fn debian_boots_in_lockstep_with_two_vcpus() {
    boots_in_lockstep(|guest| guest.vcpus(2), 4);
}

#[test]
#[ignore = "long: whole boots with a digest every million steps"]
fn debian_boots_in_lockstep_with_avx2() {
    boots_in_lockstep(Debian::v3, 5);
}

#[test]
#[ignore = "long: whole boots with a digest every million steps"]
fn debian_boots_in_lockstep_with_two_vcpus_and_avx2() {
    boots_in_lockstep(|guest| guest.vcpus(2).v3(), 6);
}

#[test]
fn a_recording_replays_on_the_other_engine() {
    let kernel = echo();
    let mut digests = Vec::new();
    for (recorder, name, replayer) in [("interp", "interpreter", "jit"), ("jit", "translator", "interp")] {
        let file = scratch("engines.cvr");
        let options = &["--debug-exit", "--digest", "--engine", recorder, "--record", &file];
        let run = Guest::kernel(&kernel).options(options).stdin_file(TYPED).run().expect_status(1);
        let info = json(&Program::new(&["info", &file, "--json"]).run().expect_status(0).console);
        assert_eq!(info["configuration"]["engine"], name);
        for options in [&[][..], &["--engine", replayer], &["--engine", replayer, "--from", "50%"]] {
            let replay = Program::new(&[&["replay", &file, "--digest"], options].concat()).run().expect_status(0);
            assert!(replay.errors.contains("matched"), "{options:?}: {}", replay.errors);
            assert_eq!(replay.digest, run.digest, "recorded by {recorder}, replayed with {options:?}");
        }
        digests.push(run.digest);
    }
    assert_eq!(digests[0], digests[1], "the same run by both engines");
}
