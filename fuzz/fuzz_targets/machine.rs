#![no_main]
//! See `fuzz_cases::machine`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::machine::run(bytes));
