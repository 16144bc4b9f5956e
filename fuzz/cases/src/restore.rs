//! Saved states from anyone: damaged ones are refused, or else give a machine that runs, can be saved,
//! and does the same when it is restored again.

pub(crate) mod wire;

use machine::{Idle, Machine, MachineConfig, MachineState};
use prost::Message;
use x86::CpuModel;

use crate::machine::program;
use crate::script::Script;

/// Steps that a restored machine runs.
const STEPS: u64 = 400;
/// Bytes that decide one change.
const CHANGE_BYTES: usize = 16;

/// Restores what the script makes of a sound state, or its bytes themselves.
///
/// # Panics
/// If a state that was accepted makes the machine misbehave.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let kind = script.u8();
    let vcpus = 1 + kind % 2;
    let config = MachineConfig {
        vcpus,
        cpu_model: if kind & 2 == 0 { CpuModel::V2 } else { CpuModel::V3 },
        chaos_seed: (kind & 8 != 0).then_some(1),
        ..MachineConfig::new(1 << 20)
    };
    let new = || Machine::new(config).expect("a small machine");
    let (state, ram) = if kind & 4 == 0 {
        let changes = 1 + script.u8() % 8;
        let changes: Vec<_> = (0..changes).map(|_| script.bytes(CHANGE_BYTES)).collect();
        let (state, ram) = program::start(config, &mut script);
        let mut state = state.encode_to_vec();
        for bytes in changes {
            wire::change(&mut state, &mut Script::new(bytes));
        }
        (MachineState::decode(&state[..]), ram)
    } else {
        (MachineState::decode(script.rest()), program::start(config, &mut script).1)
    };
    let Ok(state) = state else { return };
    let mut machine = new();
    if machine.restore(state, &ram).is_err() {
        return;
    }
    let saved = machine.save();
    let mut again = new();
    let restored = again.restore(saved.clone(), &ram);
    restored.unwrap_or_else(|error| panic!("a state that was accepted is refused: {error}"));
    assert_eq!(again.save(), saved, "restoring keeps everything");
    let until = machine.insn_count() + STEPS;
    let reasons = (machine.run(until, Idle::Jump), again.run(until, Idle::Jump));
    assert_eq!(reasons.0, reasons.1, "the ends of the runs");
    assert_eq!(machine.digest(), again.digest(), "two restored machines go different ways");
    let now = machine.save();
    let restored = again.restore(now, machine.ram_bytes());
    restored.unwrap_or_else(|error| panic!("a state that a run led to is refused: {error}"));
}
