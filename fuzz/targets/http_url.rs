#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| credenza::fuzzing::http_url::check(data));
