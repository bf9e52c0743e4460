//! What tests of queries need: data in memory, a runner of test scripts, a naive evaluator and the check against
//! it, entries for fuzzers.

mod fuzz;
mod meaning;
mod memory;
pub mod naive;
pub mod promqltest;
pub mod reference;

pub use fuzz::fuzz_parse;
pub use meaning::meaning;
pub use memory::MemoryQueryable;
pub use reference::fuzz_query;
