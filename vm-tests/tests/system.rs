//! System behaviour, each topic by a bare-metal guest in `guests/`; [`BareGuest::check`] also holds each guest
//! to the same bits however its run is cut up.

use machine::{Input, StopReason};
use vm_tests::BareGuest;
use x86::CpuModel;

#[test]
fn the_harness_prints_checks_and_records() {
    let Some(outcome) = BareGuest::new("hello").check() else { return };
    assert_eq!(outcome.serial, "S");
    assert!(outcome.debug_console.starts_with("hello from 64-bit mode\n"), "{}", outcome.debug_console);
}

#[test]
fn paging_in_64_bit_mode() {
    BareGuest::new("paging64").check();
}

#[test]
fn translation_caches() {
    BareGuest::new("tlb").check();
}

#[test]
fn paging_outside_64_bit_mode() {
    BareGuest::new("paging32").check();
}

#[test]
fn exceptions_and_their_priorities() {
    BareGuest::new("faults").check();
}

#[test]
fn changes_of_privilege() {
    BareGuest::new("rings").check();
}

#[test]
fn segments_gates_and_tasks() {
    BareGuest::new("segments").check();
}

#[test]
fn real_mode_and_v8086_mode() {
    BareGuest::new("realmode").check();
}

#[test]
fn interrupts_of_the_old_controllers() {
    BareGuest::new("irq").check();
}

#[test]
fn interrupts_and_timers_of_the_apics() {
    BareGuest::new("apic").check();
}

#[test]
fn debug_exceptions() {
    BareGuest::new("debug").check();
}

#[test]
fn string_instructions() {
    let Some(outcome) = BareGuest::new("strings").check() else { return };
    assert!(outcome.debug_console.starts_with("outsb ok"), "{}", outcome.debug_console);
}

#[test]
fn code_that_writes_code() {
    BareGuest::new("smc").check();
}

#[test]
fn every_kind_of_store_into_hot_code() {
    BareGuest::new("rewrite").check();
}

#[test]
fn several_vcpus() {
    for vcpus in [2, 3, 4] {
        BareGuest::new("smp").vcpus(vcpus).check();
    }
}

#[test]
fn several_vcpus_in_varied_turns() {
    BareGuest::new("smp").vcpus(3).chaos(1).check();
    BareGuest::new("smp").vcpus(8).chaos(2).check();
}

#[test]
fn cpuid_and_msrs() {
    BareGuest::new("cpuid").check();
    BareGuest::new("cpuid").cpu_model(CpuModel::V3).define("V3", 1).check();
}

#[test]
fn ways_to_end() {
    let ends = [
        StopReason::PowerOff,
        StopReason::Reset,
        StopReason::Reset,
        StopReason::Reset,
        StopReason::Reset,
        StopReason::TripleFault,
        StopReason::Halted,
        StopReason::DebugExit(0x43),
    ];
    for (way, end) in (0..).zip(ends) {
        BareGuest::new("power").define("WAY", way).ends_with(end).check();
    }
}

#[test]
fn compatibility_mode_and_the_edges_of_the_address_space() {
    BareGuest::new("compat").check();
}

#[test]
fn events_on_top_of_events() {
    BareGuest::new("events").check();
}

#[test]
fn interrupt_lines_and_timers_in_detail() {
    BareGuest::new("lines").check();
}

#[test]
fn floating_point_state() {
    BareGuest::new("fpu").check();
    BareGuest::new("fpu").cpu_model(CpuModel::V3).define("V3", 1).check();
}

#[test]
fn floating_point_exceptions_by_interrupt_13() {
    BareGuest::new("ferr").check();
    BareGuest::new("ferr").cpu_model(CpuModel::V3).check();
}

#[test]
fn several_vcpus_by_x2apic() {
    for vcpus in [2, 4, 8] {
        BareGuest::new("smp2").vcpus(vcpus).check();
    }
    BareGuest::new("smp2").vcpus(5).chaos(3).check();
}

#[test]
fn code_written_over_and_over() {
    BareGuest::new("churn").check();
}

/// The first steps, which set up tables, are the same in all.
#[test]
#[ignore = "long: a fresh machine for each step"]
fn each_step_in_a_fresh_machine() {
    for source in ["faults", "rings", "segments", "realmode", "compat", "debug", "events", "tlb", "paging64", "fpu"] {
        BareGuest::new(source).check_each_step(8000);
    }
}

/// Bytes, keys, mouse and power button from outside, some before the guest listens, some while it works.
#[test]
fn input_from_outside() {
    let mut guest = BareGuest::new("input").input(3000, Input::SerialByte(b'a'));
    for (at, byte) in (400_000..).step_by(97).zip(b"many bytes at once\n") {
        guest = guest.input(at, Input::SerialByte(*byte));
    }
    let keys = [&[0x1c][..], &[0xf0, 0x1c], &[0xe0, 0x75]];
    for (at, key) in (500_000..).step_by(40_000).zip(keys) {
        guest = guest.input(at, Input::Key(key.to_vec()));
    }
    let guest = guest
        .input(700_000, Input::Mouse { right: 5, up: -3, wheel: 0, buttons: 1 })
        .input(800_000, Input::Mouse { right: -300, up: 0, wheel: 1, buttons: 0 })
        .input(900_000, Input::SerialByte(b'.'))
        .input(1_000_000, Input::PowerButton);
    let Some(outcome) = guest.check() else { return };
    assert_eq!(outcome.serial, "MANY BYTES AT ONCE\n.");
}
