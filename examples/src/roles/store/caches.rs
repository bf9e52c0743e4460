//! The caches of `thanos store`: what indexes hold, kept in memory.

use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use thanos_bucket::cache::{
    InMemoryCache, InMemoryMetrics, InMemoryOptions, IndexCache, IndexCacheMetrics,
    IndexCacheOptions,
};
use thanos_bucket::gateway::{MatcherCache, MatcherCacheMetrics};
use thanos_core::Result;
use thanos_storeapi::matchers::{MatcherSource, NewMatchers};

use crate::flags::bytes;

/// What is kept of what was read.
#[derive(Debug, Clone, Args)]
pub(super) struct CacheFlags {
    /// The most memory that the index cache may hold.
    #[arg(id = "index-cache-size", long = "index-cache-size", value_name = "BYTES", default_value = "250MB", value_parser = bytes)]
    index_cache_size: u64,
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
    pub(super) index: IndexCache,
    pub(super) matchers: Arc<dyn MatcherSource>,
    in_memory: InMemoryMetrics,
    matcher_metrics: Option<MatcherCacheMetrics>,
}

impl CacheFlags {
    pub(super) fn open(&self) -> Result<Caches> {
        let defaults = InMemoryOptions::default();
        let options = InMemoryOptions {
            bytes_max: self.index_cache_size,
            item_bytes_max: defaults.item_bytes_max.min(self.index_cache_size),
        };
        let in_memory = InMemoryMetrics::index();
        let backend = InMemoryCache::new(options, in_memory.clone())?;
        let (options, metrics) = (IndexCacheOptions::default(), IndexCacheMetrics::default());
        let matcher_metrics = (self.matcher_cache_size > 0).then(MatcherCacheMetrics::default);
        let matchers: Arc<dyn MatcherSource> = match &matcher_metrics {
            Some(metrics) => Arc::new(MatcherCache::new(self.matcher_cache_size, metrics.clone())),
            None => Arc::new(NewMatchers),
        };
        Ok(Caches {
            index: IndexCache::new(Arc::new(backend), options, metrics),
            matchers,
            in_memory,
            matcher_metrics,
        })
    }
}

impl Caches {
    /// Registers what the caches count.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.index.metrics().register(registry);
        self.in_memory.register(registry);
        if let Some(metrics) = &self.matcher_metrics {
            metrics.register(registry);
        }
    }
}
