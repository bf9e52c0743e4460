//! What tests of queries need: data in memory, a runner of test scripts, an entry for fuzzers.

mod fuzz;
mod meaning;
mod memory;
pub mod promqltest;

pub use fuzz::fuzz_parse;
pub use meaning::meaning;
pub use memory::MemoryQueryable;
