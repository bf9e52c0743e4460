//! What tests of queries need: data in memory.

mod memory;

pub use memory::MemoryQueryable;
