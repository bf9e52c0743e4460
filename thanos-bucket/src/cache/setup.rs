//! Caches out of Thanos' configurations: `--index-cache.config` and `--store.caching-bucket.config`.
//!
//! ```yaml
//! type: MEMCACHED
//! config:
//!   addresses: ["dns+memcached:11211"]
//! enabled_items: ["Postings", "Series", "ExpandedPostings"]     # index cache
//! ttl: 24h                                                      # index cache
//! chunk_subrange_size: 16000                                    # caching bucket, and more
//! ```
//!
//! Unknown fields are errors, also in `config`, where Thanos lets them pass: a setting that does nothing is a mistake.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thanos_core::{Error, Result};

use super::Backend;
use super::config::{ByteSize, go_duration};
use super::index::{IndexCache, IndexCacheMetrics, IndexCacheOptions, ItemType};
use super::memory::{InMemoryCache, InMemoryMetrics, InMemoryOptions};
#[cfg(any(feature = "memcached", feature = "redis"))]
use super::remote::RemoteMetrics;
use super::store::{CachingStore, CachingStoreMetrics, CachingStoreOptions};
use crate::Bucket;

/// The names of the two caches in metrics.
const INDEX_CACHE: &str = "index-cache";
const CACHING_BUCKET: &str = "caching-bucket";

/// What the caches of a gateway count.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    index: IndexCacheMetrics,
    index_memory: InMemoryMetrics,
    store: CachingStoreMetrics,
    store_memory: InMemoryMetrics,
    #[cfg(feature = "memcached")]
    memcached: RemoteMetrics,
    #[cfg(feature = "redis")]
    redis: RemoteMetrics,
}

impl Default for CacheMetrics {
    fn default() -> Self {
        Self {
            index: IndexCacheMetrics::default(),
            index_memory: InMemoryMetrics::index(),
            store: CachingStoreMetrics::default(),
            store_memory: InMemoryMetrics::named(CACHING_BUCKET),
            #[cfg(feature = "memcached")]
            memcached: RemoteMetrics::memcached(),
            #[cfg(feature = "redis")]
            redis: RemoteMetrics::redis(),
        }
    }
}

impl CacheMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        self.index.register(registry);
        self.index_memory.register(registry);
        self.store.register(registry);
        self.store_memory.register(registry);
        #[cfg(feature = "memcached")]
        self.memcached.register(registry);
        #[cfg(feature = "redis")]
        self.redis.register(registry);
    }
}

/// The configuration of an index cache.
///
/// # Example
///
/// ```
/// use thanos_bucket::cache::{CacheMetrics, IndexCacheConfig};
///
/// # futures::executor::block_on(async {
/// let yaml = "type: IN-MEMORY\nconfig:\n  max_size: 250MB\n  max_item_size: 125MB\n";
/// let config = IndexCacheConfig::from_yaml(yaml)?;
/// let cache = config.open(&CacheMetrics::default()).await?;
/// # let _ = cache;
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexCacheConfig {
    #[serde(rename = "type")]
    provider: String,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    enabled_items: Vec<String>,
    #[serde(default, deserialize_with = "go_duration")]
    ttl: Duration,
}

impl IndexCacheConfig {
    /// Returns the configuration in `yaml`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of the problem in the text.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        parse("index cache configuration", yaml)
    }

    /// Returns a cache in memory of `bytes_max` (`--index-cache-size`), of which one item may be half.
    pub fn in_memory(bytes_max: u64) -> Self {
        let config = serde_json::json!({
            "max_size": bytes_max,
            "max_item_size": (bytes_max / 2).min(InMemoryOptions::default().item_bytes_max),
        });
        Self {
            provider: "IN-MEMORY".to_owned(),
            config,
            enabled_items: Vec::new(),
            ttl: Duration::ZERO,
        }
    }

    /// Opens the cache. In a tokio runtime, when it is in servers.
    ///
    /// # Errors
    ///
    /// `Invalid` for what cannot work; `Unavailable` when no server is known.
    pub async fn open(&self, metrics: &CacheMetrics) -> Result<IndexCache> {
        let item = |name: &String| {
            let found = ItemType::ALL.into_iter().find(|item| item.as_str() == name);
            found.ok_or_else(|| Error::invalid(format!("unsupported item type {name}")))
        };
        let enabled_items: Result<Vec<ItemType>> = self.enabled_items.iter().map(item).collect();
        let mut options = IndexCacheOptions {
            enabled_items: enabled_items?,
            ..IndexCacheOptions::default()
        };
        if !self.ttl.is_zero() {
            options.ttl = self.ttl;
        }
        let backend = self.backend(metrics).await;
        let backend = backend
            .map_err(|error| error.context(format!("create {} index cache", self.provider)))?;
        Ok(IndexCache::new(backend, options, metrics.index.clone()))
    }

    async fn backend(&self, metrics: &CacheMetrics) -> Result<Arc<dyn Backend>> {
        let (config, memory) = (self.config.clone(), metrics.index_memory.clone());
        match Provider::named(&self.provider) {
            Some(Provider::Groupcache) | None => Err(Error::invalid(format!(
                "index cache with type {} is not supported",
                self.provider
            ))),
            Some(provider) => open_backend(provider, config, INDEX_CACHE, memory, metrics).await,
        }
    }
}

/// The configuration of a caching bucket.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CachingBucketConfig {
    #[serde(rename = "type")]
    provider: String,
    config: Value,
    chunk_subrange_size: u64,
    max_chunks_get_range_requests: i64,
    metafile_max_size: ByteSize,
    #[serde(deserialize_with = "go_duration")]
    chunk_object_attrs_ttl: Duration,
    #[serde(deserialize_with = "go_duration")]
    chunk_subrange_ttl: Duration,
    #[serde(deserialize_with = "go_duration")]
    blocks_iter_ttl: Duration,
    #[serde(deserialize_with = "go_duration")]
    metafile_exists_ttl: Duration,
    #[serde(deserialize_with = "go_duration")]
    metafile_doesnt_exist_ttl: Duration,
    #[serde(deserialize_with = "go_duration")]
    metafile_content_ttl: Duration,
    /// Tells the listings of buckets apart.
    #[serde(skip)]
    listing_hash: String,
}

impl Default for CachingBucketConfig {
    fn default() -> Self {
        let options = CachingStoreOptions::default();
        Self {
            provider: String::new(),
            config: Value::Null,
            chunk_subrange_size: options.subrange_bytes,
            max_chunks_get_range_requests: i64::try_from(options.range_requests_max).unwrap_or(0),
            metafile_max_size: ByteSize(options.content_bytes_max),
            chunk_object_attrs_ttl: options.attributes_ttl,
            chunk_subrange_ttl: options.subrange_ttl,
            blocks_iter_ttl: options.iter_ttl,
            metafile_exists_ttl: options.exists_ttl,
            metafile_doesnt_exist_ttl: options.absent_ttl,
            metafile_content_ttl: options.content_ttl,
            listing_hash: options.listing_hash,
        }
    }
}

impl CachingBucketConfig {
    /// Returns the configuration in `yaml`, which was read from the file at `path`, if it was. Both together tell the
    /// listings of buckets apart that share servers, as in Thanos.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of the problem in the text.
    pub fn from_yaml(yaml: &str, path: &str) -> Result<Self> {
        let config: Self = parse("caching bucket configuration", yaml)?;
        if config.chunk_subrange_size == 0 {
            let message = "caching bucket configuration: chunk_subrange_size must be positive";
            return Err(Error::invalid(message));
        }
        let hash = xxhash_rust::xxh64::xxh64(format!("{yaml}{path}").as_bytes(), 0);
        Ok(Self {
            listing_hash: hash.to_string(),
            ..config
        })
    }

    /// Returns `bucket` with the cache over it. In a tokio runtime, when it is in servers.
    ///
    /// # Errors
    ///
    /// `Invalid` for what cannot work; `Unavailable` when no server is known.
    pub async fn open(&self, bucket: Bucket, metrics: &CacheMetrics) -> Result<Bucket> {
        let (config, memory) = (self.config.clone(), metrics.store_memory.clone());
        let backend = match Provider::named(&self.provider) {
            // Row ST-26 of the specification: peers would have to serve each other.
            Some(Provider::Groupcache) => {
                let message = "cache type GROUPCACHE is not supported: use MEMCACHED or REDIS to share a cache";
                return Err(Error::invalid(message));
            }
            None => {
                let message = format!("unsupported cache type: {}", self.provider);
                return Err(Error::invalid(message));
            }
            Some(provider) => {
                open_backend(provider, config, CACHING_BUCKET, memory, metrics).await?
            }
        };
        let mut options = self.options();
        options.prefix = bucket.prefix().clone();
        let metrics = metrics.store.clone();
        Ok(bucket.layered(|store| Arc::new(CachingStore::new(store, backend, options, metrics))))
    }

    fn options(&self) -> CachingStoreOptions {
        CachingStoreOptions {
            subrange_bytes: self.chunk_subrange_size,
            // Negative means any number too.
            range_requests_max: usize::try_from(self.max_chunks_get_range_requests).unwrap_or(0),
            content_bytes_max: self.metafile_max_size.0,
            attributes_ttl: self.chunk_object_attrs_ttl,
            subrange_ttl: self.chunk_subrange_ttl,
            iter_ttl: self.blocks_iter_ttl,
            exists_ttl: self.metafile_exists_ttl,
            absent_ttl: self.metafile_doesnt_exist_ttl,
            content_ttl: self.metafile_content_ttl,
            listing_hash: self.listing_hash.clone(),
            ..CachingStoreOptions::default()
        }
    }
}

impl fmt::Debug for IndexCacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_without_secrets(f, "IndexCacheConfig", &self.provider)
    }
}

impl fmt::Debug for CachingBucketConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_without_secrets(f, "CachingBucketConfig", &self.provider)
    }
}

/// The settings of a backend have passwords among them.
fn debug_without_secrets(f: &mut fmt::Formatter<'_>, name: &str, provider: &str) -> fmt::Result {
    f.debug_struct(name)
        .field("type", &provider)
        .finish_non_exhaustive()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    InMemory,
    Memcached,
    Redis,
    Groupcache,
}

impl Provider {
    fn named(name: &str) -> Option<Self> {
        match name.to_uppercase().as_str() {
            "IN-MEMORY" => Some(Self::InMemory),
            "MEMCACHED" => Some(Self::Memcached),
            "REDIS" => Some(Self::Redis),
            "GROUPCACHE" => Some(Self::Groupcache),
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InMemoryConfig {
    max_size: ByteSize,
    max_item_size: ByteSize,
}

impl Default for InMemoryConfig {
    fn default() -> Self {
        let options = InMemoryOptions::default();
        Self {
            max_size: ByteSize(options.bytes_max),
            max_item_size: ByteSize(options.item_bytes_max),
        }
    }
}

#[cfg_attr(
    not(any(feature = "memcached", feature = "redis")),
    expect(
        unused_variables,
        clippy::unused_async,
        reason = "servers are features"
    )
)]
async fn open_backend(
    provider: Provider,
    config: Value,
    name: &'static str,
    memory: InMemoryMetrics,
    metrics: &CacheMetrics,
) -> Result<Arc<dyn Backend>> {
    match provider {
        Provider::InMemory => {
            let config: InMemoryConfig = backend_config(config)?;
            let options = InMemoryOptions {
                bytes_max: config.max_size.0,
                item_bytes_max: config.max_item_size.0,
            };
            Ok(Arc::new(InMemoryCache::new(options, memory)?))
        }
        #[cfg(feature = "memcached")]
        Provider::Memcached => {
            let options = backend_config(config)?;
            let metrics = metrics.memcached.clone();
            let cache = super::memcached::MemcachedCache::new(name, options, metrics).await?;
            Ok(Arc::new(cache))
        }
        #[cfg(feature = "redis")]
        Provider::Redis => {
            let options = backend_config(config)?;
            let metrics = metrics.redis.clone();
            let cache = super::redis::RedisCache::new(name, options, metrics)?;
            Ok(Arc::new(cache))
        }
        #[cfg(not(feature = "memcached"))]
        Provider::Memcached => Err(missing("memcached")),
        #[cfg(not(feature = "redis"))]
        Provider::Redis => Err(missing("redis")),
        Provider::Groupcache => Err(Error::invalid("cache type GROUPCACHE is not supported")),
    }
}

#[cfg(not(all(feature = "memcached", feature = "redis")))]
fn missing(feature: &str) -> Error {
    Error::invalid(format!(
        "this build has no cache in such servers: feature `{feature}` is off"
    ))
}

/// Reads the settings of a backend; none at all are its defaults.
fn backend_config<T: DeserializeOwned + Default>(config: Value) -> Result<T> {
    if config.is_null() {
        return Ok(T::default());
    }
    // The error of serde_json shows no values but that of a wrong type, which no password has.
    serde_json::from_value(config)
        .map_err(|error| Error::invalid(format!("cache backend configuration: {error}")))
}

fn parse<T: DeserializeOwned>(what: &str, yaml: &str) -> Result<T> {
    // A snippet of the text around the problem could show the secrets beside it.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(yaml, options)
        .map_err(|error| Error::invalid(format!("{what}: {error}")).with_source(error))
}
