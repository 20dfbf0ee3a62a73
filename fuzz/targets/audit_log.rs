#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| credenza::fuzzing::audit_log::check(data));
