#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_storeapi::testkit::fuzz::remote_read(data));
