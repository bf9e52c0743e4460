#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_core::testkit::fuzz::histogram_st_chunk(data));
