//! One entry point per format for fuzzing: any bytes may go in, and nothing may panic or take memory without bound.
//!
//! The package in `fuzz/` runs each of them for as long as one likes; tests here run them on some random bytes.

mod block;
mod chunk;
mod index;
mod labels;
mod regex;

pub use block::{meta, segment, tombstones};
pub use chunk::{
    aggregates, float_histogram_chunk, float_histogram_st_chunk, histogram_chunk,
    histogram_st_chunk, xor_chunk, xor2_chunk,
};
pub use index::{
    index, index_header, index_sections, postings_list, series_entry, sparse_index_header,
};
pub use labels::label_key;
pub use regex::matcher_regex;
