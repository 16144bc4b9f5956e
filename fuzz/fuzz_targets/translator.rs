#![no_main]
//! See `fuzz_cases::interpreter::translator`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::interpreter::translator(bytes));
