//! Debian's kernel with keys, serial bytes and mouse movements at random moments, recorded and replayed: every digest and every byte of
//! the console comes again.

use std::sync::Arc;

use machine::{EngineKind, Idle, Input, Machine, Output, StopReason};
use timeline::format::records::EndReason;
use timeline::replayer::Control;
use timeline::sink::MemorySink;
use timeline::verify::{Engines, verify_with};
use timeline::{MachineMaker, Recorder, RecorderOptions, Recording, Replayer, Target};
use vm_tests::Rng;
use vm_tests::debian::{Debian, MAX_INSNS};
use x86::InsnCount;

/// The first part of a boot.
const SLICE_INSNS: u64 = 60_000_000;

/// Steps between checkpoints, beside those that the recorder takes by itself.
const CHECKPOINT_INSNS: u64 = 20_000_000;

/// A recorded run: the file, the digest at the end, the console, and how many inputs it had.
struct Run {
    sink: MemorySink,
    digest: String,
    console: Vec<u8>,
    inputs: usize,
}

/// Something that a person at the machine might do.
fn random_input(rng: &mut Rng, machine: &Machine) -> Input {
    // Scan code set 2: letters, digits, return, shift, arrows, and the same released.
    const KEYS: [&[u8]; 8] =
        [&[0x1c], &[0x5a], &[0x12], &[0x29], &[0xe0, 0x75], &[0xf0, 0x1c], &[0xf0, 0x12], &[0xe0, 0xf0, 0x75]];
    match rng.below(8) {
        0..=2 if machine.serial_can_receive() => Input::SerialByte(b"abc \r\n123"[rng.below(9) as usize]),
        3 => Input::Mouse {
            right: rng.below(200) as i32 - 100,
            up: rng.below(200) as i32 - 100,
            wheel: 0,
            buttons: rng.below(8) as u8,
        },
        4 => Input::ClockTo(machine.now().after_ns(rng.below(3_000_000))),
        _ => Input::Key(KEYS[rng.below(KEYS.len() as u64) as usize].to_vec()),
    }
}

/// Records up to `max_insns` steps, or to the end, with an input about each `every` steps.
fn record(guest: &Debian, engine: EngineKind, max_insns: u64, every: u64, seed: u64) -> Run {
    let (mut rng, sink) = (Rng::new(seed), MemorySink::default());
    let mut machine = guest.executed_by(engine);
    let options = RecorderOptions { engine: engine.name().into(), ..RecorderOptions::default() };
    let mut recorder = Recorder::start(&mut machine, Box::new(sink.clone()), options).expect("it is recorded");
    let (mut console, mut inputs) = (Vec::new(), 0);
    let (mut next_input, mut next_checkpoint) = (rng.below(2 * every), CHECKPOINT_INSNS);
    let reason = loop {
        let here = machine.insn_count().0;
        if here >= max_insns {
            break EndReason::Stopped;
        }
        if here >= next_input {
            let input = random_input(&mut rng, &machine);
            recorder.input(&mut machine, input);
            inputs += 1;
            next_input = here + 1 + rng.below(2 * every);
        }
        let until = next_input.min(here + 2_000_000).min(max_insns);
        let stop = machine.run(InsnCount(until), Idle::Jump);
        console.extend(machine.take_output().serial);
        recorder.poll(&mut machine);
        if machine.insn_count().0 >= next_checkpoint {
            recorder.checkpoint(&mut machine);
            next_checkpoint += CHECKPOINT_INSNS;
        }
        recorder.flush(&machine).expect("memory");
        match stop {
            StopReason::Until | StopReason::Idle(_) => {}
            StopReason::PowerOff => break EndReason::PowerOff,
            other => panic!("the guest ended: {other:?}"),
        }
    };
    recorder.finish(&mut machine, reason, 0).expect("memory");
    Run { sink, digest: machine.digest().to_string(), console, inputs }
}

/// Records, replays from the start by `replaying`, and verifies each stretch by `recording`.
fn comes_again(guest: &Debian, engines: [EngineKind; 2], max_insns: u64, every: u64, seed: u64) {
    let [recording_engine, replaying] = engines;
    let run = record(guest, recording_engine, max_insns, every, seed);
    let recording = Arc::new(Recording::from_source(Box::new(run.sink.bytes())).expect("it opens"));
    let inputs = recording.events().len();
    assert_eq!(inputs, run.inputs, "seed {seed}");
    let mut replayer = Replayer::with_maker(recording.clone(), replaying.into(), 0, 1).expect("a replayer");
    let mut console = Vec::new();
    let watch = &mut |_, output: Output| {
        console.extend(output.serial);
        Control::Continue
    };
    replayer.play(Target::End, watch).expect("it replays");
    assert_eq!(replayer.full_digest().to_string(), run.digest, "seed {seed}");
    assert!(console == run.console, "seed {seed}: another console");
    drop(replayer);
    let engines = Engines { first: MachineMaker::from(recording_engine), others: Vec::new() };
    let report = verify_with(&recording, &engines, 2, &|_| {}).expect("it replays");
    assert_eq!(report.difference, None, "seed {seed}");
    println!(
        "seed {seed}: {} steps, {inputs} inputs, {} digests, {} bytes of console, {} bytes of log",
        recording.end_position().insns,
        report.digests + 1,
        run.console.len(),
        recording.sizes().log
    );
}

#[test]
fn the_start_of_a_boot_comes_again_with_random_inputs() {
    let Some(guest) = Debian::new() else { return };
    let both = [EngineKind::Interpreter; 2];
    comes_again(&guest, both, SLICE_INSNS, 500_000, 1);
    comes_again(&guest.vcpus(2).v3(), both, SLICE_INSNS, 500_000, 2);
}

#[test]
#[ignore = "long: whole boots"]
fn whole_boots_come_again_with_random_inputs() {
    let Some(guest) = Debian::new() else { return };
    let mut seed = 10;
    for vcpus in [1, 2, 4] {
        for v3 in [false, true] {
            let guest = guest.clone().vcpus(vcpus);
            let guest = if v3 { guest.v3() } else { guest };
            let engines = EngineKind::ALL.into_iter().filter(|kind| kind.engine().is_ok()).collect::<Vec<_>>();
            let recording = engines[seed as usize % engines.len()];
            let replaying = engines[(seed as usize + 1) % engines.len()];
            comes_again(&guest, [recording, replaying], MAX_INSNS, 3_000_000, seed);
            seed += 1;
        }
    }
}
