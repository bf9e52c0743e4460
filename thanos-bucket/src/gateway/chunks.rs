//! Chunks of a remote block, fetched by range.
//!
//! A chunk ends at the latest where the next wanted one of its file starts; for the others a length is assumed,
//! and what turns out longer is fetched again, exactly. Every chunk's checksum is verified.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use thanos_core::block::segment::{chunk_entry_len, decode_chunk};
use thanos_core::chunk::Chunk;
use thanos_core::index::ChunkRef;
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::query::{Item, QueryContext};
use super::ranges::{RangeSource, read_ranges};

/// The most bytes of one request for chunks.
const PART_BYTES_MAX: u64 = 1 << 20;
/// The longest a chunk's length prefix can be.
const LENGTH_PREFIX_MAX: u64 = 5;
/// No sane chunk is longer: native histograms of thousands of buckets stay far below.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// Fetches the chunks at `references`, in any order, and returns them in that order.
pub(super) async fn fetch_chunks(
    block: &GatewayBlock,
    references: &[ChunkRef],
    query: &Arc<QueryContext>,
) -> Result<Vec<Chunk>> {
    // Requests go by place in the files; `order[i]` is the position of the i-th of them in `references`.
    let mut order: Vec<usize> = (0..references.len()).collect();
    order.sort_unstable_by_key(|position| references[*position]);
    let sorted: Vec<ChunkRef> = order.iter().map(|position| references[*position]).collect();

    let mut by_position: Vec<Option<Chunk>> = vec![None; references.len()];
    let mut positions = order.into_iter();
    for in_segment in sorted.chunk_by(|a, b| a.segment() == b.segment()) {
        let ranges = assumed_ranges(in_segment, block.chunk_bytes_assumed());
        let object = block.segment_object(in_segment[0].segment())?;
        let source = RangeSource {
            block,
            object: &object,
            item: Item::Chunks,
            part_bytes_max: PART_BYTES_MAX,
            query,
        };
        let found = read_ranges(source, &ranges).await?.bytes;
        for ((range, bytes), position) in ranges.iter().zip(found).zip(positions.by_ref()) {
            let chunk = whole_chunk(block, &object, bytes, range.start, query).await?;
            query.touched(Item::Chunks, 1, chunk.data.len() as u64);
            by_position[position] = Some(chunk);
        }
    }
    Ok(by_position.into_iter().flatten().collect())
}

fn assumed_ranges(in_segment: &[ChunkRef], bytes_assumed: u64) -> Vec<Range<u64>> {
    let starts = in_segment
        .iter()
        .map(|reference| u64::from(reference.offset()));
    let nexts = starts.clone().skip(1).map(Some).chain([None]);
    starts
        .zip(nexts)
        .map(|(start, next)| {
            let assumed = start + bytes_assumed;
            // The same chunk may be wanted twice; then its neighbour says nothing about its end.
            let end = next
                .filter(|next| *next > start)
                .map_or(assumed, |next| next.min(assumed));
            start..end
        })
        .collect()
}

/// Returns the chunk that starts at `offset`, of which `found` are the first bytes; fetches it when it is longer.
async fn whole_chunk(
    block: &GatewayBlock,
    object: &str,
    found: Bytes,
    offset: u64,
    query: &QueryContext,
) -> Result<Chunk> {
    let in_file = |error: Error| error.in_file(object);
    let mut rest = found;
    if (rest.len() as u64) < LENGTH_PREFIX_MAX {
        // The request ended inside the length; an object that ends here makes the next read fail.
        rest = block
            .bucket()
            .read_range_up_to(object, offset..offset + block.chunk_bytes_assumed())
            .await?;
    }
    let len = chunk_entry_len(&rest, offset).map_err(in_file)?;
    let len_bytes = u64::try_from(len).unwrap_or(u64::MAX);
    if len_bytes > CHUNK_BYTES_MAX {
        return Err(in_file(
            Error::corrupt(format!("chunk says that it has {len} bytes")).at(offset),
        ));
    }
    let entry = if len <= rest.len() {
        rest.slice(..len)
    } else {
        query.refetched(Item::Chunks);
        query.reserve_fetch(Item::Chunks, len_bytes)?;
        let started = Instant::now();
        let range = offset..offset + len_bytes;
        let bytes = block.bucket().read_range(object, range).await?;
        query.fetched(Item::Chunks, 1, len_bytes, started.elapsed());
        bytes
    };
    Ok(decode_chunk(&entry, offset).map_err(in_file)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_chunk_bounds_the_one_before() {
        let references = [
            ChunkRef::new(0, 8),
            ChunkRef::new(0, 8),
            ChunkRef::new(0, 50),
            ChunkRef::new(0, 5000),
        ];
        assert_eq!(
            assumed_ranges(&references, 100),
            [8..108, 8..50, 50..150, 5000..5100]
        );
    }
}
