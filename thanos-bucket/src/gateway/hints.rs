//! What a `Series` call says of itself when it ends: numbers for metrics, and hints for the client (row ST-30 of the
//! specification).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::StreamExt;
use thanos_core::block::BlockId;
use thanos_storeapi::gate::Place;
use thanos_storeapi::hints::{ItemStats, QueryStats, SeriesResponseHints};
use thanos_storeapi::store::{SeriesEvent, SeriesStream};

use super::query::{Item, QueryContext, get};

/// What an answer ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseHints {
    /// No hints.
    None,
    /// The queried blocks.
    Blocks,
    /// The queried blocks, and what the answer cost.
    BlocksAndStats,
}

/// Counts what leaves with `series`, keeps the place behind the gate until they end, and adds hints then.
pub(super) fn concluded(
    series: SeriesStream,
    query: Arc<QueryContext>,
    place: Place,
    hints: ResponseHints,
) -> SeriesStream {
    let open = Some((series, query, place));
    let concluded = futures::stream::unfold(open, move |open| async move {
        let (mut series, query, place) = open?;
        match series.next().await {
            Some(Ok(event)) => {
                if let SeriesEvent::Batch(batch) = &event {
                    query.leaves(batch);
                }
                Some((Ok(event), Some((series, query, place))))
            }
            Some(Err(error)) => {
                query.failed(&error);
                Some((Err(error), None))
            }
            None => {
                query.ends();
                let event = response_hints(&query, hints)?;
                Some((Ok(event), None))
            }
        }
    });
    Box::pin(concluded)
}

fn response_hints(query: &QueryContext, hints: ResponseHints) -> Option<SeriesEvent> {
    if hints == ResponseHints::None {
        return None;
    }
    let hints = SeriesResponseHints {
        queried_blocks: query.asked().iter().map(BlockId::to_string).collect(),
        query_stats: (hints == ResponseHints::BlocksAndStats).then(|| query_stats(query)),
    };
    Some(SeriesEvent::Hints(hints.encode()))
}

fn query_stats(query: &QueryContext) -> QueryStats {
    let stats = &query.stats;
    let item = |item: Item| {
        let of = stats.of(item);
        ItemStats {
            touched: get(&of.touched),
            touched_bytes: get(&of.touched_bytes),
            fetched: get(&of.fetched),
            fetched_bytes: get(&of.fetched_bytes),
            fetch_count: get(&of.fetch_count),
        }
    };
    let duration = |nanos: &AtomicU64| Duration::from_nanos(get(nanos));
    QueryStats {
        blocks_queried: get(&stats.blocks_queried),
        merged_series: get(&stats.merged_series),
        merged_chunks: get(&stats.merged_chunks),
        postings: item(Item::Postings),
        postings_to_fetch: get(&stats.of(Item::Postings).to_fetch),
        series: item(Item::Series),
        chunks: item(Item::Chunks),
        data_downloaded_bytes: stats.data_bytes(),
        get_all_duration: duration(&stats.get_all_nanos),
        merge_duration: duration(&stats.merge_nanos),
    }
}
