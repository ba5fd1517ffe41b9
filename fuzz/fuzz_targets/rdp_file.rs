#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| relight_stdlib::fuzzing::rdp_file(bytes));
