#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_bucket::testkit::fuzz::tombstone(data));
