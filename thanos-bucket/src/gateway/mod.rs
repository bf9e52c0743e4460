//! The store gateway: the blocks of a bucket as a `Store`, read by ranges only.
//!
//! ```text
//! request -> blocks by external labels, time, resolution
//!   per block: index-header -> postings ranges -> series ranges -> chunk ranges -> batches
//!   add external labels, remove replica labels (sorted again) -> merge -> whole series
//! ```
//!
//! A block is opened (its index-header built) when a sync first sees it. Nothing here writes to the bucket.

mod block;
mod chunks;
mod entries;
mod header;
mod labels;
mod partition;
mod postings;
mod select;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::RwLock;
use thanos_core::block::{BlockId, Meta};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Matcher;
use thanos_core::query::Missing;
use thanos_core::time::TimeRange;
use thanos_core::{Error, ErrorKind, Result};
use thanos_storeapi::label_edit::strip_matchers;
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, SeriesRequest,
    SeriesStream, Store, StoreInfo, TsdbInfo,
};

use self::block::{FetchLimits, GatewayBlock};
use self::select::Resolutions;
use crate::Bucket;
use crate::fetch::{BucketView, FetchOptions, fetch};

/// Settings of a [`Gateway`]; the defaults are those of `thanos store`.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// How the block list is read.
    pub fetch: FetchOptions,
    /// How many blocks are opened at once (`--block-sync-concurrency`).
    pub sync_concurrency: usize,
    /// Ranges with at most this many unwanted bytes between them are fetched together.
    pub gap_bytes_max: u64,
    /// Requests of one step that are under way at once.
    pub fetch_concurrency: usize,
    /// Where index-headers are kept between runs; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// What requests may hold in memory.
    pub budget: MemoryBudget,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            fetch: FetchOptions::default(),
            sync_concurrency: 20,
            gap_bytes_max: 512 << 10,
            fetch_concurrency: 8,
            data_dir: None,
            budget: MemoryBudget::new("store memory", 2 << 30),
        }
    }
}

/// What a sync found.
#[derive(Debug)]
pub struct SyncReport {
    /// Blocks that are served.
    pub loaded: usize,
    /// Blocks that are not served because they are still being uploaded or damaged, with the reason.
    pub failed: BTreeMap<BlockId, Error>,
}

/// A [`Store`] over the blocks of a bucket.
///
/// # Example
///
/// ```no_run
/// # async fn serve() -> thanos_core::Result<()> {
/// use thanos_bucket::gateway::{Gateway, GatewayOptions};
///
/// let bucket = thanos_bucket::directory::open("/var/blocks")?;
/// let gateway = Gateway::new(bucket, GatewayOptions::default());
/// let report = gateway.sync().await?;
/// println!("serving {} blocks", report.loaded);
/// # Ok(())
/// # }
/// ```
pub struct Gateway {
    bucket: Bucket,
    options: GatewayOptions,
    /// Replaced as a whole by a sync: a request keeps the blocks it started with.
    blocks: RwLock<Arc<Loaded>>,
}

#[derive(Debug, Default)]
struct Loaded {
    view: BucketView,
    blocks: BTreeMap<BlockId, Arc<GatewayBlock>>,
    /// Blocks that should be served and cannot be.
    failed: Vec<FailedBlock>,
}

/// A block that exists and cannot be served.
#[derive(Debug)]
struct FailedBlock {
    /// What it may hold; everything when not even its `meta.json` can be read.
    tsdb: TsdbInfo,
    /// Its resolution, 0 when unknown: a request for finer data would not have read it.
    resolution_ms: i64,
    /// What answers say about it.
    missing: Missing,
}

impl Loaded {
    /// Returns what an answer for `range` and `matchers` lacks.
    ///
    /// # Errors
    ///
    /// The first of them, when the request wants all or nothing.
    fn missing(
        &self,
        range: TimeRange,
        matchers: &[Matcher],
        resolutions: Resolutions,
        policy: PartialResponse,
    ) -> Result<Vec<Missing>> {
        let is_concerned = |failed: &&FailedBlock| {
            failed.tsdb.range.overlaps(range)
                && resolutions.include(failed.resolution_ms)
                && strip_matchers(matchers, &failed.tsdb.external_labels).is_some()
        };
        let missing: Vec<Missing> = self
            .failed
            .iter()
            .filter(is_concerned)
            .map(|failed| failed.missing.clone())
            .collect();
        match (missing.first(), policy) {
            (Some(first), PartialResponse::Abort) => Err(Error::unavailable(format!(
                "{}: {}",
                first.source, first.reason
            ))),
            _ => Ok(missing),
        }
    }
}

/// Returns the blocks of `failed` that exist: one without `meta.json` is still being uploaded.
fn failed_blocks(failed: &BTreeMap<BlockId, Error>, view: &BucketView) -> Vec<FailedBlock> {
    let of = |(id, error): (&BlockId, &Error)| {
        let tsdb = match view.blocks.get(id) {
            Some(meta) => TsdbInfo {
                external_labels: meta.external_labels(),
                range: meta.time_range(),
            },
            None if error.kind() == ErrorKind::NotFound => return None,
            None => TsdbInfo::default(),
        };
        let missing = Missing {
            source: format!("block {id}"),
            reason: error.to_string(),
        };
        let resolution_ms = view.blocks.get(id).map_or(0, |meta| meta.resolution_ms());
        Some(FailedBlock {
            tsdb,
            resolution_ms,
            missing,
        })
    };
    failed.iter().filter_map(of).collect()
}

impl Gateway {
    /// Returns a gateway that serves nothing before its first [`Gateway::sync`].
    pub fn new(bucket: Bucket, options: GatewayOptions) -> Self {
        Self {
            bucket,
            options,
            blocks: RwLock::default(),
        }
    }

    /// Brings the served blocks up to date with the bucket.
    ///
    /// A block that cannot be opened is reported and tried again at the next sync; the others are served.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed; what was served before still is.
    pub async fn sync(&self) -> Result<SyncReport> {
        let before = Arc::clone(&self.blocks.read());
        let mut view = fetch(&self.bucket, &before.view, &self.options.fetch).await?;
        let limits = FetchLimits {
            gap_bytes_max: self.options.gap_bytes_max,
            fetch_concurrency: self.options.fetch_concurrency.max(1),
        };
        // The futures are collected first: a closure over references here would keep the sync from being `Send`.
        let mut opening = Vec::with_capacity(view.blocks.len());
        for (id, meta) in &view.blocks {
            let known = before.blocks.get(id).map(Arc::clone);
            opening.push(self.open_block(*id, Arc::clone(meta), known, limits));
        }
        let opened: Vec<(BlockId, Result<Arc<GatewayBlock>>)> = futures::stream::iter(opening)
            .buffer_unordered(self.options.sync_concurrency.max(1))
            .collect()
            .await;

        let mut failed = std::mem::take(&mut view.partial);
        let mut blocks = BTreeMap::new();
        for (id, outcome) in opened {
            match outcome {
                Ok(block) => {
                    blocks.insert(id, block);
                }
                Err(error) => {
                    tracing::warn!(block = %id, %error, "cannot open block, it is not served");
                    failed.insert(id, error);
                }
            }
        }
        let loaded = blocks.len();
        let refused = failed_blocks(&failed, &view);
        *self.blocks.write() = Arc::new(Loaded {
            view,
            blocks,
            failed: refused,
        });
        Ok(SyncReport { loaded, failed })
    }

    async fn open_block(
        &self,
        id: BlockId,
        meta: Arc<Meta>,
        known: Option<Arc<GatewayBlock>>,
        limits: FetchLimits,
    ) -> (BlockId, Result<Arc<GatewayBlock>>) {
        if let Some(block) = known {
            return (id, Ok(block));
        }
        let data_dir = self.options.data_dir.as_deref();
        let opened = GatewayBlock::open(self.bucket.clone(), meta, limits, data_dir).await;
        (id, opened.map(Arc::new))
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.blocks.read())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Gateway {
    async fn info(&self) -> Result<StoreInfo> {
        let loaded = self.loaded();
        let served = loaded.blocks.values().map(|block| TsdbInfo {
            external_labels: block.external_labels().clone(),
            range: block.announced_range(),
        });
        // Blocks that cannot be served count, so that a proxy asks and learns that they are missing.
        let failed = loaded.failed.iter().map(|failed| failed.tsdb.clone());
        let mut all: Vec<TsdbInfo> = served.chain(failed).collect();
        all.sort_by(|a, b| {
            a.external_labels
                .cmp(&b.external_labels)
                .then(a.range.min.cmp(&b.range.min))
        });
        let mut tsdbs: Vec<TsdbInfo> = Vec::new();
        for tsdb in all {
            match tsdbs.last_mut() {
                // Adjacent and overlapping ranges are one database (row ST-31 of the specification).
                Some(last)
                    if last.external_labels == tsdb.external_labels
                        && tsdb.range.min <= last.range.max =>
                {
                    last.range.max = last.range.max.max(tsdb.range.max);
                }
                _ => tsdbs.push(tsdb),
            }
        }
        Ok(StoreInfo {
            component: "store".to_owned(),
            tsdbs,
            supports_sharding: true,
            supports_without_replica_labels: true,
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        // Without chunks the question is which series exist, and some exist in blocks of one resolution only.
        let resolutions = if request.skip_chunks {
            Resolutions::All
        } else {
            Resolutions::CoarsestUpTo(request.max_resolution_window_ms)
        };
        select::series(&self.loaded(), request, resolutions, &self.options.budget)
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        labels::label_names(&self.loaded(), request, &self.options.budget).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        labels::label_values(&self.loaded(), request, &self.options.budget).await
    }
}
