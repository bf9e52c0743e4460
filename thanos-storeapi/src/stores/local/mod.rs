//! A store over the blocks of a local directory.
//!
//! Blocks with the same external labels are one stream of data: of those that hold the same time in several
//! resolutions, the coarsest that will do is read. The series of all blocks are merged, the parts of a series joined,
//! identical chunks dropped. Reading waits for nothing but the disk, so the store works without a runtime.

mod labels;
mod served;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::RwLock;
use thanos_core::block::{Block, BlockSeries, Blocks};
use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{
    Cost, MergeSource, Select, SelectHints, SeriesBatch, SeriesBatchBuilder, SeriesEvent,
    SeriesStream, SourcePlan, merge,
};
use thanos_core::time::TimeRange;

use self::served::Served;
use crate::aggregates::keep_aggregates;
use crate::apis::Offers;
use crate::join::join_series;
use crate::label_edit::{LabelEdit, add_labels, edit_and_sort, strip_matchers};
use crate::policy::fail_or_note;
use crate::resolution::select_blocks;
use crate::shard::ShardFilter;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, Store, StoreInfo,
};

/// Settings of a [`LocalStore`].
#[derive(Debug, Clone)]
pub struct LocalStoreOptions {
    /// The component it announces.
    pub component: String,
    /// The external labels of blocks whose meta.json names none, such as those that Prometheus wrote.
    pub external_labels: Labels,
    /// What series that must be sorted in memory take it from.
    pub budget: MemoryBudget,
}

impl Default for LocalStoreOptions {
    fn default() -> Self {
        Self {
            component: "store".into(),
            external_labels: Labels::empty(),
            budget: MemoryBudget::unlimited(),
        }
    }
}

/// A [`Store`] over block directories.
///
/// # Example
///
/// ```
/// use futures::StreamExt;
/// use thanos_core::labels::Matcher;
/// use thanos_storeapi::store::{SeriesRequest, Store};
/// use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../thanos-core/testdata/block-1k-2h");
///
/// # futures::executor::block_on(async {
/// let store = LocalStore::open(dir.as_ref(), LocalStoreOptions::default())?;
/// let matchers = vec![Matcher::equal("__name__", "go_goroutines")];
/// let mut events = store.series(SeriesRequest { matchers, ..Default::default() }).await?;
/// while let Some(event) = events.next().await {
///     println!("{:?}", event?);
/// }
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct LocalStore {
    options: LocalStoreOptions,
    /// Replaced as a whole: a request keeps the blocks it started with.
    served: RwLock<Arc<Served>>,
    counters: LocalStoreCounters,
}

/// How often the series of a block could be streamed, and how often they had to be sorted in memory first.
#[derive(Debug, Default)]
pub struct LocalStoreCounters {
    streamed: AtomicU64,
    sorted: AtomicU64,
}

impl LocalStoreCounters {
    /// Returns how often the series of a block were in order after external labels were added.
    pub fn blocks_streamed(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }

    /// Returns how often labels of the series themselves were replaced or removed, so that all had to be sorted.
    pub fn blocks_sorted(&self) -> u64 {
        self.sorted.load(Ordering::Relaxed)
    }
}

impl LocalStore {
    /// Returns the store of `blocks`.
    pub fn new(blocks: &Blocks, options: LocalStoreOptions) -> Self {
        let served = Served::new(blocks, &options.external_labels);
        Self {
            options,
            served: RwLock::new(Arc::new(served)),
            counters: LocalStoreCounters::default(),
        }
    }

    /// Opens every block in the directory `dir`. A block that cannot be opened is named in every answer that it could
    /// have contributed to.
    ///
    /// # Errors
    ///
    /// What the file system reports for `dir` itself.
    pub fn open(dir: &Path, options: LocalStoreOptions) -> Result<Self> {
        Ok(Self::new(&Blocks::open_dir(dir)?, options))
    }

    /// Replaces the blocks; requests under way keep those they started with.
    pub fn replace(&self, blocks: &Blocks) {
        let served = Served::new(blocks, &self.options.external_labels);
        *self.served.write() = Arc::new(served);
    }

    /// Returns how blocks were read so far.
    pub fn counters(&self) -> &LocalStoreCounters {
        &self.counters
    }

    fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read())
    }

    /// Returns the series of a block with their final labels, in order.
    fn block_series(
        &self,
        block: &Block,
        matchers: Vec<Matcher>,
        edit: &LabelEdit,
        request: &SeriesRequest,
    ) -> SeriesStream {
        let names = block.index().label_names();
        let series = read(block.clone(), matchers, request);
        if edit.only_adds(names.iter().map(String::as_str)) {
            self.counters.streamed.fetch_add(1, Ordering::Relaxed);
            add_labels(series, edit.clone())
        } else {
            self.counters.sorted.fetch_add(1, Ordering::Relaxed);
            edit_and_sort(series, edit.clone(), self.options.budget.clone())
        }
    }
}

/// A block that is going to be read, or is being read.
enum Reading {
    Planned(Block, Select),
    Started(BlockSeries),
}

impl Reading {
    fn next(self) -> Result<Option<(SeriesBatch, Self)>> {
        let mut series = match self {
            Self::Planned(block, select) => block.select(&select)?,
            Self::Started(series) => series,
        };
        let batch = series.next().transpose()?;
        Ok(batch.map(|batch| (batch, Self::Started(series))))
    }
}

/// Returns the places of the blocks to read among `shapes`.
fn chosen(shapes: &[(TimeRange, i64)], request: &SeriesRequest) -> Vec<usize> {
    // Without chunks the question is which series exist, and some exist in blocks of one resolution only.
    if request.skip_chunks {
        let all = 0..shapes.len();
        return all
            .filter(|at| shapes[*at].0.overlaps(request.range))
            .collect();
    }
    select_blocks(shapes, request.range, request.max_resolution_window_ms)
}

/// Returns about what a block will give: as many series as its postings have, with the share of their chunks that the
/// range has of the block's.
fn cost(block: &Block, matchers: &[Matcher], request: &SeriesRequest) -> Result<Cost> {
    let series = block.index().postings_for_matchers(matchers)?.len() as u64;
    if request.skip_chunks {
        return Ok(Cost { series, bytes: 0 });
    }
    // Whoever did not count the series has at least those that were found.
    let all_series = u128::from(block.meta().stats.num_series.max(series).max(1));
    let bytes = u128::from(block.chunks().len_bytes()) * u128::from(series) / all_series;
    let cost = Cost {
        series,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    };
    Ok(cost.within(block.meta().time_range(), request.range))
}

/// Returns the series of a block as they are in it. Nothing is read before the first poll.
fn read(block: Block, matchers: Vec<Matcher>, request: &SeriesRequest) -> SeriesStream {
    let select = Select {
        matchers,
        range: request.range,
        hints: SelectHints {
            skip_chunks: request.skip_chunks,
            ..SelectHints::default()
        },
        log: None,
    };
    let is_downsampled = block.meta().resolution_ms() > 0 && !request.skip_chunks;
    let wanted = request.aggregates.clone();
    let batches = stream::try_unfold(Reading::Planned(block, select), |reading| {
        std::future::ready(reading.next())
    });
    batches
        .map(move |batch| {
            let batch = batch?;
            Ok(SeriesEvent::Batch(if is_downsampled {
                with_aggregates(&batch, &wanted)
            } else {
                batch
            }))
        })
        .boxed()
}

/// Returns the series with the wanted aggregates of their chunks, those without any left out.
fn with_aggregates(batch: &SeriesBatch, wanted: &[thanos_core::chunk::Aggregate]) -> SeriesBatch {
    let mut kept = SeriesBatchBuilder::new();
    for series in batch.iter() {
        let chunks = series.chunks.iter().cloned();
        let chunks: Vec<_> = chunks
            .filter_map(|chunk| keep_aggregates(chunk, wanted))
            .collect();
        if !chunks.is_empty() {
            kept.push(series.labels, chunks);
        }
    }
    kept.finish()
}

#[async_trait]
impl Store for LocalStore {
    async fn info(&self) -> Result<StoreInfo> {
        Ok(StoreInfo {
            component: self.options.component.clone(),
            tsdbs: self.served().tsdbs(),
            supports_sharding: true,
            supports_without_replica_labels: true,
            supports_projections: false,
            offers: Offers::default(),
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        if request.matchers.is_empty() {
            return Err(Error::invalid("no matchers specified"));
        }
        if request.range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let served = self.served();
        let policy = request.partial_response;
        let missing = served.missing(request.range, &request.matchers, policy)?;
        let mut inputs = Vec::new();
        for group in served.groups() {
            let Some(matchers) = strip_matchers(&request.matchers, group.external_labels()) else {
                continue;
            };
            let edit = LabelEdit::new(group.external_labels(), &request.without_replica_labels);
            let shapes = group.shapes();
            for at in chosen(&shapes, &request) {
                let block = &group.blocks()[at];
                let series = self.block_series(block, matchers.clone(), &edit, &request);
                let name = format!("block {}", block.id());
                let stream = fail_or_note(series, name.clone(), policy);
                inputs.push(MergeSource { name, stream });
            }
        }
        let mut merged = merge(inputs);
        if let Some(filter) = request.shard.as_ref().and_then(ShardFilter::new) {
            merged = filter.filter_stream(merged);
        }
        let notices = missing
            .into_iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing)));
        Ok(stream::iter(notices)
            .chain(join_series(merged, request.limit))
            .boxed())
    }

    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        let served = self.served();
        let mut plans = Vec::new();
        for group in served.groups() {
            let Some(matchers) = strip_matchers(&request.matchers, group.external_labels()) else {
                continue;
            };
            for at in chosen(&group.shapes(), request) {
                let block = &group.blocks()[at];
                plans.push(SourcePlan {
                    cost: Some(cost(block, &matchers, request)?),
                    ..SourcePlan::asked(format!("block {}", block.id()))
                });
            }
        }
        Ok(plans)
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        labels::label_names(&self.served(), &request)
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        labels::label_values(&self.served(), &request)
    }
}
