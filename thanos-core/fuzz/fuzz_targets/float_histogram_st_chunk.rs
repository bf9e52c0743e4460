#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_core::testkit::fuzz::float_histogram_st_chunk(data));
