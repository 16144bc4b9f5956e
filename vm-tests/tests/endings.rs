//! Every way in which a run can end, and the exit status that says so.

use vm_tests::{Guest, bare_metal, scratch_file};

#[test]
fn a_debug_exit_follows_qemus_rule() {
    let kernel = bare_metal::build("putc $'h'\n putc $'i'\n debug_exit $5\n");
    let outcome = Guest::kernel(&kernel).options(&["--debug-exit"]).run().expect_status(11);
    assert_eq!(outcome.console, "hi");
}

#[test]
fn without_the_option_there_is_no_debug_exit() {
    let kernel = bare_metal::build("debug_exit $5\n cli\n hlt\n");
    Guest::kernel(&kernel).run().expect_status(12);
}

#[test]
fn a_guest_that_halts_with_interrupts_off_is_halted_for_ever() {
    let kernel = bare_metal::build("cli\n1: hlt\n jmp 1b\n");
    let outcome = Guest::kernel(&kernel).run().expect_status(12);
    assert!(outcome.errors.contains("halted for ever"), "{}", outcome.errors);
}

#[test]
fn a_triple_fault() {
    // No interrupt table: the invalid opcode cannot be delivered, nor can the double fault.
    let kernel = bare_metal::build("lidt no_table\n ud2\nno_table: .word 0\n .long 0\n");
    Guest::kernel(&kernel).options(&["--no-reboot"]).run().expect_status(6);
}

#[test]
fn a_reset_ends_the_run_only_if_asked() {
    let kernel = bare_metal::resetting();
    let run =
        |options: &[&str]| Guest::kernel(&kernel).options(&["--debug-exit"]).options(options).stdin_file("rrx").run();
    let once = run(&["--no-reboot"]).expect_status(14);
    assert_eq!(once.console, "r");
    let thrice = run(&[]).expect_status(1);
    assert_eq!(thrice.console, "rrx");
}

#[test]
fn the_limit_of_instructions_is_exact() {
    let kernel = bare_metal::build("1: inc %eax\n jmp 1b\n");
    for limit in ["0", "1", "1000001"] {
        let outcome = Guest::kernel(&kernel).options(&["--digest", "--max-insns", limit]).run().expect_status(8);
        assert_eq!(outcome.insns().to_string(), limit);
    }
}

#[test]
fn the_report_as_json() {
    let kernel = bare_metal::build("debug_exit $1\n");
    let outcome = Guest::kernel(&kernel).options(&["--debug-exit", "--json"]).run().expect_status(3);
    let report = outcome.errors.lines().last().unwrap_or_default();
    for part in ["\"reason\":\"debug-exit\"", "\"status\":3", "\"insns\":", "\"virtual_ns\":", "\"digest\":\""] {
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn bytes_from_a_pipe_reach_a_guest_that_polls() {
    // Echoes until 'q'.
    let body = "
        serial_on
    1:  getc
        out %al, %dx
        cmp $'q', %al
        jne 1b
        debug_exit $0
    ";
    let kernel = bare_metal::build(body);
    let piped = Guest::kernel(&kernel).options(&["--debug-exit"]).stdin_pipe("hello q").run().expect_status(1);
    assert_eq!(piped.console, "hello q");
    let from_file = || Guest::kernel(&kernel).options(&["--debug-exit", "--digest"]).stdin_file("hello q").run();
    let first = from_file().expect_status(1);
    assert!(first.console.starts_with("hello q"));
    let second = from_file();
    assert_eq!((second.digest, second.console), (first.digest, first.console));
}

#[test]
fn what_cannot_be_used_is_one_sentence_and_status_2() {
    let kernel = bare_metal::build("hlt\n");
    let kernel = kernel.to_str().expect("a plain path");
    let text = scratch_file("text");
    std::fs::write(&text, "this is no kernel\n").expect("the scratch directory can be written");
    let text = text.to_str().expect("a plain path");
    let cases: &[&[&str]] = &[
        &["--kernel", "/nowhere/vmlinuz"],
        &["--kernel", "/"],
        &["--kernel", text],
        &["--kernel", "/dev/null"],
        &["--kernel", "/dev/zero", "--memory", "16M"],
        &["--kernel", kernel, "--initrd", "/nowhere/initrd"],
        &["--kernel", kernel, "--memory", "0M"],
        &["--kernel", kernel, "--memory", "512"],
        &["--kernel", kernel, "--memory", "999999999G"],
        &["--kernel", kernel, "--cpus", "0"],
        &["--kernel", kernel, "--cpus", "9"],
        &["--kernel", kernel, "--cpu", "i486"],
        &["--kernel", kernel, "--clock", "sundial"],
        &["--kernel", kernel, "--rtc-start", "yesterday"],
        &["--kernel", kernel, "--max-insns", "many"],
        &["--kernel", kernel, "--no-such-option"],
        &[],
    ];
    for options in cases {
        let outcome = Guest::new().options(options).run();
        assert_eq!(outcome.status, Some(2), "{options:?}: {}", outcome.errors);
        assert!(!outcome.errors.is_empty() && !outcome.errors.contains("panicked"), "{options:?}: {}", outcome.errors);
    }
}
