#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| credenza::fuzzing::profile_plan::check(data));
