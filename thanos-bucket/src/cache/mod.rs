//! Caches: what was read from the bucket once, kept in memory or in servers beside the gateway.
//!
//! ```text
//! gateway -> IndexCache ----+                    postings, series, expanded postings
//!                           +-> Backend: memory, memcached, Redis
//! bucket  -> CachingStore --+                    chunks, attributes, meta.json, listings
//! ```
//!
//! A cache is never the cause of an error: what it does not have, cannot reach or cannot read is a miss, which is
//! counted. Nothing here knows what a query is; leases and limits belong to whoever asks.

pub mod config;
pub mod index;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "memcached", feature = "redis"))]
mod remote;
mod setup;
pub mod store;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "redis")]
pub use self::redis::{RedisCache, RedisOptions};
pub use index::{Compressed, Expanded, IndexCache, IndexCacheMetrics, IndexCacheOptions, ItemType};
#[cfg(feature = "memcached")]
pub use memcached::{MemcachedCache, MemcachedOptions};
pub use memory::{InMemoryCache, InMemoryMetrics, InMemoryOptions};
#[cfg(any(feature = "memcached", feature = "redis"))]
pub use remote::RemoteMetrics;
#[cfg(any(feature = "memcached", feature = "redis"))]
pub use remote::breaker::BreakerOptions;
#[cfg(feature = "redis")]
pub use remote::tls::TlsOptions;
pub use setup::{CacheMetrics, CachingBucketConfig, IndexCacheConfig};
pub use store::{
    CachingStore, CachingStoreMetrics, CachingStoreOptions, PastCaches, ShortReads, Unsummed,
};

/// A place that keeps values under keys for some time.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Returns the value of each of `keys`, in their order; `None` for those it does not have or cannot get now.
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>>;

    /// Returns the value of `key` if the cache has it in this process, and counts nothing: for whoever changes a value.
    fn peek(&self, _key: &str) -> Option<Bytes> {
        None
    }

    /// Reports whether values are out of our hands, so that what comes back is not always what was put.
    fn is_remote(&self) -> bool {
        true
    }

    /// Keeps `value` for at most `ttl`: at once, soon, or not at all when there is no room.
    ///
    /// What is kept never holds on to a larger buffer of which `value` is a part.
    fn put(&self, key: String, value: Bytes, ttl: Duration);
}
