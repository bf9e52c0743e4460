//! Which of the blocks of a bucket are wanted.
//!
//! A filter takes blocks out of the candidates and says why. Filters see a view that came from a manifest exactly as one
//! that came from a listing, and they make no request for what the view knows.

mod deletion;
mod duplicates;
mod fresh;
mod parquet;
mod replica;
mod shard;
mod source_sets;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::block::BlockId;
use thanos_core::time::{Clock, SystemClock, TimeWindow};
use thanos_core::{ErrorKind, Result};

use super::{BlockEntry, BlockState, BucketView, StateCounts};
use crate::compute::Compute;

pub use deletion::DeletionMarkFilter;
pub use duplicates::DuplicateFilter;
#[cfg(test)]
pub(crate) use duplicates::duplicates;
pub use fresh::ConsistencyDelayFilter;
pub use parquet::{ParquetConvertedFilter, ParquetMigratedFilter};
pub use replica::ReplicaLabelRemover;
pub use shard::{BLOCK_ID_LABEL, RelabelFilter, SELECTOR_ACTIONS, parse_relabel_config};
pub use window::TimeWindowFilter;

/// One reason not to want blocks.
#[async_trait]
pub trait BlockFilter: fmt::Debug + Send + Sync + 'static {
    /// Takes the blocks that are not wanted out of `candidates`.
    ///
    /// # Errors
    ///
    /// When it cannot tell; the sync fails, and what was served before still is.
    async fn filter(&self, candidates: &mut Candidates) -> Result<()>;
}

/// The blocks that are wanted so far.
#[derive(Debug, Default)]
pub struct Candidates {
    blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    states: StateCounts,
    replica_labels_removed: usize,
}

impl Candidates {
    /// Returns all blocks of `view`.
    pub fn new(view: &BucketView) -> Self {
        let mut states = StateCounts::default();
        for error in view.partial.values() {
            let state = match error.kind() {
                ErrorKind::NotFound => BlockState::NoMeta,
                _ => BlockState::CorruptedMeta,
            };
            states.add(state, 1);
        }
        states.add(BlockState::Failed, view.unread.len());
        Self {
            blocks: view.blocks.clone(),
            states,
            replica_labels_removed: 0,
        }
    }

    /// Returns the blocks that are still wanted.
    pub fn blocks(&self) -> &BTreeMap<BlockId, Arc<BlockEntry>> {
        &self.blocks
    }

    /// Takes out the blocks that `is_unwanted` names, which count as `state`.
    pub fn exclude(
        &mut self,
        state: BlockState,
        mut is_unwanted: impl FnMut(&BlockId, &BlockEntry) -> bool,
    ) {
        let before = self.blocks.len();
        self.blocks.retain(|id, entry| !is_unwanted(id, entry));
        self.states.add(state, before - self.blocks.len());
    }

    /// Lets `change` make another entry of each block that is still wanted, and counts how many replica labels it says it
    /// has removed.
    pub fn replace(
        &mut self,
        mut change: impl FnMut(&Arc<BlockEntry>) -> Option<(Arc<BlockEntry>, usize)>,
    ) {
        for entry in self.blocks.values_mut() {
            if let Some((changed, removed)) = change(entry) {
                *entry = changed;
                self.replica_labels_removed += removed;
            }
        }
    }

    /// Counts wanted blocks of a `state` that excludes nothing.
    pub fn count(&mut self, state: BlockState, is_meant: impl Fn(&BlockEntry) -> bool) {
        let meant = self.blocks.values().filter(|entry| is_meant(entry)).count();
        self.states.add(state, meant);
    }

    /// Returns the wanted blocks and how many blocks are in each state.
    pub fn finish(mut self) -> Selection {
        self.states.add(BlockState::Loaded, self.blocks.len());
        Selection {
            blocks: self.blocks,
            states: self.states,
            replica_labels_removed: self.replica_labels_removed,
        }
    }
}

/// What filters leave.
#[derive(Debug, Default)]
pub struct Selection {
    /// The wanted blocks.
    pub blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    /// How many blocks are in each state.
    pub states: StateCounts,
    /// From how many blocks replica labels were removed, each label counted.
    pub replica_labels_removed: usize,
}

/// How a store gateway filters; the defaults are those of `thanos store`.
#[derive(Debug)]
pub struct StoreFilters {
    /// The Parquet bucket, when blocks are converted (`--objstore-parquet.config`).
    pub parquet: Option<ParquetConvertedFilter>,
    /// Which times are served (`--min-time`, `--max-time`).
    pub window: TimeWindow,
    /// Which blocks are of this shard (`--selector.relabel-config`).
    pub relabel: RelabelFilter,
    /// How old blocks must be (`--consistency-delay`), in milliseconds.
    pub consistency_delay_ms: i64,
    /// How long blocks that are marked for deletion stay (`--ignore-deletion-marks-delay`), in milliseconds.
    pub ignore_deletion_marks_delay_ms: i64,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where sources are compared.
    pub compute: Compute,
}

impl Default for StoreFilters {
    fn default() -> Self {
        Self {
            parquet: None,
            window: TimeWindow::ALL,
            relabel: RelabelFilter::default(),
            consistency_delay_ms: 0,
            ignore_deletion_marks_delay_ms: 24 * 3600 * 1000,
            clock: Arc::new(SystemClock),
            compute: Compute::per_core(),
        }
    }
}

impl StoreFilters {
    /// Returns the filters, in Thanos' order (row ST-09 of the specification).
    ///
    /// Blocks that say that they were migrated to Parquet only go when there is a Parquet bucket: without one nobody
    /// else serves them here.
    pub fn build(self) -> Vec<Arc<dyn BlockFilter>> {
        let clock = || Arc::clone(&self.clock);
        let mut filters: Vec<Arc<dyn BlockFilter>> = Vec::new();
        if let Some(parquet) = self.parquet {
            filters.push(Arc::new(ParquetMigratedFilter));
            filters.push(Arc::new(parquet));
        }
        filters.push(Arc::new(TimeWindowFilter::new(self.window, clock())));
        filters.push(Arc::new(self.relabel));
        filters.push(Arc::new(ConsistencyDelayFilter::new(
            self.consistency_delay_ms,
            clock(),
        )));
        let delay_ms = self.ignore_deletion_marks_delay_ms;
        filters.push(Arc::new(DeletionMarkFilter::new(delay_ms, clock())));
        filters.push(Arc::new(DuplicateFilter::new(self.compute)));
        filters
    }
}

/// Filters `view` by each of `filters` in turn.
///
/// # Errors
///
/// The first that a filter returns.
pub async fn select(view: &BucketView, filters: &[Arc<dyn BlockFilter>]) -> Result<Selection> {
    let mut candidates = Candidates::new(view);
    for filter in filters {
        filter.filter(&mut candidates).await?;
    }
    Ok(candidates.finish())
}
