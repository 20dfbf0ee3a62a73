#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| credenza::fuzzing::session_policy::check(data));
