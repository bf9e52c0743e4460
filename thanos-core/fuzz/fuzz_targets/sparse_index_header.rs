#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thanos_core::testkit::fuzz::sparse_index_header(data));
