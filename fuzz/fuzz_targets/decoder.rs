#![no_main]
//! See `fuzz_cases::decoder`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::decoder::run(bytes));
