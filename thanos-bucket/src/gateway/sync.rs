//! Bringing the served blocks up to date with the bucket.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

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
use super::header::FolderUse;
use super::query::QueryContext;
use super::select::{BlockIndex, Resolutions};
use crate::fetch::{BlockEntry, StateCounts, ViewOrigin};
use crate::tombstones::Tombstone;

/// What a sync found.
#[derive(Debug)]
pub struct SyncReport {
    /// Blocks that are served.
    pub loaded: usize,
    /// Where the blocks were found.
    pub origin: ViewOrigin,
    /// How many blocks of the bucket are in each state.
    pub states: StateCounts,
    /// Blocks that are not served because they are still being uploaded or damaged, with the reason.
    pub failed: BTreeMap<BlockId, Arc<Error>>,
}

#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Blocks that should be served, whether they can be or not.
    wanted: Wanted,
    pub(super) blocks: BTreeMap<BlockId, Arc<GatewayBlock>>,
    /// The same, by labels and time.
    pub(super) index: BlockIndex,
    /// Blocks that should be served and cannot be.
    pub(super) failed: Vec<FailedBlock>,
    /// What hides samples of the blocks.
    pub(super) tombstones: Arc<[Arc<Tombstone>]>,
}

/// A block that exists and cannot be served.
#[derive(Debug)]
pub(super) struct FailedBlock {
    id: BlockId,
    /// Whether its labels and its time are known.
    has_meta: bool,
    /// What it may hold; everything when not even its `meta.json` can be read.
    pub(super) tsdb: TsdbInfo,
    /// Its resolution, 0 when unknown: a request for finer data reads it only where there is nothing else.
    resolution_ms: i64,
    /// What answers say about it.
    missing: Missing,
}

impl Loaded {
    /// Returns what an answer for `range` and `matchers` to `query` lacks.
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
        query: &QueryContext,
    ) -> Result<Vec<Missing>> {
        let is_concerned = |failed: &&FailedBlock| {
            failed.tsdb.range.overlaps(range)
                && failed.may_be_wanted(query)
                && self.would_be_read(failed, range, resolutions)
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

impl Loaded {
    /// Reports whether a block of this resolution answers in `range`: one that is coarser than wanted does where there
    /// is no finer one.
    fn would_be_read(
        &self,
        failed: &FailedBlock,
        range: TimeRange,
        resolutions: Resolutions,
    ) -> bool {
        let own = TimeRange {
            min: range.min.max(failed.tsdb.range.min),
            max: range.max.min(failed.tsdb.range.max),
        };
        let labels = &failed.tsdb.external_labels;
        let resolution_ms = failed.resolution_ms;
        resolutions.include(resolution_ms) || !self.index.is_covered(labels, own, resolution_ms)
    }
}

impl FailedBlock {
    /// Reports whether the hints of the request allow the block.
    fn may_be_wanted(&self, query: &QueryContext) -> bool {
        if self.has_meta {
            query.wants_block(self.id, &self.tsdb.external_labels)
        } else {
            query.may_want_block(self.id)
        }
    }
}

/// Returns the blocks of `failed` that exist: one without `meta.json` is still being uploaded.
fn failed_blocks(failed: &BTreeMap<BlockId, Arc<Error>>, wanted: &Wanted) -> Vec<FailedBlock> {
    let of = |(id, error): (&BlockId, &Arc<Error>)| {
        let entry = wanted.get(id);
        let tsdb = match entry {
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
        Some(FailedBlock {
            id: *id,
            has_meta: entry.is_some(),
            tsdb,
            resolution_ms: entry.map_or(0, |entry| entry.meta.resolution_ms()),
            missing,
        })
    };
    failed.iter().filter_map(of).collect()
}

type Wanted = BTreeMap<BlockId, Arc<BlockEntry>>;
type Served = BTreeMap<BlockId, Arc<GatewayBlock>>;
/// Blocks with what is gone when nothing writes into their folders any more.
pub(super) type Leaving = BTreeMap<BlockId, Weak<FolderUse>>;

impl Gateway {
    /// Returns the blocks that the last sync found and that are to be served, in the order of their ids.
    pub fn blocks(&self) -> Vec<Arc<BlockEntry>> {
        self.loaded().wanted.values().map(Arc::clone).collect()
    }

    /// Brings the served blocks up to date with the bucket.
    ///
    /// A block that cannot be opened is reported and tried again at the next sync; the others are served. Blocks that
    /// are gone, or no longer wanted, are dropped from memory and from the data directory.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed or a tombstone cannot be read; what was served before still is. When the view lacks something that cannot be
    /// read: then new blocks are served, but none is dropped.
    pub async fn sync(&self) -> Result<SyncReport> {
        let _one_at_a_time = self.syncing.lock().await;
        let before = Arc::clone(&self.blocks.read());
        // Both at once: what is deleted costs a sync no round trip.
        let (discovered, tombstones) =
            futures::join!(self.discovery.sync(), self.tombstones.read());
        let discovered = discovered?;
        let tombstones = tombstones.map_err(|error| error.context("cannot read tombstones"))?;
        let incomplete = discovered.incomplete();
        let wanted = discovered.selection.blocks;
        let origin = discovered.origin;
        let (mut blocks, failures) = self.open_blocks(&wanted, &before.blocks, origin).await;
        let mut failed = discovered.partial;
        failed.extend(failures);
        if incomplete.is_some() {
            for (id, block) in &before.blocks {
                blocks.entry(*id).or_insert_with(|| Arc::clone(block));
            }
        } else {
            self.drop_gone(&before, &wanted).await?;
        }
        if origin == ViewOrigin::Manifest {
            let is_new = |(id, block): &(&BlockId, &Arc<GatewayBlock>)| {
                let known = before.blocks.get(id);
                known.is_none_or(|known| !Arc::ptr_eq(known, block))
            };
            let new = blocks.iter().filter(is_new).map(|(_, block)| block);
            self.headers_later.fetch(new.map(Arc::clone).collect());
        }
        let loaded = blocks.len();
        self.options.metrics.blocks_served(loaded);
        let refused = failed_blocks(&failed, &wanted);
        *self.blocks.write() = Arc::new(Loaded {
            wanted,
            index: BlockIndex::new(blocks.values()),
            blocks,
            failed: refused,
            tombstones,
        });
        match incomplete {
            Some(error) => Err(error),
            None => Ok(SyncReport {
                loaded,
                origin,
                states: discovered.selection.states,
                failed,
            }),
        }
    }

    /// Opens those of `wanted` that `before` does not have, some at once.
    async fn open_blocks(
        &self,
        wanted: &Wanted,
        before: &Served,
        origin: ViewOrigin,
    ) -> (Served, BTreeMap<BlockId, Arc<Error>>) {
        let (mut blocks, mut failed) = (Served::new(), BTreeMap::new());
        // The futures are collected first: a closure over references here would keep the sync from being `Send`.
        let mut opening = Vec::new();
        for (id, entry) in wanted {
            match before.get(id).filter(|block| block.is_of(entry)) {
                Some(block) => {
                    blocks.insert(*id, Arc::clone(block));
                }
                None => opening.push(self.open_block(*id, Arc::clone(entry), origin)),
            }
        }
        let mut opened =
            futures::stream::iter(opening).buffer_unordered(self.options.sync_concurrency.max(1));
        while let Some((id, outcome)) = opened.next().await {
            match outcome {
                Ok(block) => {
                    blocks.insert(id, Arc::new(block));
                }
                Err(error) => {
                    tracing::warn!(block = %id, %error, "cannot open block, it is not served");
                    failed.insert(id, Arc::new(error));
                }
            }
        }
        (blocks, failed)
    }

    async fn open_block(
        &self,
        id: BlockId,
        entry: Arc<BlockEntry>,
        origin: ViewOrigin,
    ) -> (BlockId, Result<GatewayBlock>) {
        let clock = &self.discovery.fetcher().options().clock;
        let started = clock.now();
        let opened = self.ready_block(entry, origin).await;
        let now = clock.now();
        let took = Duration::from_millis(u64::try_from(now - started).unwrap_or(0));
        self.options.metrics.block_opened(&opened, took);
        if opened.is_ok() {
            self.options.metrics.block_loaded_at(now);
        }
        (id, opened)
    }

    /// Opens a block as far as it has to be to be served. Somebody has seen a block of a manifest whole: it does not wait
    /// for its header, so that the gateway is ready after one request however many blocks there are.
    async fn ready_block(
        &self,
        entry: Arc<BlockEntry>,
        origin: ViewOrigin,
    ) -> Result<GatewayBlock> {
        let block = GatewayBlock::open(Arc::clone(&self.shared), entry).await?;
        if origin == ViewOrigin::Listing {
            block.prepare().await?;
        }
        Ok(block)
    }

    /// Removes what the data directory has of blocks that are not wanted: those that were known before and, at the
    /// first sync, those that an earlier process has left. What a request loads meanwhile for a block that is gone, the
    /// next sync removes.
    async fn drop_gone(&self, before: &Loaded, wanted: &Wanted) -> Result<()> {
        let is_gone = |id: &&BlockId| !wanted.contains_key(*id);
        let dropped = before.blocks.keys().filter(is_gone).count() as u64;
        let mut not_removed = 0;
        if let Some(data_dir) = self.options.data_dir.clone() {
            let mut gone: Vec<BlockId> = before.wanted.keys().filter(is_gone).copied().collect();
            gone.extend(self.leaving(&before.blocks, wanted));
            if !self.is_cleaned.swap(true, Ordering::Relaxed) {
                let dir = data_dir.clone();
                let left = self
                    .options
                    .compute
                    .run(move || block_directories(&dir))
                    .await?;
                gone.extend(left.into_iter().filter(|id| !wanted.contains_key(id)));
            }
            if !gone.is_empty() {
                let remove = move || remove_directories(&data_dir, &gone);
                not_removed = self.options.compute.run(remove).await?;
            }
        }
        self.options.metrics.blocks_dropped(dropped, not_removed);
        Ok(())
    }

    /// Returns the blocks whose folders may have been written into since they were dropped, and notes which of them, and
    /// of those of `before` that go now, are still in use.
    fn leaving(&self, before: &Served, wanted: &Wanted) -> Vec<BlockId> {
        let mut leaving = self.leaving.lock();
        let gone = before.iter().filter(|(id, _)| !wanted.contains_key(*id));
        leaving.extend(gone.map(|(id, block)| (*id, block.folder_use())));
        leaving.retain(|id, _| !wanted.contains_key(id));
        let ids = leaving.keys().copied().collect();
        // Those that nothing uses are removed once more, now, after their last use.
        leaving.retain(|_, folder| folder.strong_count() > 0);
        ids
    }
}

/// Returns the blocks that have a folder in the data directory.
fn block_directories(data_dir: &Path) -> Vec<BlockId> {
    let Ok(entries) = std::fs::read_dir(data_dir) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Removes the folders of `blocks`, and returns how many could not be removed.
fn remove_directories(data_dir: &Path, blocks: &[BlockId]) -> u64 {
    let mut not_removed = 0;
    for id in blocks {
        let directory = data_dir.join(id.to_string());
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "cannot remove what was kept of a block, going on");
                not_removed += 1;
            }
            _ => {}
        }
    }
    not_removed
}
