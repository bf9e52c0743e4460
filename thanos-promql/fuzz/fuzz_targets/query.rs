#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_promql::testkit::fuzz_query(data));
