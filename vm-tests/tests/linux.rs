//! Debian's unmodified kernel, from power-on to power-off.

use vm_tests::{Guest, Outcome};

/// Boots to init and powers off, twice, and holds that nothing differs.
fn boots_twice_alike(guest: impl Fn() -> Guest) -> Outcome {
    let first = guest().run().expect_status(0).expect_console("chronovisor: init is running");
    let second = guest().run().expect_status(0);
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.console, second.console);
    first
}

#[test]
fn one_vcpu() {
    boots_twice_alike(|| Guest::linux().append("chronovisor.quiet"));
}

#[test]
fn two_vcpus() {
    let outcome = boots_twice_alike(|| Guest::linux().append("chronovisor.quiet").options(&["--cpus", "2"]));
    outcome.expect_console("smp: Brought up 1 node, 2 CPUs");
}

#[test]
fn four_vcpus_with_avx2() {
    let options = &["--cpus", "4", "--cpu", "x86-64-v3"];
    let outcome = boots_twice_alike(|| Guest::linux().append("chronovisor.quiet").options(options));
    outcome.expect_console("smp: Brought up 1 node, 4 CPUs");
}

#[test]
fn without_kaslr() {
    Guest::linux().append("chronovisor.quiet nokaslr").run().expect_status(0);
}

#[test]
fn the_tour_of_the_demo() {
    let outcome = Guest::linux().options(&["--cpu", "x86-64-v3"]).run().expect_status(0);
    outcome
        .expect_console("2000 rounds: 46914")
        .expect_console("c7345da82422f5bbfb30e41a05540dc3")
        .expect_console("==== Powering off ====");
}

#[test]
fn a_script_on_standard_input_goes_in_the_same_way_every_time() {
    let script = "echo $((6 * 7))-ok\nuname -m\nseq 1 100 | md5sum\nexit\n";
    let shell = || Guest::linux().append("chronovisor.shell").stdin_file(script).run().expect_status(0);
    let first =
        shell().expect_console("42-ok").expect_console("x86_64").expect_console("d632eba71107bf7bc3ec423eab256d78");
    let second = shell();
    assert_eq!(first.digest, second.digest);
}

#[test]
fn stopping_early_stops_exactly() {
    let outcome = Guest::linux().options(&["--max-insns", "123456789"]).run().expect_status(8);
    assert_eq!(outcome.insns(), 123_456_789);
}
