//! Chunks of a remote block, fetched by range.
//!
//! A chunk ends at the latest where the next wanted one of its file starts; for the others a length is assumed,
//! and what turns out longer is fetched again, exactly. Every chunk's checksum is verified.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::block::segment::{chunk_entry_len, decode_chunk};
use thanos_core::chunk::Chunk;
use thanos_core::index::ChunkRef;
use thanos_core::{Error, Result};

use super::block::GatewayBlock;
use super::partition::{Part, PartitionOptions, partition};

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
) -> Result<Vec<Chunk>> {
    // Requests go by place in the files; `order[i]` is the position of the i-th of them in `references`.
    let mut order: Vec<usize> = (0..references.len()).collect();
    order.sort_unstable_by_key(|position| references[*position]);
    let sorted: Vec<ChunkRef> = order.iter().map(|position| references[*position]).collect();

    let requests: Vec<(u32, Vec<Range<u64>>, Part)> = requests(block, &sorted);
    let fetched: Vec<Vec<Chunk>> = futures::stream::iter(requests)
        .map(|(segment, ranges, part)| async move {
            let object = block.segment_object(segment)?;
            let bytes = block
                .bucket()
                .read_range_up_to(&object, part.range.clone())
                .await?;
            let mut chunks = Vec::with_capacity(ranges.len());
            for range in &ranges {
                chunks.push(chunk_in(block, &object, &bytes, part.range.start, range).await?);
            }
            release_sparse_part(&mut chunks, part.range.end - part.range.start);
            Ok::<_, Error>(chunks)
        })
        .buffered(block.limits().fetch_concurrency)
        .try_collect()
        .await?;

    let mut by_position: Vec<Option<Chunk>> = vec![None; references.len()];
    for (position, chunk) in order.into_iter().zip(fetched.into_iter().flatten()) {
        by_position[position] = Some(chunk);
    }
    Ok(by_position.into_iter().flatten().collect())
}

/// Copies `chunks` out of their part of `part_bytes` when they are a small share of it: a chunk keeps the whole part
/// alive, gaps included.
fn release_sparse_part(chunks: &mut [Chunk], part_bytes: u64) {
    let wanted: usize = chunks.iter().map(|chunk| chunk.data.len()).sum();
    if (wanted as u64) < part_bytes / 2 {
        for chunk in chunks {
            chunk.data = Bytes::copy_from_slice(&chunk.data);
        }
    }
}

/// The requests for `sorted` references: file, the assumed ranges of its chunks in the request, and the request.
fn requests(block: &GatewayBlock, sorted: &[ChunkRef]) -> Vec<(u32, Vec<Range<u64>>, Part)> {
    let limits = block.limits();
    let options = PartitionOptions {
        gap_bytes_max: limits.gap_bytes_max,
        part_bytes_max: PART_BYTES_MAX,
    };
    let mut requests = Vec::new();
    for in_segment in sorted.chunk_by(|a, b| a.segment() == b.segment()) {
        let ranges = assumed_ranges(in_segment, block.chunk_bytes_assumed());
        for part in partition(&ranges, options) {
            requests.push((
                in_segment[0].segment(),
                ranges[part.items.clone()].to_vec(),
                part,
            ));
        }
    }
    requests
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

/// Cuts the chunk that starts at `range.start` out of `bytes`, which lie at `base`, or fetches it when it is longer.
async fn chunk_in(
    block: &GatewayBlock,
    object: &str,
    bytes: &Bytes,
    base: u64,
    range: &Range<u64>,
) -> Result<Chunk> {
    let in_file = |error: Error| error.in_file(object);
    let start = usize::try_from(range.start - base)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let mut rest = bytes.slice(start..);
    if (rest.len() as u64) < LENGTH_PREFIX_MAX {
        // The request ended inside the length; an object that ends here makes the next read fail.
        rest = block
            .bucket()
            .read_range_up_to(
                object,
                range.start..range.start + block.chunk_bytes_assumed(),
            )
            .await?;
    }
    let len = chunk_entry_len(&rest, range.start).map_err(in_file)?;
    let len_bytes = u64::try_from(len).unwrap_or(u64::MAX);
    if len_bytes > CHUNK_BYTES_MAX {
        return Err(in_file(
            Error::corrupt(format!("chunk says that it has {len} bytes")).at(range.start),
        ));
    }
    let entry = if len <= rest.len() {
        rest.slice(..len)
    } else {
        block
            .bucket()
            .read_range(object, range.start..range.start + len_bytes)
            .await?
    };
    Ok(decode_chunk(&entry, range.start).map_err(in_file)?.0)
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
