#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relight_stdlib::fuzzing::www_authenticate(bytes));
