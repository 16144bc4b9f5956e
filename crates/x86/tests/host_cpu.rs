//! The interpreter against the host's own CPU; see the crate `host-cpu`.

use host_cpu::Bits::{B32, B64};
use x86::{Engine, Interpreter};

fn interpreter() -> Box<dyn Engine> {
    Box::new(Interpreter::new())
}

#[test]
fn every_form_of_64_bit_code() {
    host_cpu::every_form(interpreter, B64, 200_000);
}

#[test]
fn bytes_that_may_be_no_64_bit_instruction() {
    host_cpu::any_bytes(interpreter, B64, 100_000);
}

#[test]
fn every_form_of_32_bit_code() {
    host_cpu::every_form(interpreter, B32, 100_000);
}

#[test]
fn bytes_that_may_be_no_32_bit_instruction() {
    host_cpu::any_bytes(interpreter, B32, 50_000);
}

#[test]
fn differences_found_once() {
    host_cpu::regressions(interpreter);
}
