//! What tests of buckets and of their readers share: object stores that are slow, that fail, or that are counted.

mod blocks;
pub mod cache_servers;
mod faulty;
mod faulty_cache;
pub mod fuzz;
mod latency;
#[cfg(feature = "testkit-servers")]
pub mod servers;
mod trace;

pub use blocks::{BlockData, BlockSpec, Sizes, block_id};
pub use faulty::{FaultPlan, FaultyStore, StoreFault};
pub use faulty_cache::{CacheFault, FaultyCache};
pub use latency::{LatencyModel, LatencyStore};
pub use trace::{Outcome, RequestKind, RequestRecord, Trace};
