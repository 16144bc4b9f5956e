//! `verify` finds what was put wrong: a register by an engine, an input, a time, a recorded state.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use machine::{Idle, Input, Machine, MachineConfig};
use prost::Message;
use support::{KEEPS_BYTE, KEEPS_COUNTER, KEPT, Session, altered, config, keeper};
use timeline::difference::Thing;
use timeline::format::block::Kind;
use timeline::format::log::{self, Event, EventKind};
use timeline::format::records::{CheckpointRecord, LogRecord};
use timeline::sink::MemorySink;
use timeline::verify::{Cause, Difference, Engines, Outcome, StepKind, Verification, verify_with};
use timeline::{MachineMaker, Recording, Replayer, Target};
use x86::{Bus, Engine, Exit, GuestMemory, InsnCount, Interpreter, Vcpu, VirtualTime};

/// An interpreter that changes ESI behind the step with which a vCPU's count comes to `at`, if it ran for `warm` steps
/// without a break before: a fault of an engine, or of its caches.
struct Faulty {
    inner: Interpreter,
    at: u64,
    warm: u64,
    ran: u64,
}

impl Engine for Faulty {
    fn run(&mut self, vcpu: &mut Vcpu, memory: &mut GuestMemory, bus: &mut dyn Bus, until: InsnCount) -> Exit {
        loop {
            let before = vcpu.count.0;
            let stop = if before < self.at { until.0.min(self.at) } else { until.0 };
            let exit = self.inner.run(vcpu, memory, bus, InsnCount(stop));
            self.ran += vcpu.count.0 - before;
            if before < self.at && vcpu.count.0 == self.at && self.ran >= self.warm {
                vcpu.gpr[6] ^= 0x100;
            }
            if exit != Exit::Until || vcpu.count >= until {
                return exit;
            }
        }
    }

    fn forget(&mut self, memory: &mut GuestMemory) {
        self.ran = 0;
        self.inner.forget(memory);
    }
}

fn faulty(at: u64, warm: u64) -> MachineMaker {
    MachineMaker::new("faulty", move |config: MachineConfig| {
        Machine::with_engine(config, Box::new(Faulty { inner: Interpreter::new(), at, warm, ran: 0 }))
    })
}

/// Steps between inputs, and the number of inputs. A checkpoint is taken behind every third.
const BETWEEN: u64 = 9_000;
const INPUTS: u64 = 9;
/// A step in the middle of the second of three stretches.
const FAULT: u64 = 38_234;

/// A recording of the guest that keeps what it gets.
fn recorded(maker: &MachineMaker) -> Vec<u8> {
    let sink = MemorySink::default();
    let mut session = Session::new(keeper(maker.make(config(1, None)).expect("a machine")), Default::default());
    session.record(&sink, u64::MAX);
    for number in 1..=INPUTS {
        session.run(BETWEEN, Idle::Jump);
        session.input(Input::SerialByte(b'a' + number as u8));
        session.run(100, Idle::Jump);
        if number % 3 == 0 {
            session.recorder.as_mut().expect("recording").checkpoint(&mut session.machine);
        }
    }
    session.finish();
    sink.bytes()
}

fn open(bytes: Vec<u8>) -> Arc<Recording> {
    Arc::new(Recording::from_source(Box::new(bytes)).expect("the recording opens"))
}

/// Verifies with 1 and with 3 threads, which must find the same.
fn check(recording: &Arc<Recording>, engines: &Engines) -> Verification {
    let [one, three] = [1, 3].map(|jobs| verify_with(recording, engines, jobs, &|_| {}).expect("it can be replayed"));
    assert_eq!(one.difference, three.difference);
    one
}

fn difference(recording: &Arc<Recording>, engines: &Engines) -> Difference {
    *check(recording, engines).difference.expect("a difference")
}

fn esi() -> Thing {
    Thing::Field("vcpus[0].gpr[6]".into())
}

/// The first differing step is the one that the fault stands behind.
fn assert_first_is_the_fault(difference: &Difference) {
    let Cause::Engine { first, what, ways, compared } = &difference.cause else { panic!("{difference:#?}") };
    assert_eq!(first.before.insns, FAULT - 1, "{difference:#?}");
    let StepKind::Instruction(place) = &first.kind else { panic!("{first}") };
    // The fault lies in the loop at the end.
    assert!(place.text.starts_with("add esi") || place.text.starts_with("loop"), "{first}");
    assert_eq!(what.iter().map(|differing| differing.thing.clone()).collect::<Vec<_>>(), [esi()]);
    assert_eq!(ways[compared.1].outcome, Outcome::Different);
    assert!(difference.what.iter().any(|differing| differing.thing == esi()));
}

#[test]
fn nothing_wrong_is_found_where_nothing_is() {
    let recording = open(recorded(&MachineMaker::default()));
    let report = check(&recording, &Engines { first: MachineMaker::default(), others: vec![faulty(FAULT, 0)] });
    assert_eq!((report.stretches, report.digests, report.states), (5, 5, 5));
    assert_eq!(report.difference, None);
}

#[test]
fn a_fault_of_the_replaying_engine_is_found_by_another_engine() {
    let recording = open(recorded(&MachineMaker::default()));
    let engines = Engines { first: faulty(FAULT, 0), others: vec![MachineMaker::default()] };
    let difference = difference(&recording, &engines);
    assert_first_is_the_fault(&difference);
    let Cause::Engine { ways, compared, .. } = &difference.cause else { unreachable!() };
    assert_eq!(ways[compared.0].outcome, Outcome::AsRecorded);
}

#[test]
fn a_fault_of_the_recording_engine_is_found_by_that_engine() {
    let recording = open(recorded(&faulty(FAULT, 0)));
    let engines = Engines { first: MachineMaker::default(), others: vec![faulty(FAULT, 0)] };
    assert_first_is_the_fault(&difference(&recording, &engines));
}

#[test]
fn a_fault_that_only_a_long_run_shows_is_found_by_a_replay_from_the_start() {
    // From the checkpoint before it, at 27,300, the engine has not run for long enough.
    let maker = faulty(FAULT, 30_000);
    let recording = open(recorded(&maker));
    let difference = difference(&recording, &Engines { first: maker, others: Vec::new() });
    assert_first_is_the_fault(&difference);
    let Cause::Engine { ways, compared, .. } = &difference.cause else { unreachable!() };
    assert!(ways[compared.0].name.contains("from the start"), "{ways:?}");
}

#[test]
fn a_fault_that_does_not_come_again_is_told_as_such() {
    let recording = open(recorded(&MachineMaker::default()));
    let is_first = Arc::new(AtomicBool::new(true));
    // Only the first machine is faulty.
    let once = MachineMaker::new("sometimes faulty", move |config: MachineConfig| {
        let at = if is_first.swap(false, Ordering::Relaxed) { FAULT } else { u64::MAX };
        Machine::with_engine(config, Box::new(Faulty { inner: Interpreter::new(), at, warm: 0, ran: 0 }))
    });
    let engines = Engines { first: once, others: Vec::new() };
    let report = verify_with(&recording, &engines, 1, &|_| {}).expect("it can be replayed");
    let Cause::Unrepeated { ways } = report.difference.expect("a difference").cause else { panic!("another cause") };
    assert!(ways.iter().all(|way| way.outcome == Outcome::AsRecorded), "{ways:?}");
}

/// The recording with the events of its log changed.
fn with_events(bytes: &[u8], change: &dyn Fn(&mut Vec<Event>)) -> Arc<Recording> {
    let mut before = 0;
    open(altered(bytes, &mut |kind, payload| {
        if kind != Kind::Log {
            return payload;
        }
        let record = LogRecord::decode(payload.as_slice()).expect("a log");
        let first = record.first;
        // As if nothing came before.
        let mut events = Vec::new();
        log::decode(LogRecord { first: 0, ..record }, &mut events).expect("a log");
        change(&mut events);
        assert_eq!(first, before);
        before += events.len() as u64;
        log::encode(&events, first).expect("events").encode_to_vec()
    }))
}

/// The step count at which the instruction at `rip` is executed after the input at `from`.
fn when_executed(recording: &Arc<Recording>, from: u64, rip: u64) -> u64 {
    let mut replayer = Replayer::new(recording.clone()).expect("a replayer");
    (from..)
        .find(|&insns| {
            replayer.seek(Target::Insns(insns)).expect("in the recording");
            replayer.machine().save().vcpus[0].rip == rip
        })
        .expect("it is executed")
}

/// The fifth input, and where it came: in the second stretch.
fn fifth(recording: &Recording) -> (usize, u64) {
    (4, recording.events()[4].position.insns)
}

#[test]
fn an_altered_input_is_traced_to_the_instruction_that_stored_it() {
    let original = recorded(&MachineMaker::default());
    let recording = with_events(&original, &|events| {
        for event in events {
            if event.kind == EventKind::Input(Input::SerialByte(b'f')) {
                event.kind = EventKind::Input(Input::SerialByte(b'F'));
            }
        }
    });
    let difference = difference(&recording, &Engines::default());
    let byte = Thing::Ram { offset: KEPT + 8 * 4, len: 1 };
    assert_eq!(difference.what.len(), 1, "{difference:#?}");
    let told = &difference.what[0];
    assert_eq!((&told.thing, told.one.as_str(), told.other.as_str()), (&byte, "66", "46"));
    let Cause::Recorded { ways, traces } = &difference.cause else { panic!("{difference:#?}") };
    assert!(ways.iter().all(|way| way.outcome == Outcome::Different) && ways.len() == 3, "{ways:?}");
    let (number, from) = fifth(&recording);
    let [trace] = traces.as_slice() else { panic!("{traces:#?}") };
    let step = trace.step.as_ref().expect("a step");
    assert_eq!((&trace.thing, step.before.insns), (&byte, when_executed(&recording, from, KEEPS_BYTE)));
    let StepKind::Instruction(place) = &step.kind else { panic!("{step}") };
    assert_eq!((place.address, place.bytes.as_str(), place.text.as_str()), ((8, KEEPS_BYTE), "88 07", "mov [edi],al"));
    let Some(StepKind::Input { number: told, .. }) = trace.input.as_ref().map(|step| &step.kind) else {
        panic!("{trace:?}")
    };
    assert_eq!(*told, number);
}

#[test]
fn an_input_that_was_moved_is_traced_to_the_instruction_that_read_the_time() {
    const LOOP: u64 = 5;
    let original = recorded(&MachineMaker::default());
    let recording = with_events(&original, &|events| {
        for event in events {
            if event.kind == EventKind::Input(Input::SerialByte(b'f')) {
                event.position.insns += LOOP;
                event.position.time = event.position.time.after_ns(LOOP);
            }
        }
    });
    let difference = difference(&recording, &Engines::default());
    let Cause::Recorded { traces, .. } = &difference.cause else { panic!("{difference:#?}") };
    let (_, from) = fifth(&recording);
    let first = traces.iter().find_map(|trace| trace.step.as_ref()).expect("a step");
    assert_eq!(first.before.insns, when_executed(&recording, from, KEEPS_COUNTER), "{traces:#?}");
    assert_eq!(traces[0].thing, Thing::Ram { offset: KEPT + 8 * 4 + 4, len: 1 }, "{traces:#?}");
}

#[test]
fn an_input_at_an_impossible_time_is_named() {
    let original = recorded(&MachineMaker::default());
    let recording = with_events(&original, &|events| {
        for event in events {
            if event.kind == EventKind::Input(Input::SerialByte(b'f')) {
                event.position.time = VirtualTime::from_units(event.position.time.units() + 1);
            }
        }
    });
    let difference = difference(&recording, &Engines::default());
    let stopped = difference.stopped.as_deref().expect("the replay cannot go on");
    let (number, from) = fifth(&recording);
    let expected = format!("event number {number} (serial byte 0x66) at {from} ");
    assert!(stopped.contains(&expected), "{stopped}");
}

/// The recording with EBX of checkpoint number `index` changed.
fn with_state(bytes: &[u8], index: usize) -> Arc<Recording> {
    let mut checkpoint = 0;
    open(altered(bytes, &mut |kind, payload| {
        if kind != Kind::Checkpoint {
            return payload;
        }
        let mut record = CheckpointRecord::decode(payload.as_slice()).expect("a checkpoint");
        if checkpoint == index {
            record.state.as_mut().expect("a state").vcpus[0].gpr[3] += 1;
        }
        checkpoint += 1;
        record.encode_to_vec()
    }))
}

#[test]
fn an_altered_state_is_named_with_its_field() {
    let original = recorded(&MachineMaker::default());
    let difference_at = |index| difference(&with_state(&original, index), &Engines::default());
    let middle = difference_at(2);
    assert_eq!(middle.cause, Cause::AlteredState { replay_agrees: Some(true) });
    let [told] = middle.what.as_slice() else { panic!("{middle:#?}") };
    assert_eq!(told.thing.to_string(), "vCPU 0 RBX");
    assert_eq!(difference_at(0).cause, Cause::AlteredState { replay_agrees: None });
}
