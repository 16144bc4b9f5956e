#![no_main]
//! See `fuzz_cases::devices`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::devices::run(bytes));
