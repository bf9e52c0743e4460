//! One pass over a bucket, and its parts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::time::Clock;
use thanos_core::{Error, Result};

use super::clean::Cleaner;
use super::group::{DefaultGrouper, Grouper, Resolution};
use super::marks::Marks;
use super::metrics::CompactMetrics;
use super::planner::{DefaultPlanner, Planner};
use super::progress::{Progress, progress};
use super::retention::{Downsampling, Retention};
use super::view::{CompactView, ViewOptions, Viewer};
use super::work::{Hooks, NoHooks, Work};
use crate::Bucket;
use crate::fetch::BlockEntry;
use crate::tombstones::TombstoneStore;

/// How a [`Compactor`] works; the defaults are those of `thanos compact`.
#[derive(Debug)]
pub struct CompactorOptions {
    /// Which blocks it works on.
    pub view: ViewOptions,
    /// How many groups are compacted at once (`--compact.concurrency`).
    pub concurrency: usize,
    /// How many blocks are downsampled at once (`--downsample.concurrency`).
    pub downsample_concurrency: usize,
    /// How long one look at the bucket may take; nothing for as long as it takes. With `--wait` it is one wait interval.
    pub sync_timeout: Option<Duration>,
    /// How long data is kept.
    pub retention: Retention,
    /// What tells groups.
    pub grouper: Arc<dyn Grouper>,
    /// What decides.
    pub planner: Arc<dyn Planner>,
    /// Who is asked and told.
    pub hooks: Arc<dyn Hooks>,
    /// Where what happens is counted.
    pub metrics: CompactMetrics,
}

impl Default for CompactorOptions {
    fn default() -> Self {
        Self {
            view: ViewOptions::default(),
            concurrency: 1,
            downsample_concurrency: 1,
            sync_timeout: None,
            retention: Retention::default(),
            grouper: Arc::new(DefaultGrouper),
            planner: Arc::new(DefaultPlanner::default()),
            hooks: Arc::new(NoHooks),
            metrics: CompactMetrics::default(),
        }
    }
}

/// Keeps the blocks of a bucket in order.
#[derive(Debug)]
pub struct Compactor {
    pub(super) viewer: Viewer,
    pub(super) work: Arc<dyn Work>,
    pub(super) concurrency: usize,
    pub(super) downsample_concurrency: usize,
    sync_timeout: Option<Duration>,
    retention: Retention,
    pub(super) grouper: Arc<dyn Grouper>,
    pub(super) planner: Arc<dyn Planner>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) metrics: CompactMetrics,
    pub(super) marks: Marks,
    pub(super) cleaner: Cleaner,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tombstones: TombstoneStore,
    last: Mutex<Arc<CompactView>>,
}

/// What went wrong, part by part: a part that fails does not keep the next from being done.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<Error>);

impl Compactor {
    /// Returns a compactor of `bucket` that lets `work` carry out its decisions.
    ///
    /// # Errors
    ///
    /// `Invalid` for settings that cannot be.
    pub fn new(bucket: Bucket, work: Arc<dyn Work>, options: CompactorOptions) -> Result<Self> {
        options.retention.validate()?;
        if options.concurrency == 0 || options.downsample_concurrency == 0 {
            let message = "invalid concurrency level (0), concurrency level must be > 0";
            return Err(Error::invalid(message));
        }
        let (metrics, clock) = (options.metrics, Arc::clone(&options.view.fetch.clock));
        let (delete_delay_ms, view) = (options.view.delete_delay_ms, options.view);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        metrics.delete_delay_seconds.set(seconds(delete_delay_ms));
        let consistency_delay = seconds(view.consistency_delay_ms);
        metrics.consistency_delay_seconds.set(consistency_delay);
        Ok(Self {
            tombstones: TombstoneStore::new(bucket.clone()),
            viewer: Viewer::new(bucket.clone(), view),
            work,
            concurrency: options.concurrency,
            downsample_concurrency: options.downsample_concurrency,
            sync_timeout: options.sync_timeout,
            retention: options.retention,
            grouper: options.grouper,
            planner: options.planner,
            hooks: options.hooks,
            marks: Marks::new(bucket.clone(), metrics.clone(), Arc::clone(&clock)),
            cleaner: Cleaner::new(
                bucket.clone(),
                delete_delay_ms,
                metrics.clone(),
                Arc::clone(&clock),
            ),
            metrics,
            clock,
            last: Mutex::default(),
        })
    }

    /// Does everything once: see the [module](super).
    ///
    /// # Errors
    ///
    /// The first that happened. All parts were done that did not need what failed.
    pub async fn iterate(&self) -> Result<()> {
        let mut errors = Errors::default();
        errors.note("compaction", self.compact().await);
        errors.note("deletion of series", self.apply_deletions().await);
        if self.retention.downsampling == Downsampling::On {
            for pass in ["first pass of downsampling", "second pass of downsampling"] {
                tracing::info!("start {pass}");
                errors.note(pass, self.downsample().await);
            }
        } else {
            tracing::info!("downsampling was explicitly disabled");
        }
        errors.note("retention", self.apply_retention().await);
        self.clean_partial().await;
        let outcome = errors.first();
        match &outcome {
            Ok(()) => self.metrics.iterations.inc(),
            Err(error) if error.is_retryable() => self.metrics.retries.inc(),
            Err(_) => 0,
        };
        outcome
    }

    /// Looks at the bucket.
    ///
    /// # Errors
    ///
    /// When it cannot be listed, or something in it cannot be read now, or not in time.
    pub async fn sync(&self) -> Result<Arc<CompactView>> {
        let looking = self.viewer.sync();
        let found = match self.sync_timeout {
            None => looking.await,
            Some(limit) => {
                let late = |_| {
                    let message = format!("looking at the bucket took longer than {limit:?}");
                    Error::unavailable(message)
                };
                let found = tokio::time::timeout(limit, looking).await;
                found.map_err(late).flatten()
            }
        };
        self.hooks.synced(found.as_ref());
        let view = Arc::new(found.map_err(|error| error.context("sync"))?);
        *self.last.lock() = Arc::clone(&view);
        Ok(view)
    }

    /// Returns what the last look at the bucket has found.
    pub fn last_view(&self) -> Arc<CompactView> {
        Arc::clone(&self.last.lock())
    }

    /// Returns all blocks of the bucket, whether or not this compactor works on them.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed.
    pub async fn all_blocks(&self) -> Result<Vec<Arc<BlockEntry>>> {
        let view = self.viewer.fetcher().fetch().await?;
        Ok(view.blocks.into_values().collect())
    }

    /// Marks the blocks for deletion that are past their retention (row C-20 of the specification); returns those that
    /// were not marked before.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be looked at, or the first block that cannot be marked: the others are.
    pub async fn apply_retention(&self) -> Result<BTreeSet<BlockId>> {
        let view = self.sync().await?;
        tracing::info!("start optional retention");
        let expired = self.retention.expired(&view.blocks, self.clock.now());
        let kept = i64::try_from(expired.only_copies.len()).unwrap_or(i64::MAX);
        self.metrics.retention_kept.set(kept);
        for entry in &expired.only_copies {
            let block = entry.meta.ulid;
            tracing::warn!(%block, "block is past its retention and is kept: no coarser block has its data");
        }
        let (mut errors, mut marked) = (Errors::default(), BTreeSet::new());
        for entry in expired.deletable {
            let (id, max_time) = (entry.meta.ulid, entry.meta.max_time);
            tracing::info!(block = %id, %max_time, "applying retention: marking block for deletion");
            let details = self
                .retention
                .details(Resolution(entry.meta.resolution_ms()));
            let is_new = self.marks.delete(id, &details).await;
            if matches!(is_new, Ok(true)) {
                marked.insert(id);
            }
            errors.note("mark a block", is_new);
        }
        tracing::info!("optional retention apply done");
        errors.first().map(|()| marked)
    }

    /// Deletes the blocks that were marked for deletion long enough ago, as the last look at the bucket has found them;
    /// returns which are gone.
    ///
    /// # Errors
    ///
    /// The first block that cannot be deleted: the others are.
    pub async fn delete_marked(&self) -> Result<BTreeSet<BlockId>> {
        let (gone, outcome) = self.cleaner.delete_marked(&self.last_view()).await;
        outcome.map(|()| gone)
    }

    /// Removes what uploads and deletions left that were cut off, as the last look at the bucket has found it. What cannot
    /// be removed is logged, counted, and tried again by the next call.
    pub async fn clean_partial(&self) {
        let view = self.last_view();
        self.cleaner.delete_partial(&view.partial).await;
    }

    /// Tells how much there is to do, and shows it in the metrics.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be looked at.
    pub async fn show_progress(&self) -> Result<Progress> {
        let view = self.sync().await?;
        let (grouper, planner) = (Arc::clone(&self.grouper), Arc::clone(&self.planner));
        let (retention, now) = (self.retention, self.clock.now());
        let compute = &self.viewer.fetcher().options().compute;
        let found = compute
            .run(move || {
                let (grouper, planner) = (grouper.as_ref(), planner.as_ref());
                progress(&view.unmarked(), grouper, planner, &retention, now)
            })
            .await?;
        let todo = &self.metrics.todo;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        todo.compactions.set(gauge(found.compactions));
        todo.compaction_blocks.set(gauge(found.compaction_blocks));
        todo.downsample_blocks.set(gauge(found.downsample_blocks));
        todo.deletion_blocks.set(gauge(found.deletion_blocks));
        todo.set_oldest(&found.oldest_seconds);
        Ok(found)
    }

    /// Waits until what was decided is carried out and all marks are written, at the end of the program.
    pub async fn finish(&self) {
        self.work.finish().await;
        self.marks.finish().await;
    }

    pub(super) fn retention(&self) -> &Retention {
        &self.retention
    }
}

impl Errors {
    pub(super) fn note<T>(&mut self, part: &str, outcome: Result<T>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "{part} failed");
            self.0.push(error.context(part));
        }
    }

    /// Returns the first error; one that is not worth a retry comes before others.
    pub(super) fn first(mut self) -> Result<()> {
        let lasting = self.0.iter().position(|error| !error.is_retryable());
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(self.0.swap_remove(lasting.unwrap_or(0))),
        }
    }
}
