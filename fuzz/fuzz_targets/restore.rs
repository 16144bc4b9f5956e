#![no_main]
//! See `fuzz_cases::restore`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::restore::run(bytes));
