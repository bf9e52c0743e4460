//! The cache in memory: bounded in bytes, with keys and bookkeeping counted, so that the configured size is the memory
//! used (the items of a cache that counts values only can take a multiple of it).
//!
//! What is used often stays (S3-FIFO of `quick_cache`, no list that every read would have to lock and change). An item
//! past its time counts as absent and goes when it is asked for or pushed out.

mod metrics;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use thanos_core::time::{Clock, SystemClock, Timestamp};
use thanos_core::{Error, Result};

pub use metrics::InMemoryMetrics;

use super::Backend;

/// What one item takes beside its key and its value: the entry, its place in the queue and in the table of hashes, two
/// allocations, and a share of the keys remembered after they left.
const ITEM_BYTES: u64 = 160;
/// The size that items are expected to have, which only guides how much is remembered about items that left.
const ITEM_BYTES_EXPECTED: u64 = 16 << 10;

/// How much a cache in memory may hold; the defaults are those of Thanos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InMemoryOptions {
    /// All items with keys and bookkeeping, in bytes (`max_size`).
    pub bytes_max: u64,
    /// One item, in bytes (`max_item_size`).
    pub item_bytes_max: u64,
}

impl Default for InMemoryOptions {
    fn default() -> Self {
        Self {
            bytes_max: 250 << 20,
            item_bytes_max: 125 << 20,
        }
    }
}

/// A [`Backend`] in the memory of this process.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use thanos_bucket::cache::{Backend, InMemoryCache, InMemoryOptions};
///
/// # futures::executor::block_on(async {
/// let cache = InMemoryCache::new(InMemoryOptions::default(), Default::default())?;
/// cache.put("a".to_owned(), "1".into(), Duration::from_secs(60));
/// let found = cache.get_many(&["a".to_owned(), "b".to_owned()]).await;
/// assert_eq!(found, [Some("1".into()), None]);
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
pub struct InMemoryCache {
    items: Cache<Box<str>, Item, ItemWeight, DefaultHashBuilder, Departures>,
    options: InMemoryOptions,
    metrics: InMemoryMetrics,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Item {
    value: Bytes,
    expires: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct ItemWeight;

impl Weighter<Box<str>, Item> for ItemWeight {
    fn weight(&self, key: &Box<str>, item: &Item) -> u64 {
        weight(key, &item.value)
    }
}

fn weight(key: &str, value: &Bytes) -> u64 {
    ITEM_BYTES + key.len() as u64 + value.len() as u64
}

/// Collects the items that leave while one is put in.
#[derive(Debug, Clone, Copy)]
struct Departures;

impl Lifecycle<Box<str>, Item> for Departures {
    type RequestState = Vec<(Box<str>, Item)>;

    fn on_evict(&self, left: &mut Self::RequestState, key: Box<str>, item: Item) {
        left.push((key, item));
    }
}

impl InMemoryCache {
    /// Returns an empty cache.
    ///
    /// # Errors
    ///
    /// `Invalid` when one item may be larger than all.
    pub fn new(options: InMemoryOptions, metrics: InMemoryMetrics) -> Result<Self> {
        Self::with_clock(options, metrics, Arc::new(SystemClock))
    }

    /// Returns an empty cache whose items age by `clock`.
    ///
    /// # Errors
    ///
    /// As [`InMemoryCache::new`].
    pub fn with_clock(
        options: InMemoryOptions,
        metrics: InMemoryMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let InMemoryOptions {
            bytes_max,
            item_bytes_max,
        } = options;
        if item_bytes_max > bytes_max {
            let message = format!(
                "max item size ({item_bytes_max}) cannot be bigger than overall cache size ({bytes_max})"
            );
            return Err(Error::invalid(message));
        }
        // A shard must have room for the largest item: what does not fit into one is not kept at all.
        let shards = bytes_max / (item_bytes_max + ITEM_BYTES).max(1);
        let shards = usize::try_from(shards).unwrap_or(usize::MAX).clamp(1, 16);
        let items = usize::try_from(bytes_max / ITEM_BYTES_EXPECTED).unwrap_or(usize::MAX);
        let built = OptionsBuilder::new()
            .shards(previous_power_of_two(shards))
            .estimated_items_capacity(items.max(64))
            .weight_capacity(bytes_max)
            .build()
            .map_err(|error| Error::internal(format!("cache options: {error}")))?;
        metrics.set_limits(options);
        Ok(Self {
            items: Cache::with_options(
                built,
                ItemWeight,
                DefaultHashBuilder::default(),
                Departures,
            ),
            options,
            metrics,
            clock,
        })
    }

    /// Returns the bytes held: values, keys and bookkeeping.
    pub fn held_bytes(&self) -> u64 {
        self.items.weight()
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.metrics.requested();
        let item = self.items.get(key)?;
        let now = self.clock.now();
        if now > item.expires {
            self.metrics.found_expired();
            let is_expired = |item: &Item| now > item.expires;
            if let Some((key, item)) = self.items.remove_if(key, is_expired) {
                self.metrics.evicted(&key, item.value.len());
            }
            return None;
        }
        self.metrics.hit();
        Some(item.value)
    }

    fn insert(&self, key: String, value: &Bytes, ttl: Duration) {
        if value.len() as u64 > self.options.item_bytes_max {
            self.metrics.overflowed(&key);
            return;
        }
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let item = Item {
            value: Bytes::copy_from_slice(value),
            expires: self.clock.now().saturating_add_millis(ttl_ms),
        };
        self.metrics.added(&key, value.len());
        let key = key.into_boxed_str();
        let mut left = Vec::new();
        self.items
            .insert_with_lifecycle(key.clone(), item, &mut left);
        for (left_key, item) in left {
            if left_key == key {
                // The one before under the same key, or the new one itself, which found no room.
                self.metrics.replaced(&left_key, item.value.len());
            } else {
                self.metrics.evicted(&left_key, item.value.len());
            }
        }
    }
}

fn previous_power_of_two(count: usize) -> usize {
    match count.checked_ilog2() {
        Some(log) => 1 << log,
        None => 1,
    }
}

#[async_trait]
impl Backend for InMemoryCache {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn peek(&self, key: &str) -> Option<Bytes> {
        let item = self.items.peek(key)?;
        (self.clock.now() <= item.expires).then_some(item.value)
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn put(&self, key: String, value: Bytes, ttl: Duration) {
        self.insert(key, &value, ttl);
    }
}

impl fmt::Debug for InMemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryCache")
            .field("options", &self.options)
            .field("items", &self.items.len())
            .field("held_bytes", &self.held_bytes())
            .finish_non_exhaustive()
    }
}
