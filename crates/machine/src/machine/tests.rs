//! The loop that gives the vCPUs their turns, at its edges.

use super::*;

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
