//! The translator against the host's own CPU; see the crate `host-cpu`.

use host_cpu::Bits::{B32, B64};
use jit::Translator;
use x86::Engine;

fn translator() -> Box<dyn Engine> {
    Box::new(Translator::eager(1).unwrap_or_else(|error| panic!("{error}")))
}

/// Runs `test` if this host can run the translator.
fn translated(test: impl FnOnce()) {
    match Translator::new() {
        Err(reason) => println!("SKIPPED: {reason}"),
        Ok(_) => test(),
    }
}

#[test]
fn every_form_of_64_bit_code() {
    translated(|| host_cpu::every_form(translator, B64, 80_000));
}

#[test]
fn bytes_that_may_be_no_64_bit_instruction() {
    translated(|| host_cpu::any_bytes(translator, B64, 40_000));
}

#[test]
fn every_form_of_32_bit_code() {
    translated(|| host_cpu::every_form(translator, B32, 40_000));
}

#[test]
fn bytes_that_may_be_no_32_bit_instruction() {
    translated(|| host_cpu::any_bytes(translator, B32, 20_000));
}

#[test]
fn differences_found_once() {
    translated(|| host_cpu::regressions(translator));
}
