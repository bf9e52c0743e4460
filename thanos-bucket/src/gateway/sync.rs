//! Bringing the served blocks up to date with the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use thanos_core::block::BlockId;
use thanos_core::labels::Matcher;
use thanos_core::query::Missing;
use thanos_core::time::TimeRange;
use thanos_core::{Error, ErrorKind, Result};
use thanos_storeapi::label_edit::strip_matchers;
use thanos_storeapi::store::{PartialResponse, TsdbInfo};

use super::Gateway;
use super::block::GatewayBlock;
use super::select::Resolutions;
use crate::fetch::{BlockEntry, BucketView, fetch};

/// What a sync found.
#[derive(Debug)]
pub struct SyncReport {
    /// Blocks that are served.
    pub loaded: usize,
    /// Blocks that are not served because they are still being uploaded or damaged, with the reason.
    pub failed: BTreeMap<BlockId, Error>,
}

#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) view: BucketView,
    pub(super) blocks: BTreeMap<BlockId, Arc<GatewayBlock>>,
    /// Blocks that should be served and cannot be.
    pub(super) failed: Vec<FailedBlock>,
}

/// A block that exists and cannot be served.
#[derive(Debug)]
pub(super) struct FailedBlock {
    /// What it may hold; everything when not even its `meta.json` can be read.
    pub(super) tsdb: TsdbInfo,
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
    pub(super) fn missing(
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
            Some(entry) => TsdbInfo {
                external_labels: entry.meta.external_labels(),
                range: entry.meta.time_range(),
            },
            None if error.kind() == ErrorKind::NotFound => return None,
            None => TsdbInfo::default(),
        };
        let missing = Missing {
            source: format!("block {id}"),
            reason: error.to_string(),
        };
        let resolution_ms = view
            .blocks
            .get(id)
            .map_or(0, |entry| entry.meta.resolution_ms());
        Some(FailedBlock {
            tsdb,
            resolution_ms,
            missing,
        })
    };
    failed.iter().filter_map(of).collect()
}

impl Gateway {
    /// Returns the blocks that the last sync found and that are to be served, in the order of their ids.
    pub fn blocks(&self) -> Vec<Arc<BlockEntry>> {
        self.loaded().view.blocks.values().map(Arc::clone).collect()
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
        let mut view = fetch(&self.shared.bucket, &before.view, &self.options.fetch).await?;
        // The futures are collected first: a closure over references here would keep the sync from being `Send`.
        let mut opening = Vec::with_capacity(view.blocks.len());
        for (id, entry) in &view.blocks {
            let known = before.blocks.get(id).map(Arc::clone);
            opening.push(self.open_block(*id, Arc::clone(entry), known));
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
        entry: Arc<BlockEntry>,
        known: Option<Arc<GatewayBlock>>,
    ) -> (BlockId, Result<Arc<GatewayBlock>>) {
        if let Some(block) = known {
            return (id, Ok(block));
        }
        let opened = GatewayBlock::open(Arc::clone(&self.shared), entry).await;
        (id, opened.map(Arc::new))
    }
}
