//! A series request over all blocks: which blocks, with which matchers, merged into one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{MergeSource, SeriesEvent, merge};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};
use thanos_storeapi::join::join_series;
use thanos_storeapi::label_edit::{LabelEdit, add_labels, edit_and_sort, strip_matchers};
use thanos_storeapi::policy::fail_or_note_unless_limit;
use thanos_storeapi::resolution::select_blocks;
use thanos_storeapi::shard::ShardFilter;
use thanos_storeapi::store::{SeriesRequest, SeriesStream};

use super::Loaded;
use super::block::GatewayBlock;
use super::query::QueryContext;
use super::stream::{BlockQuery, block_series};

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
    /// Reports whether blocks of this resolution may be read.
    pub(super) fn include(self, resolution_ms: i64) -> bool {
        match self {
            Self::All => true,
            Self::CoarsestUpTo(max_ms) => resolution_ms <= max_ms,
        }
    }
}

/// Returns the blocks that can have data for `matchers` in `range`, in a stable order.
fn select(
    loaded: &Loaded,
    matchers: &[Matcher],
    range: TimeRange,
    resolutions: Resolutions,
) -> Vec<Selected> {
    let mut by_labels: BTreeMap<&Labels, Vec<&Arc<GatewayBlock>>> = BTreeMap::new();
    for block in loaded.blocks.values() {
        by_labels
            .entry(block.external_labels())
            .or_default()
            .push(block);
    }
    let mut selected = Vec::new();
    for (external_labels, blocks) in by_labels {
        // None left means that every series matches: Thanos' gateway answers such a request with nothing (row ST-36 of
        // the specification), which hides data that its other stores return.
        let Some(matchers) = strip_matchers(matchers, external_labels) else {
            continue;
        };
        let chosen: Vec<usize> = match resolutions {
            Resolutions::All => (0..blocks.len())
                .filter(|at| blocks[*at].time_range().overlaps(range))
                .collect(),
            Resolutions::CoarsestUpTo(max_ms) => {
                let shapes: Vec<_> = blocks
                    .iter()
                    .map(|block| (block.time_range(), block.resolution_ms()))
                    .collect();
                select_blocks(&shapes, range, max_ms)
            }
        };
        for at in chosen {
            selected.push(Selected {
                block: Arc::clone(blocks[at]),
                matchers: matchers.clone(),
            });
        }
    }
    selected
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
    let mut selected = select(loaded, &request.matchers, request.range, resolutions);
    selected.retain(|one| query.wants_block(one.block.id(), one.block.external_labels()));
    query.asks(selected.iter().map(|one| one.block.id()));
    let policy = request.partial_response;
    let missing = loaded.missing(request.range, &request.matchers, resolutions, policy)?;
    let mut sources = Vec::with_capacity(selected.len());
    for Selected { block, matchers } in selected {
        let name = format!("block {}", block.id());
        let edit = LabelEdit::new(block.external_labels(), &request.without_replica_labels);
        let wanted = BlockQuery {
            matchers,
            range: request.range,
            skip_chunks: request.skip_chunks,
            aggregates: request.aggregates.clone(),
        };
        let query = Arc::clone(query);
        // Whether the order survives depends on the label names of the block, which its header knows.
        let edited = async move {
            let header = block.header().await?;
            let only_adds = edit.only_adds(header.postings_table().label_names());
            let series = block_series(block, header, wanted, Arc::clone(&query));
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
    let mut merged = merge(sources);
    if let Some(shard) = shard {
        merged = shard.filter_stream(merged);
    }
    let notices = futures::stream::iter(
        missing
            .into_iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing))),
    );
    Ok(Box::pin(notices.chain(join_series(merged, request.limit))))
}
