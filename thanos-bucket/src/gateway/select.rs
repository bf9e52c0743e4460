//! A series request over all blocks: which blocks, with which matchers, merged into one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use thanos_core::chunk::Aggregate;
use thanos_core::index::{ListLocation, PostingsTable};
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::query::{Cost, MergeSource, SeriesEvent, SourcePlan, merge};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, Result};
use thanos_storeapi::join::join_series;
use thanos_storeapi::label_edit::{LabelEdit, add_labels, edit_and_sort, strip_matchers};
use thanos_storeapi::policy::fail_or_note_unless_limit;
use thanos_storeapi::resolution::select_blocks;
use thanos_storeapi::shard::ShardFilter;
use thanos_storeapi::store::{SeriesRequest, SeriesStream};

use super::Loaded;
use super::ahead::ReadAhead;
use super::block::GatewayBlock;
use super::masks::Mask;
use super::query::QueryContext;
use super::resumed::resumed_series;
use super::stream::BlockQuery;

/// A block to ask, and the matchers that are left for its own labels.
struct Selected {
    block: Arc<GatewayBlock>,
    matchers: Vec<Matcher>,
}

/// Which of the blocks that hold the same time in several resolutions are asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resolutions {
    /// All: a series whose samples are all NaN exists in the raw block only.
    All,
    /// The coarsest up to so many milliseconds, finer ones where it has gaps.
    CoarsestUpTo(i64),
}

impl Resolutions {
    /// Returns those that a request for series asks.
    pub(super) fn of(request: &SeriesRequest) -> Self {
        // Without chunks the question is which series exist, and some exist in blocks of one resolution only.
        match request.skip_chunks {
            true => Self::All,
            false => Self::CoarsestUpTo(request.max_resolution_window_ms),
        }
    }

    /// Reports whether blocks of this resolution are no coarser than what will do.
    pub(super) fn include(self, resolution_ms: i64) -> bool {
        match self {
            Self::All => true,
            Self::CoarsestUpTo(max_ms) => resolution_ms <= max_ms,
        }
    }
}

/// The blocks of a bucket by their external labels and their time, made once for each sync: a request looks at few of
/// the blocks that it does not read.
#[derive(Debug, Default)]
pub(super) struct BlockIndex {
    /// In the order of their labels.
    streams: Vec<StreamBlocks>,
}

/// The blocks with the same external labels.
#[derive(Debug)]
struct StreamBlocks {
    external_labels: Labels,
    /// In the order of their start.
    blocks: Vec<Arc<GatewayBlock>>,
    /// For each block the latest end of it and those before it.
    latest_end: Vec<Timestamp>,
}

impl BlockIndex {
    /// Returns the index of `blocks`.
    pub(super) fn new<'a>(blocks: impl IntoIterator<Item = &'a Arc<GatewayBlock>>) -> Self {
        let mut by_labels: BTreeMap<Labels, Vec<Arc<GatewayBlock>>> = BTreeMap::new();
        for block in blocks {
            let labels = block.external_labels().clone();
            by_labels.entry(labels).or_default().push(Arc::clone(block));
        }
        let streams = by_labels.into_iter();
        let streams = streams.map(|(labels, blocks)| StreamBlocks::new(labels, blocks));
        Self {
            streams: streams.collect(),
        }
    }

    /// Reports whether blocks with these labels that are finer than `resolution_ms` cover `range`: then a coarser one is
    /// not needed for it.
    pub(super) fn is_covered(
        &self,
        external_labels: &Labels,
        range: TimeRange,
        resolution_ms: i64,
    ) -> bool {
        let mut streams = self.streams.iter();
        let Some(stream) = streams.find(|stream| stream.external_labels == *external_labels) else {
            return false;
        };
        let mut uncovered = range.min;
        let finer = stream.overlapping(range);
        for block in finer.filter(|block| block.resolution_ms() < resolution_ms) {
            let own = block.time_range();
            if own.min > uncovered {
                return false;
            }
            if own.max >= range.max {
                return true;
            }
            uncovered = uncovered.max(own.max.saturating_add_millis(1));
        }
        false
    }

    /// Returns the blocks that can have data for `matchers` in `range`, in a stable order.
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        resolutions: Resolutions,
    ) -> Vec<Selected> {
        let mut selected = Vec::new();
        for stream in &self.streams {
            let blocks: Vec<&Arc<GatewayBlock>> = stream.overlapping(range).collect();
            if blocks.is_empty() {
                continue;
            }
            // None left means that every series matches: Thanos' gateway answers such a request with nothing (row
            // ST-36 of the specification), which hides data that its other stores return.
            let Some(matchers) = strip_matchers(matchers, &stream.external_labels) else {
                continue;
            };
            let chosen: Vec<usize> = match resolutions {
                Resolutions::All => (0..blocks.len()).collect(),
                Resolutions::CoarsestUpTo(max_ms) => {
                    let shape =
                        |block: &&Arc<GatewayBlock>| (block.time_range(), block.resolution_ms());
                    let shapes: Vec<_> = blocks.iter().map(shape).collect();
                    select_blocks(&shapes, range, max_ms)
                }
            };
            selected.extend(chosen.into_iter().map(|at| Selected {
                block: Arc::clone(blocks[at]),
                matchers: matchers.clone(),
            }));
        }
        selected
    }
}

impl StreamBlocks {
    fn new(external_labels: Labels, mut blocks: Vec<Arc<GatewayBlock>>) -> Self {
        blocks.sort_by_key(|block| (block.time_range().min, block.id()));
        let mut latest_end = Vec::with_capacity(blocks.len());
        for block in &blocks {
            let end = block.time_range().max;
            latest_end.push(latest_end.last().map_or(end, |before| end.max(*before)));
        }
        Self {
            external_labels,
            blocks,
            latest_end,
        }
    }

    /// Returns the blocks that share a time with `range`.
    fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = &Arc<GatewayBlock>> {
        let starts_before = |block: &Arc<GatewayBlock>| block.time_range().min <= range.max;
        let end = self.blocks.partition_point(starts_before);
        // Before it, all blocks end too early.
        let start = self.latest_end.partition_point(|end| *end < range.min);
        let near = self.blocks.get(start..end).unwrap_or_default();
        near.iter()
            .filter(move |block| block.time_range().overlaps(range))
    }
}

/// Returns the blocks that a series request would read, and how much they give at most.
pub(super) async fn sources(
    loaded: &Loaded,
    request: &SeriesRequest,
    range: TimeRange,
) -> Result<Vec<SourcePlan>> {
    let resolutions = Resolutions::of(request);
    let selected = loaded.index.select(&request.matchers, range, resolutions);
    let mut plans = Vec::with_capacity(selected.len());
    for Selected { block, matchers } in selected {
        let plan = SourcePlan::asked(format!("block {}", block.id()));
        if block.series_count() == 0 {
            // Whoever uploaded it did not count.
            plans.push(plan);
            continue;
        }
        let header = block.header().await?;
        let series = series_max(header.postings_table(), &matchers)?;
        let series = series.unwrap_or(u64::MAX).min(block.series_count());
        let bytes = match request.skip_chunks {
            true => 0,
            false => block.chunk_bytes_of(series),
        };
        let cost = Cost { series, bytes }.within(block.time_range(), range);
        plans.push(SourcePlan {
            cost: Some(cost),
            ..plan
        });
    }
    Ok(plans)
}

/// Returns how many series match at most, by the lengths of the lists of the matchers that name values.
fn series_max(table: &PostingsTable, matchers: &[Matcher]) -> Result<Option<u64>> {
    let mut least = None;
    for matcher in matchers {
        let values = match (matcher.op(), matcher.set_matches()) {
            (MatchOp::Equal, _) => vec![matcher.value()],
            (MatchOp::Regex, Some(values)) => values.iter().map(String::as_str).collect(),
            (MatchOp::NotEqual | MatchOp::Regex | MatchOp::NotRegex, _) => continue,
        };
        // Those without the label match an empty value, and have no list.
        if values.iter().any(|value| value.is_empty()) {
            continue;
        }
        let mut series = 0_u64;
        for value in values {
            let list = table.find(matcher.name(), value)?;
            series += list.map_or(0, ListLocation::entries_estimate);
        }
        least = Some(least.map_or(series, |least: u64| least.min(series)));
    }
    Ok(least)
}

/// Answers a series request.
pub(super) fn series(
    loaded: &Loaded,
    request: SeriesRequest,
    resolutions: Resolutions,
    query: &Arc<QueryContext>,
) -> Result<SeriesStream> {
    if request.matchers.is_empty() {
        return Err(Error::invalid(
            "no matchers specified (excluding selector labels)",
        ));
    }
    let shard = request.shard.as_ref().and_then(ShardFilter::new);
    let aggregates: Arc<[Aggregate]> = request.aggregates.into();
    let (ahead, driver) = ReadAhead::new();
    let mut selected = loaded
        .index
        .select(&request.matchers, request.range, resolutions);
    selected.retain(|one| query.wants_block(one.block.id(), one.block.external_labels()));
    query.asks(selected.iter().map(|one| one.block.id()));
    let policy = request.partial_response;
    let missing = loaded.missing(request.range, &request.matchers, resolutions, policy, query)?;
    let mut sources = Vec::with_capacity(selected.len());
    for Selected { block, matchers } in selected {
        let name = format!("block {}", block.id());
        let edit = LabelEdit::new(block.external_labels(), &request.without_replica_labels);
        let wanted = BlockQuery {
            matchers,
            range: request.range,
            skip_chunks: request.skip_chunks,
            aggregates: Arc::clone(&aggregates),
            // Decided before chunks are read, by the labels that the answer will have.
            shard: shard.clone().map(|shard| (shard, edit.clone())),
            limit: request.limit,
            mask: Mask::of(&loaded.tombstones, &block, request.range),
        };
        let ahead = ahead.clone();
        let query = Arc::clone(query);
        // Whether the order survives depends on the label names of the block, which its header knows.
        let edited = async move {
            let header = block.header().await?;
            let only_adds = edit.only_adds(header.postings_table().label_names());
            let series = resumed_series(block, header, wanted, Arc::clone(&query), ahead);
            Ok::<_, Error>(if only_adds {
                add_labels(series, edit)
            } else {
                edit_and_sort(series, edit, query.budget.clone())
            })
        };
        let edited = futures::stream::once(edited).try_flatten().boxed();
        let stream = fail_or_note_unless_limit(edited, name.clone(), policy);
        sources.push(MergeSource { name, stream });
    }
    let merged = merge(sources);
    let notices = futures::stream::iter(
        missing
            .into_iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing))),
    );
    let joined = join_series(merged, request.limit);
    Ok(driver.drive(Box::pin(notices.chain(joined))))
}
