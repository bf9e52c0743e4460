//! The blocks of a bucket as the compactor sees them.
//!
//! ```text
//! all blocks -> time -> shard of this compactor -> age -> deletion marks -> replica labels -> duplicates -> blocks
//!                                                     \-> marked             those unmarked \-> garbage
//! ```
//!
//! The order is that of row C-26 of the specification. No-compact and no-downsample marks take nothing out: planning and
//! passes look at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::time::{Clock, TimeWindow, Timestamp};
use thanos_core::{Error, ErrorKind, Result};

use crate::Bucket;
use crate::fetch::filter::{
    BlockFilter, Candidates, ConsistencyDelayFilter, DeletionMarkFilter, DuplicateFilter,
    RelabelFilter, ReplicaLabelRemover, TimeWindowFilter,
};
use crate::fetch::{BlockEntry, BlockState, BucketView, FetchOptions, Fetcher, MetaDetail};

/// Which blocks a compactor works on; the defaults are those of `thanos compact`.
#[derive(Debug)]
pub struct ViewOptions {
    /// How blocks are found.
    pub fetch: FetchOptions,
    /// Which times are worked on (`--min-time`, `--max-time`).
    pub window: TimeWindow,
    /// Which blocks are of this compactor's shard (`--selector.relabel-config`).
    pub relabel: RelabelFilter,
    /// How old blocks must be that no compactor made (`--consistency-delay`), in milliseconds.
    pub consistency_delay_ms: i64,
    /// How long blocks stay after they were marked for deletion (`--delete-delay`), in milliseconds.
    pub delete_delay_ms: i64,
    /// The labels in which replicas differ (`--deduplication.replica-label`).
    pub replica_labels: Vec<String>,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            fetch: FetchOptions::default(),
            window: TimeWindow::ALL,
            relabel: RelabelFilter::default(),
            consistency_delay_ms: 30 * 60 * 1000,
            delete_delay_ms: 48 * 3600 * 1000,
            replica_labels: Vec::new(),
        }
    }
}

/// The blocks at one time.
#[derive(Debug, Clone, Default)]
pub struct CompactView {
    /// The blocks to work on.
    pub blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    /// The blocks of this compactor that are marked for deletion, and since when.
    pub marked: BTreeMap<BlockId, Timestamp>,
    /// Unmarked blocks whose data other unmarked blocks hold.
    pub garbage: Vec<BlockId>,
    /// Directories that are no blocks, and why.
    pub partial: BTreeMap<BlockId, Arc<Error>>,
}

impl CompactView {
    /// Returns the blocks that are there to stay. Thanos also compacts blocks that were marked a short while ago, and so
    /// brings back what somebody wanted to have deleted.
    pub fn unmarked(&self) -> BTreeMap<BlockId, Arc<BlockEntry>> {
        let unmarked = self.blocks.iter();
        unmarked
            .filter(|(_, entry)| entry.marks.deletion.is_none())
            .map(|(id, entry)| (*id, Arc::clone(entry)))
            .collect()
    }
}

/// Finds the blocks.
#[derive(Debug)]
pub(super) struct Viewer {
    fetcher: Fetcher,
    /// Those that say which blocks are this compactor's.
    own: Vec<Arc<dyn BlockFilter>>,
    settled: DeletionMarkFilter,
    replicas: ReplicaLabelRemover,
    duplicates: DuplicateFilter,
    garbage: DuplicateFilter,
    clock: Arc<dyn Clock>,
}

impl Viewer {
    pub(super) fn new(bucket: Bucket, mut options: ViewOptions) -> Self {
        // Which deletions were applied to a block is in the whole of its meta.json only.
        options.fetch.detail = MetaDetail::Whole;
        let clock = Arc::clone(&options.fetch.clock);
        let relabel = options.relabel;
        let own: Vec<Arc<dyn BlockFilter>> = vec![
            Arc::new(TimeWindowFilter::new(options.window, Arc::clone(&clock))),
            Arc::new(relabel.without_replica_labels(options.replica_labels.clone())),
            Arc::new(ConsistencyDelayFilter::new(
                options.consistency_delay_ms,
                Arc::clone(&clock),
            )),
        ];
        let compute = &options.fetch.compute;
        Self {
            own,
            // Blocks whose replacement may not be visible yet still count, or there would be gaps.
            settled: DeletionMarkFilter::new(options.delete_delay_ms / 2, Arc::clone(&clock)),
            replicas: ReplicaLabelRemover::new(options.replica_labels),
            duplicates: DuplicateFilter::new(compute.clone()),
            garbage: DuplicateFilter::new(compute.clone()),
            fetcher: Fetcher::new(bucket, options.fetch),
            clock,
        }
    }

    /// Returns what finds the blocks before all filters.
    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Looks at the bucket.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed, or something in it cannot be read now: what is decided on half a view may be
    /// wrong. A block of a format that this program does not know is no such error; it is left alone.
    pub(super) async fn sync(&self) -> Result<CompactView> {
        let metrics = &self.fetcher.options().metrics;
        let started = self.clock.now();
        metrics.syncs.inc();
        let found = self.discover().await;
        let took_ms = (self.clock.now() - started).max(0);
        metrics.seconds.observe(took_ms as f64 / 1000.0);
        if found.is_err() {
            metrics.failures.inc();
        }
        found
    }

    async fn discover(&self) -> Result<CompactView> {
        let view = self.fetcher.fetch().await?;
        if let Some((id, error)) = view.unread.iter().find(|(_, error)| is_passing(error)) {
            let message = format!("incomplete view: block {id} cannot be read: {error}");
            return Err(Error::new(error.kind(), message).with_source(Arc::clone(error)));
        }
        for (block, error) in &view.unread {
            tracing::warn!(%block, %error, "block is left alone");
        }
        let mut candidates = Candidates::new(&view);
        for filter in &self.own {
            filter.filter(&mut candidates).await?;
        }
        let marks = candidates.blocks().iter();
        let marked = marks
            .filter_map(|(id, entry)| Some((*id, entry.marks.deletion?)))
            .collect();
        self.settled.filter(&mut candidates).await?;
        self.replicas.filter(&mut candidates).await?;
        let garbage = self.garbage(candidates.blocks()).await?;
        self.duplicates.filter(&mut candidates).await?;
        candidates.count(BlockState::MarkedForNoCompact, |entry| {
            entry.marks.no_compact.is_some()
        });
        candidates.count(BlockState::MarkedForNoDownsample, |entry| {
            entry.marks.no_downsample.is_some()
        });
        let selection = candidates.finish();
        let metrics = &self.fetcher.options().metrics;
        metrics.set(&selection.states, selection.replica_labels_removed);
        Ok(CompactView {
            blocks: selection.blocks,
            marked,
            garbage,
            partial: view.partial,
        })
    }

    /// Returns those of `blocks` whose data others hold, where neither is to be deleted already: a block that goes must
    /// not take with it what it was made from.
    async fn garbage(&self, blocks: &BTreeMap<BlockId, Arc<BlockEntry>>) -> Result<Vec<BlockId>> {
        let unmarked = blocks
            .iter()
            .filter(|(_, entry)| entry.marks.deletion.is_none());
        let view = BucketView {
            blocks: unmarked
                .map(|(id, entry)| (*id, Arc::clone(entry)))
                .collect(),
            ..BucketView::default()
        };
        self.garbage.filter(&mut Candidates::new(&view)).await?;
        Ok(self.garbage.last_duplicates())
    }
}

/// Whether it is worth asking again, and the view is incomplete until then.
fn is_passing(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Invalid)
}
