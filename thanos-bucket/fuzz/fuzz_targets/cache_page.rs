#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_bucket::testkit::fuzz::cache_page(data));
