#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| credenza::fuzzing::shared_config::check(data));
