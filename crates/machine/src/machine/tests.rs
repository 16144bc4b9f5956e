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
