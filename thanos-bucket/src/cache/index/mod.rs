//! The index cache: what was read of indexes, and which series satisfied the matchers of a request.
//!
//! | item type | a request is | a hit is | kept as |
//! |---|---|---|---|
//! | `Postings` | one list that a request needs | its bytes were known | pages of the lists |
//! | `Series` | one entry that a request needs | its bytes were known | pages of the entries |
//! | `ExpandedPostings` | the matchers of a request on a block | their series were known | one value |
//!
//! Pages (`page`) keep the number of keys in proportion to bytes; one key per list or entry makes a cache of 250 MB
//! hold mostly keys. Expanded postings are byte for byte those of Thanos ([`keys`], [`codec`]), so that gateways of both
//! kinds can share servers. Chunks are no matter of this cache but of the bucket's.

pub mod codec;
pub mod keys;
mod metrics;
pub(crate) mod page;
pub(crate) mod seal;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use thanos_core::Result;
use thanos_core::block::BlockId;
use thanos_core::labels::Matcher;
use thanos_core::postings::Postings;
use tracing::warn;

pub use keys::ItemType;
pub use metrics::IndexCacheMetrics;

use self::page::Page;
use super::Backend;
use super::memory::{InMemoryCache, InMemoryMetrics, InMemoryOptions};
use crate::compute::Compute;

/// How many pages are checked without asking for a thread: 128 KiB.
const PAGES_INLINE_MAX: usize = 8;
/// How many pages can be added to at once.
const MERGE_STRIPES: usize = 16;

/// What an index cache keeps, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexCacheOptions {
    /// The types of items that are kept; none means all (`enabled_items`).
    pub enabled_items: Vec<ItemType>,
    /// How long items are kept (`ttl`).
    pub ttl: Duration,
}

impl Default for IndexCacheOptions {
    fn default() -> Self {
        Self {
            enabled_items: Vec::new(),
            ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A cache of what gateways read of indexes. Clones are the same cache.
#[derive(Clone)]
pub struct IndexCache {
    backend: Arc<dyn Backend>,
    options: Arc<IndexCacheOptions>,
    metrics: IndexCacheMetrics,
    /// Held while a page in memory is made of the one before.
    merging: Arc<[Mutex<()>; MERGE_STRIPES]>,
}

/// What the cache knows of the series that satisfy matchers.
#[derive(Debug)]
pub enum Expanded {
    /// Nothing.
    Unknown,
    /// Something that is damaged.
    Unreadable,
    /// All of them.
    Known {
        /// The series.
        postings: Postings,
        /// How many bytes the cache had.
        bytes: u64,
        /// What decompressing them took.
        took: Duration,
    },
}

/// What compressing postings for the cache gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed {
    /// How many bytes are kept.
    pub bytes: u64,
    /// What it took.
    pub took: Duration,
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    (work(), started.elapsed())
}

impl IndexCache {
    /// Returns the cache that keeps its items in `backend`.
    pub fn new(
        backend: Arc<dyn Backend>,
        options: IndexCacheOptions,
        metrics: IndexCacheMetrics,
    ) -> Self {
        Self {
            backend,
            options: Arc::new(options),
            metrics,
            merging: Arc::default(),
        }
    }

    /// Returns a cache of all types of items in memory, whose counts nobody reads.
    ///
    /// # Errors
    ///
    /// `Invalid` for sizes that contradict each other.
    pub fn in_memory(options: InMemoryOptions) -> Result<Self> {
        let backend = InMemoryCache::new(options, InMemoryMetrics::index())?;
        let (options, metrics) = (IndexCacheOptions::default(), IndexCacheMetrics::default());
        Ok(Self::new(Arc::new(backend), options, metrics))
    }

    /// Returns what it counts.
    pub fn metrics(&self) -> &IndexCacheMetrics {
        &self.metrics
    }

    /// Reports whether items of this type are kept.
    pub fn keeps(&self, item: ItemType) -> bool {
        let enabled = &self.options.enabled_items;
        enabled.is_empty() || enabled.contains(&item)
    }

    /// Returns the series of `block` that satisfy `matchers`, if they are known. All references lie below `end`.
    pub async fn expanded(
        &self,
        block: BlockId,
        matchers: &[Matcher],
        end: u64,
        tenant: &str,
        compute: &Compute,
    ) -> Result<Expanded> {
        const ITEM: ItemType = ItemType::ExpandedPostings;
        if !self.keeps(ITEM) {
            return Ok(Expanded::Unknown);
        }
        let started = Instant::now();
        let keys = [keys::expanded_key(block, matchers)];
        let value = self.backend.get_many(&keys).await.pop().flatten();
        let [key] = keys;
        let mut expanded = Expanded::Unknown;
        if let Some(value) = value {
            let bytes = value.len() as u64;
            let decode = move || timed(|| seal::open(&key, &value, end));
            let (decoded, took) = compute.run(decode).await?;
            expanded = match decoded {
                Ok(postings) => Expanded::Known {
                    postings,
                    bytes,
                    took,
                },
                Err(error) => {
                    self.metrics.unreadable(ITEM);
                    warn!(%block, %error, "cached expanded postings are not readable, expanding again");
                    Expanded::Unreadable
                }
            };
        }
        let is_known = matches!(expanded, Expanded::Known { .. });
        self.metrics.looked_up(ITEM, tenant, 1, u64::from(is_known));
        self.metrics.took(ITEM, tenant, started.elapsed());
        Ok(expanded)
    }

    /// Keeps the series of `block` that satisfy `matchers`: all of them, for whoever asks next gets no others. Returns
    /// what compressing them took and gave, if they are kept.
    pub async fn store_expanded(
        &self,
        block: BlockId,
        matchers: &[Matcher],
        postings: Arc<Postings>,
        tenant: &str,
        compute: &Compute,
    ) -> Result<Option<Compressed>> {
        const ITEM: ItemType = ItemType::ExpandedPostings;
        if !self.keeps(ITEM) {
            return Ok(None);
        }
        let key = keys::expanded_key(block, matchers);
        let encode = move || {
            let encoded = timed(|| seal::sealed(&key, codec::encode_postings(&postings)));
            (key, encoded)
        };
        let (key, (encoded, took)) = compute.run(encode).await?;
        self.metrics.stored(ITEM, tenant, encoded.len());
        let bytes = encoded.len() as u64;
        self.backend.put(key, encoded.into(), self.options.ttl);
        Ok(Some(Compressed { bytes, took }))
    }

    /// Returns what is known of each page of the index of `block`.
    pub(crate) async fn pages(
        &self,
        item: ItemType,
        block: BlockId,
        numbers: &[u64],
        tenant: &str,
        compute: &Compute,
    ) -> Result<Vec<Option<Page>>> {
        let started = Instant::now();
        let key = |number: &u64| keys::page_key(item, block, *number);
        let keys: Vec<String> = numbers.iter().map(key).collect();
        let values = self.backend.get_many(&keys).await;
        let numbers: Vec<u64> = numbers.to_vec();
        let is_few = numbers.len() <= PAGES_INLINE_MAX;
        let metrics = self.metrics.clone();
        let decode = move || {
            let page = |((number, key), value): ((u64, &String), Option<Bytes>)| {
                Page::decode(number, key, &value?)
                    .inspect_err(|_| metrics.unreadable(item))
                    .ok()
            };
            let wanted = numbers.into_iter().zip(&keys);
            wanted.zip(values).map(page).collect()
        };
        // A few pages are summed up faster than handed over.
        let pages = if is_few {
            decode()
        } else {
            compute.run(decode).await?
        };
        self.metrics.took(item, tenant, started.elapsed());
        Ok(pages)
    }

    /// Keeps what was read of a page of the index of `block` together with what is known of it; `older` is what was known
    /// before the read. In memory others may have added to it since, and none of that is lost.
    pub(crate) fn add_page(
        &self,
        item: ItemType,
        block: BlockId,
        page: &Page,
        older: Option<Page>,
        tenant: &str,
    ) {
        let key = keys::page_key(item, block, page.number());
        let stripe = usize::try_from(page.number()).unwrap_or(0) % MERGE_STRIPES;
        let _adding = self.merging[stripe].lock();
        let now = self.backend.peek(&key);
        let now = now.and_then(|value| Page::decode(page.number(), &key, &value).ok());
        match now.or(older) {
            None => self.put_page(item, key, page, tenant),
            Some(known) => {
                if let Some(merged) = page.merged(&known) {
                    self.put_page(item, key, &merged, tenant);
                }
            }
        }
    }

    /// Keeps what was read of a page of the index of `block` instead of what is known of it.
    pub(crate) fn replace_page(&self, item: ItemType, block: BlockId, page: &Page, tenant: &str) {
        let key = keys::page_key(item, block, page.number());
        self.put_page(item, key, page, tenant);
    }

    fn put_page(&self, item: ItemType, key: String, page: &Page, tenant: &str) {
        let encoded = page.encode(&key);
        self.metrics.stored(item, tenant, encoded.len());
        self.backend.put(key, encoded, self.options.ttl);
    }

    /// Counts that so many items were asked for, and how many of them were known.
    pub(crate) fn looked_up(&self, item: ItemType, tenant: &str, requests: u64, hits: u64) {
        self.metrics.looked_up(item, tenant, requests, hits);
    }
}

impl fmt::Debug for IndexCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexCache")
            .field("backend", &self.backend)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
