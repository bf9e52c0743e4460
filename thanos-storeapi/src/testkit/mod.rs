//! The Store conformance suite, and fakes for tests of everything that reads a [`Store`](crate::store::Store).

mod faults;
mod mem_store;

pub use faults::Fault;
pub use mem_store::{MemSeries, MemStore};
