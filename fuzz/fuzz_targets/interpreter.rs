#![no_main]
//! See `fuzz_cases::interpreter`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_cases::interpreter::run(bytes));
