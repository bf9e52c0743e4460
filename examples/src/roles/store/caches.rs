//! The caches of `thanos store`: what was read of indexes and of the bucket, in memory or in servers.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use thanos_bucket::Bucket;
use thanos_bucket::cache::{CacheMetrics, CachingBucketConfig, IndexCache, IndexCacheConfig};
use thanos_bucket::gateway::{MatcherCache, MatcherCacheMetrics};
use thanos_core::Result;
use thanos_storeapi::matchers::{MatcherSource, NewMatchers};

use crate::flags::{bytes, content};

/// What is kept of what was read.
#[derive(Debug, Clone, Args)]
pub(super) struct CacheFlags {
    /// The most memory that the index cache may hold; ignored with --index-cache.config or --index-cache.config-file.
    #[arg(id = "index-cache-size", long = "index-cache-size", value_name = "BYTES", default_value = "250MB", value_parser = bytes)]
    index_cache_size: u64,
    /// Path to the YAML file that says where the index cache is (IN-MEMORY, MEMCACHED, REDIS) and what it keeps.
    #[arg(
        id = "index-cache.config-file",
        long = "index-cache.config-file",
        value_name = "FILE"
    )]
    index_cache_config_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'index-cache.config-file'.
    #[arg(
        id = "index-cache.config",
        long = "index-cache.config",
        value_name = "CONTENT"
    )]
    index_cache_config: Option<String>,
    /// Path to the YAML file that says where chunks, meta.json and listings are cached (IN-MEMORY, MEMCACHED, REDIS).
    #[arg(
        id = "store.caching-bucket.config-file",
        long = "store.caching-bucket.config-file",
        value_name = "FILE",
        hide = true
    )]
    caching_bucket_config_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'store.caching-bucket.config-file'.
    #[arg(
        id = "store.caching-bucket.config",
        long = "store.caching-bucket.config",
        value_name = "CONTENT",
        hide = true
    )]
    caching_bucket_config: Option<String>,
    /// How many compiled regular expressions of requests are kept; 0 keeps none.
    #[arg(
        id = "matcher-cache-size",
        long = "matcher-cache-size",
        value_name = "N",
        default_value_t = 0
    )]
    matcher_cache_size: usize,
}

/// The caches, and what they count.
#[derive(Debug)]
pub(super) struct Caches {
    /// The bucket, with a cache over it if one is configured.
    pub(super) bucket: Bucket,
    pub(super) index: IndexCache,
    pub(super) matchers: Arc<dyn MatcherSource>,
    metrics: CacheMetrics,
    matcher_metrics: Option<MatcherCacheMetrics>,
}

impl CacheFlags {
    /// Makes the caches for `bucket`.
    ///
    /// # Errors
    ///
    /// `Invalid` for configurations that cannot be; when no server of a cache is known.
    pub(super) async fn open(&self, bucket: Bucket) -> Result<Caches> {
        let metrics = CacheMetrics::default();
        let bucket = match self.caching_bucket()? {
            Some(config) => config.open(bucket, &metrics).await?,
            None => bucket,
        };
        let matcher_metrics = (self.matcher_cache_size > 0).then(MatcherCacheMetrics::default);
        let matchers: Arc<dyn MatcherSource> = match &matcher_metrics {
            Some(metrics) => Arc::new(MatcherCache::new(self.matcher_cache_size, metrics.clone())),
            None => Arc::new(NewMatchers),
        };
        Ok(Caches {
            bucket,
            index: self.index_cache()?.open(&metrics).await?,
            matchers,
            metrics,
            matcher_metrics,
        })
    }

    fn index_cache(&self) -> Result<IndexCacheConfig> {
        let yaml = content(
            "index-cache.config",
            &self.index_cache_config,
            &self.index_cache_config_file,
        )?;
        match yaml {
            Some(yaml) => IndexCacheConfig::from_yaml(&yaml),
            None => Ok(IndexCacheConfig::in_memory(self.index_cache_size)),
        }
    }

    fn caching_bucket(&self) -> Result<Option<CachingBucketConfig>> {
        let file = &self.caching_bucket_config_file;
        let flag = "store.caching-bucket.config";
        let yaml = content(flag, &self.caching_bucket_config, file)?;
        let path = file
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        yaml.map(|yaml| CachingBucketConfig::from_yaml(&yaml, &path))
            .transpose()
    }
}

impl Caches {
    /// Registers what the caches count.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        if let Some(metrics) = &self.matcher_metrics {
            metrics.register(registry);
        }
    }
}
