#![no_main]
//! See `fuzz_cases::store`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::store::run(bytes));
