//! A whole machine with real devices: guest code that talks to them at random, inputs from outside, one
//! to four vCPUs. The run is done three times: in one piece, with extra stops at which the machine is saved and restored into a fresh
//! one, and so on the translator, if this host can run it; all must end with the same digest.

pub(crate) mod program;

use machine::{EngineKind, Idle, Input, Machine, MachineConfig, Output, StopReason};
use x86::{CpuModel, InsnCount, VirtualTime};

use crate::script::Script;

/// RAM of the machine: the least there can be.
const RAM_BYTES: u64 = 1 << 20;
/// What arrives in one run at most.
const MAX_INPUTS: usize = 12;
/// Jumps to the next timer without an instruction in between, after which the run goes on to the next input.
const MAX_HOPS: u32 = 20;

/// Something that happens after a number of steps.
struct Event {
    after: u64,
    input: Option<Input>,
    /// In all runs but the first, the machine is restored into a fresh one here.
    restore: bool,
    /// In all runs but the first, it also stops this many steps earlier.
    early: u64,
}

/// Runs the script's program three times.
///
/// # Panics
/// If a run stops elsewhere than told, or depends on where it was interrupted.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let config = MachineConfig {
        ram_bytes: RAM_BYTES,
        vcpus: 1 + script.u8() % 4,
        cpu_model: script.pick(&[CpuModel::V2, CpuModel::V3]),
        debug_exit: script.flag(),
        rtc_start_unix_seconds: u64::from(script.u32()),
        chaos_seed: script.flag().then(|| script.u16().into()),
    };
    let events: Vec<Event> = (0..script.u8() as usize % MAX_INPUTS).map(|_| event(&mut script)).collect();
    let (state, ram) = program::start(config, &mut script);
    let start = |kind, state: &machine::MachineState, ram: &[u8]| {
        let mut machine = Machine::executed_by(config, kind).expect("a small machine");
        let restored = machine.restore(state.clone(), ram);
        restored.unwrap_or_else(|error| panic!("a state of the same machine is refused: {error}"));
        machine
    };
    let first = whole(start(EngineKind::Interpreter, &state, &ram), &events);
    for kind in EngineKind::ALL.into_iter().filter(|kind| kind.engine().is_ok()) {
        let again = |state: &_, ram: &_| start(kind, state, ram);
        assert_alike(&first, &cut(again(&state, &ram), &events, again));
    }
}

/// Panics unless two runs ended alike.
fn assert_alike(first: &End, second: &End) {
    assert_eq!(second.2, first.2, "the ends of the runs");
    assert_eq!(second.0.insn_count(), first.0.insn_count(), "how far the runs came");
    assert_eq!(second.1, first.1, "the output");
    if second.0.digest() != first.0.digest() {
        assert_eq!(second.0.save(), first.0.save(), "the states");
        panic!("the memories differ");
    }
}

fn event(script: &mut Script<'_>) -> Event {
    let input = match script.u8() % 12 {
        0 => Some(Input::PowerButton),
        1..4 => Some(Input::SerialByte(script.u8())),
        4 | 5 => {
            let len = script.below(9);
            Some(Input::Key(script.bytes(len).to_vec()))
        }
        6 | 7 => {
            let mut count = || script.value() as i32;
            Some(Input::Mouse { right: count(), up: count(), wheel: count(), buttons: script.u8() })
        }
        8 => Some(Input::ClockTo(VirtualTime::from_units(script.value() >> 1))),
        _ => None,
    };
    Event { after: u64::from(script.u16() % 2048), input, restore: script.flag(), early: script.below(64) as u64 }
}

type End = (Machine, Vec<Output>, StopReason);

fn whole(mut machine: Machine, events: &[Event]) -> End {
    let (mut outputs, mut reason) = (Vec::new(), StopReason::Until);
    for event in events {
        let until = machine.insn_count() + event.after;
        reason = run_to(&mut machine, until);
        outputs.push(machine.take_output());
        if !goes_on(reason) {
            break;
        }
        if let Some(input) = &event.input {
            machine.input(input.clone());
        }
    }
    (machine, outputs, reason)
}

fn cut(mut machine: Machine, events: &[Event], start: impl Fn(&machine::MachineState, &[u8]) -> Machine) -> End {
    let (mut outputs, mut reason) = (Vec::new(), StopReason::Until);
    for event in events {
        let until = machine.insn_count() + event.after;
        let early = InsnCount(until.0 - event.early.min(event.after));
        reason = run_to(&mut machine, early);
        let mut output = machine.take_output();
        if event.restore && goes_on(reason) {
            machine = start(&machine.save(), machine.ram_bytes());
        }
        if reason == StopReason::Until {
            reason = run_to(&mut machine, until);
            let more = machine.take_output();
            output.serial.extend(more.serial);
            output.debug_console.extend(more.debug_console);
        }
        outputs.push(output);
        if !goes_on(reason) {
            break;
        }
        if let Some(input) = &event.input {
            machine.input(input.clone());
        }
    }
    (machine, outputs, reason)
}

/// Runs to `until`; a machine that idles is told that the time has come, as its session does.
fn run_to(machine: &mut Machine, until: InsnCount) -> StopReason {
    let (mut count, mut hops) = (machine.insn_count(), 0);
    let reason = loop {
        let reason = machine.run(until, Idle::Stop);
        if machine.insn_count() > count {
            (count, hops) = (machine.insn_count(), 0);
        }
        match reason {
            StopReason::Request => assert!(!machine.take_requests().is_empty(), "a stop for no request"),
            StopReason::Idle(wake) if wake != VirtualTime::NEVER && hops < MAX_HOPS => {
                hops += 1;
                machine.input(Input::ClockTo(wake));
            }
            reason => break reason,
        }
    };
    let count = machine.insn_count();
    assert!(count <= until, "ran to {count:?}, told {until:?}");
    if reason == StopReason::Until {
        assert_eq!(count, until, "stopped early");
    }
    reason
}

/// Whether an input can set the machine going again.
fn goes_on(reason: StopReason) -> bool {
    matches!(reason, StopReason::Until | StopReason::Idle(_) | StopReason::Halted)
}
