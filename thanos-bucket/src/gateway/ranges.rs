//! Reading many byte ranges of one object with few requests.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::partition::{Part, PartitionOptions, partition};
use super::query::{Item, QueryContext};

/// What is read, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeSource<'a> {
    pub(super) block: &'a GatewayBlock,
    pub(super) object: &'a str,
    pub(super) item: Item,
    /// A request is not made longer than this by joining ranges.
    pub(super) part_bytes_max: u64,
    pub(super) query: &'a Arc<QueryContext>,
}

/// Returns the bytes of each of `ranges`, which are sorted by start and may overlap; fewer where the object ends.
pub(super) async fn read_ranges(
    source: RangeSource<'_>,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>> {
    let limits = source.block.limits();
    let options = PartitionOptions {
        gap_bytes_max: limits.gap_bytes_max,
        part_bytes_max: source.part_bytes_max,
    };
    let parts = partition(ranges, options);
    let (item, query) = (source.item, source.query);
    query.to_fetch(item, ranges.len() as u64);
    let wanted = parts.iter().map(|part| part.range.end - part.range.start);
    query.reserve_fetch(item, wanted.sum())?;
    let read: Vec<(Part, Bytes)> = futures::stream::iter(parts)
        .map(|part| async move {
            let bucket = source.block.bucket();
            let started = Instant::now();
            let bytes = bucket
                .read_range_up_to(source.object, part.range.clone())
                .await?;
            let (count, len) = (part.items.len() as u64, bytes.len() as u64);
            query.fetched(item, count, len, started.elapsed());
            Ok::<_, Error>((part, bytes))
        })
        .buffered(limits.fetch_concurrency)
        .try_collect()
        .await?;
    let mut found = Vec::with_capacity(ranges.len());
    for (part, bytes) in read {
        for range in &ranges[part.items] {
            found.push(cut(&bytes, part.range.start, range));
        }
    }
    Ok(found)
}

/// Returns the bytes of `range` out of `bytes`, which lie at `base`; fewer where they end.
fn cut(bytes: &Bytes, base: u64, range: &Range<u64>) -> Bytes {
    let position = |at: u64| {
        usize::try_from(at.saturating_sub(base))
            .unwrap_or(usize::MAX)
            .min(bytes.len())
    };
    bytes.slice(position(range.start)..position(range.end))
}
