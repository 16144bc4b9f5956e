//! What tests of recordings share: asking a session, reading its answers, and a recording to look at.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod tree;

use std::time::Duration;

use serde_json::Value;
use vm_tests::bare_metal::echo;
use vm_tests::{Guest, Outcome, Program, Running, scratch_file};

/// What is typed in [`recorded`].
pub const TYPED: &str =
    "all that is typed here comes back, and some of it lies far behind the rest of it, at the end: q";

/// A new file name, as text.
pub fn scratch(name: &str) -> String {
    scratch_file(name).to_str().expect("a plain path").to_owned()
}

/// Removes files that are large.
pub fn ended(files: &[&str]) {
    for file in files {
        std::fs::remove_file(file).expect("the file is there");
    }
}

/// The last line as JSON.
pub fn json(text: &str) -> Value {
    let line = text.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A recording of [`echo`], and how the recorded run went.
pub fn recorded() -> (String, Outcome) {
    let file = scratch("echo.cvr");
    let options = &["--debug-exit", "--digest", "--record", &file];
    let run = Guest::kernel(&echo()).options(options).stdin_file(TYPED).run().expect_status(1);
    assert!(run.console.starts_with(TYPED), "{}", run.console);
    (file, run)
}

/// Asks the session at `socket`, again and again until it is there to answer.
pub fn ctl(socket: &str, arguments: &[&str]) -> Value {
    for _ in 0..1200 {
        let outcome = Program::new(&[&["ctl", socket, "--json"], arguments].concat()).run();
        if outcome.status == Some(0) {
            return json(&outcome.console);
        }
        assert!(outcome.errors.contains("no session listens"), "{arguments:?}: {}", outcome.errors);
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the control socket never answered");
}

/// Waits until a session's guest has come to so many instructions.
pub fn wait_until(socket: &str, insns: u64) {
    while ctl(socket, &["status"])["insns"].as_u64() < Some(insns) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a session.
pub fn quit(mut session: Running, socket: &str) {
    ctl(socket, &["quit"]);
    assert_eq!(session.wait().expect("it ends").code(), Some(10));
}

/// `short`, or `long` in the long tests.
pub fn times(short: usize, long: usize) -> usize {
    if std::env::var_os("CHRONOVISOR_LONG").is_some() { long } else { short }
}
