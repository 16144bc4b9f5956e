#![no_main]
//! See `fuzz_cases::boot`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::boot::run(bytes));
