#![no_main]
//! See `fuzz_cases::recording`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::recording::run(bytes));
