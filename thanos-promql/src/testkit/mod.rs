//! What tests of queries need: data in memory, an entry for fuzzers.

mod fuzz;
mod memory;

pub use fuzz::fuzz_parse;
pub use memory::MemoryQueryable;
