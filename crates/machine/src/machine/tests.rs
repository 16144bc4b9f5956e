//! The loop that gives the vCPUs their turns, at its edges.

use super::*;
use crate::engine::EngineKind;
use crate::save::MachineRestoreError;

fn machine(vcpus: u8) -> Machine {
    Machine::new(MachineConfig { vcpus, ..MachineConfig::new(1 << 20) }).expect("1 MiB of RAM")
}

#[test]
fn at_the_end_of_time_the_clock_stands_still_and_instructions_go_on() {
    // The guest can get there too: by a timer set that far away, and HLT.
    let mut machine = machine(2);
    machine.input(Input::ClockTo(VirtualTime::NEVER));
    for until in [InsnCount(1), InsnCount(100_000)] {
        assert_eq!(machine.run(until, Idle::Jump), StopReason::Until);
        assert_eq!(machine.insn_count(), until);
    }
    assert_eq!(machine.now(), VirtualTime::NEVER);
}

#[test]
fn a_triple_fault_is_told_whoever_has_the_turn() {
    let mut machine = machine(2);
    assert_eq!(machine.run(InsnCount(10), Idle::Jump), StopReason::Until);
    machine.vcpus[0].activity = Activity::Shutdown;
    machine.turns.over = true;
    assert_eq!(machine.run(InsnCount(20), Idle::Jump), StopReason::TripleFault);
}

#[test]
fn where_a_run_stops_leaves_no_trace_in_the_turns_of_a_machine_with_one_vcpu() {
    // A stop at each turn's end is what turns are: the others must come to the same.
    let by_steps_of = |steps: u64, until: u64| {
        let mut machine = machine(1);
        for at in (1..until.div_ceil(steps)).map(|i| i * steps).chain([until]) {
            assert_eq!(machine.run(InsnCount(at), Idle::Jump), StopReason::Until);
        }
        machine.save()
    };
    for until in [19_999, 20_000, 20_001, 60_000, 123_456] {
        let turn_by_turn = by_steps_of(crate::turns::TURN_STEPS, until);
        for steps in [7_001, 50_000, until] {
            assert!(by_steps_of(steps, until) == turn_by_turn, "to {until} by steps of {steps}");
        }
    }
}

/// A machine that writes all of the 64 KiB that begin with its code to the debug console, again and again.
fn sending(kind: EngineKind) -> Machine {
    // MOV DX, E9h; XOR SI, SI; MOV CX, FFFFh; REP OUTSB; JMP to the beginning.
    let code = [0xba, 0xe9, 0, 0x31, 0xf6, 0xb9, 0xff, 0xff, 0xf3, 0x6e, 0xeb, 0xf4];
    let mut machine = Machine::executed_by(MachineConfig::new(1 << 20), kind).expect("a small machine");
    let mut state = machine.save();
    let cpu = &mut state.vcpus[0];
    cpu.rip = 0;
    cpu.segments[1].base = 0x1_0000;
    cpu.segments[3].base = 0x1_0000;
    let load = |ram: &mut RamMapping| -> Result<(), MachineRestoreError> { Ok(ram.write(0x1_0000, &code)?) };
    machine.restore_with(state, load).expect("a possible state");
    machine
}

#[test]
fn output_that_nobody_takes_ends_the_run_and_the_guest_cannot_tell() {
    for kind in [EngineKind::Interpreter, EngineKind::fastest()] {
        let mut machine = sending(kind);
        let (mut sent, mut stops) = (Vec::new(), 0);
        let end = InsnCount(10_000_000);
        while machine.insn_count() < end {
            match machine.run(if stops == 0 { InsnCount(u64::MAX) } else { end }, Idle::Jump) {
                StopReason::Output => {
                    stops += 1;
                    let count = machine.insn_count();
                    assert_eq!(machine.run(end, Idle::Jump), StopReason::Output, "until it is taken");
                    assert_eq!(machine.insn_count(), count);
                    let output = machine.take_output();
                    assert_eq!(output.debug_console.len(), MAX_OUTPUT_BYTES);
                    sent.extend(output.debug_console);
                }
                reason => assert_eq!(reason, StopReason::Until),
            }
        }
        sent.extend(machine.take_output().debug_console);
        assert_eq!(stops, 1);
        let mut other = sending(kind);
        let mut sent_otherwise = Vec::new();
        for until in (1..=5).map(|part| InsnCount(part * end.0 / 5)) {
            assert_eq!(other.run(until, Idle::Jump), StopReason::Until);
            sent_otherwise.extend(other.take_output().debug_console);
        }
        assert!(sent == sent_otherwise && machine.digest() == other.digest(), "{kind:?}");
    }
}
