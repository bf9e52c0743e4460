//! What tests of buckets and of their readers share: object stores that are slow, that fail, or that are counted.

mod blocks;
pub mod cache_servers;
mod faulty;
mod faulty_cache;
pub mod fuzz;
mod latency;
#[cfg(any(feature = "memcached", feature = "redis"))]
mod lying_cache;
#[cfg(feature = "testkit-servers")]
pub mod servers;
mod trace;

pub use blocks::{BlockData, BlockSpec, Sizes, block_id};
pub use faulty::{FaultPlan, FaultyStore, StoreFault};
pub use faulty_cache::{CacheFault, FaultyCache};
pub use latency::{LatencyModel, LatencyStore};
#[cfg(any(feature = "memcached", feature = "redis"))]
pub use lying_cache::{CacheProtocol, LyingCache};
pub use trace::{Outcome, RequestKind, RequestRecord, Trace};
