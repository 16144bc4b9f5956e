//! Debian's kernel with a script of ordinary commands, in the test's own process: the same bits in one go, in
//! pieces of random length, and through saved state, once through another process.

use std::process::Command;

use machine::{EngineKind, Idle, Machine, StopReason};
use vm_tests::debian::{Debian, MAX_INSNS, expect_commands};
use vm_tests::runs::{self, Outcome, Scenario};
use vm_tests::{Rng, Scratch, state_file};
use x86::InsnCount;

/// The longest piece that a run is cut into, in steps; most are far shorter.
const LONGEST_PIECE: u64 = 1 << 20;
/// The environment variable that tells this program, started anew, which saved state to go on from.
const STATE: &str = "CHRONOVISOR_TEST_STATE";

fn scenario(make: &dyn Fn(EngineKind) -> Machine) -> Scenario<'_> {
    Scenario { make, engine: EngineKind::Interpreter, inputs: &[], max_insns: MAX_INSNS }
}

/// Boots in one go and demands what the commands print.
fn boot(guest: &Debian, vcpus: u8) -> Outcome {
    let outcome = runs::straight(&scenario(&|engine| guest.executed_by(engine)));
    assert_eq!(outcome.stop, StopReason::PowerOff, "{}", outcome.serial);
    expect_commands(&outcome.serial, vcpus);
    outcome
}

/// Boots in one go, in pieces and through saved state.
fn boots_alike(guest: &Debian, vcpus: u8, seed: u64) {
    let first = boot(guest, vcpus);
    let make = |engine| guest.executed_by(engine);
    let pieces = runs::in_pieces(&scenario(&make), LONGEST_PIECE, seed);
    assert_alike(&pieces, &first, "a run in pieces", seed);
    let saved = runs::through_saved_state(&scenario(&make), first.insns, 5, seed);
    assert_alike(&saved, &first, "a run through saved state", seed);
}

fn assert_alike(run: &Outcome, first: &Outcome, what: &str, seed: u64) {
    let ending = |outcome: &Outcome| (outcome.stop, outcome.insns, outcome.digest.clone());
    assert_eq!(ending(run), ending(first), "{what} differs (seed {seed})");
    assert_eq!(run.serial, first.serial, "{what} printed otherwise (seed {seed})");
}

#[test]
fn one_vcpu() {
    let Some(guest) = Debian::new() else { return };
    boots_alike(&guest, 1, 1);
}

#[test]
fn two_vcpus_with_avx2_without_kaslr() {
    let Some(guest) = Debian::new() else { return };
    boots_alike(&guest.vcpus(2).v3().append("nokaslr"), 2, 2);
}

#[test]
fn four_vcpus() {
    let Some(guest) = Debian::new() else { return };
    boots_alike(&guest.vcpus(4), 4, 3);
}

#[test]
fn varied_turns_of_the_vcpus() {
    let Some(guest) = Debian::new() else { return };
    boot(&guest.vcpus(3).v3().chaos(7), 3);
}

/// Runs half of a boot here and the rest in another process, which knows only the file with the saved state.
#[test]
fn another_process_goes_on() {
    let Some(guest) = Debian::new() else { return };
    let guest = guest.vcpus(2);
    if let Some(path) = std::env::var_os(STATE) {
        let mut machine = guest.empty_machine();
        state_file::read(&mut machine, path.as_ref()).expect("the state was saved by such a machine");
        let stop = machine.run(InsnCount(MAX_INSNS), Idle::Jump);
        println!("\nended {stop:?} {} {}", machine.insn_count().0, machine.digest());
        return;
    }
    let mut machine = guest.machine();
    let half = 700_000_000 + Rng::new(4).below(100_000_000);
    assert_eq!(machine.run(InsnCount(half), Idle::Jump), StopReason::Until);
    let scratch = Scratch::new("state").expect("the system's temporary directory can be written");
    let path = scratch.path().join("state");
    state_file::write(&machine, &path).expect("the system's temporary directory has room");

    let program = std::env::current_exe().expect("this program has a path");
    let mut other = Command::new(program);
    other.args(["--exact", "another_process_goes_on", "--nocapture", "--test-threads=1"]).env(STATE, &path);
    let output = other.output().expect("this program can be started again");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let stop = machine.run(InsnCount(MAX_INSNS), Idle::Jump);
    let expected = format!("ended {stop:?} {} {}", machine.insn_count().0, machine.digest());
    assert!(output.lines().any(|line| line == expected), "{expected}, here; the other process:\n{output}");
}

#[test]
#[ignore = "long: many boots"]
fn every_number_of_vcpus_many_ways() {
    let Some(guest) = Debian::new() else { return };
    for vcpus in 1..=8 {
        for seed in 10..13 {
            boots_alike(&guest.clone().vcpus(vcpus), vcpus, seed);
            boots_alike(&guest.clone().vcpus(vcpus).v3().chaos(seed), vcpus, seed);
        }
    }
}
