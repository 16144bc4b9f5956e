//! System behaviour, each topic by a bare-metal guest in `guests/`; [`BareGuest::check`] also holds each guest
//! to the same bits however its run is cut up.

use vm_tests::BareGuest;

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
fn exceptions_and_their_priorities() {
    BareGuest::new("faults").check();
}
