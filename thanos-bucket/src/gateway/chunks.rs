//! Chunks of a remote block, fetched by range.
//!
//! A chunk ends at the latest where the next wanted one or its file ends. Else it is assumed to be somewhat longer than
//! its predecessors of the same series, or of the usual length of the block; what turns out longer is fetched again,
//! exactly. Every chunk's checksum is verified.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use thanos_core::block::segment::{chunk_entry_len, decode_chunk_at};
use thanos_core::budget::Lease;
use thanos_core::chunk::{Aggregate, Chunk, Encoding, SeriesChunk};
use thanos_core::index::{ChunkMeta, ChunkRef};
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};
use thanos_core::{Error, Result};
use thanos_storeapi::aggregates::keep_aggregates;

use super::block::GatewayBlock;
use super::query::{ChunkLease, Item, QueryContext};
use super::ranges::{Fetched, RangeSource, Trust, look_twice, read_ranges};
use super::refetch::refetch;

/// The most bytes of one request for chunks.
const PART_BYTES_MAX: u64 = 1 << 20;
/// The longest a chunk's length prefix can be.
const LENGTH_PREFIX_MAX: u64 = 5;
/// No sane chunk is longer: native histograms of thousands of buckets stay far below.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// What a chunk may be longer than its predecessors before it has to be fetched again.
const LONGER_BYTES: u64 = 64;

/// Series whose chunks are read together.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) block: Arc<GatewayBlock>,
    /// The series, without their chunks.
    pub(super) batches: Vec<SeriesBatch>,
    /// Where the chunks of each series end; they start where those before end.
    pub(super) chunk_ends: Vec<usize>,
    pub(super) chunks: Vec<ChunkMeta>,
    pub(super) aggregates: Arc<[Aggregate]>,
    pub(super) query: Arc<QueryContext>,
    /// Of labels and places.
    pub(super) lease: Option<Arc<Lease>>,
}

/// Batches that are ready to be taken, and the leases of their bytes.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) batches: VecDeque<SeriesBatch>,
    /// Of the labels.
    pub(super) _labels: Option<Arc<Lease>>,
    pub(super) _chunks: Option<ChunkLease>,
}

/// What is read of one file.
#[derive(Debug)]
struct SegmentPlan {
    segment: u32,
    object: String,
    /// Its length.
    file_end: u64,
    ranges: Vec<Range<u64>>,
    /// How many chunks start in each range.
    items: Vec<u32>,
}

/// Chunks that touch.
#[derive(Debug)]
struct Run {
    offset: u64,
    bytes: Bytes,
}

/// What was read.
#[derive(Debug, Default)]
struct Found {
    runs: Vec<Run>,
    /// In which run each chunk starts.
    run_of: Vec<u32>,
    /// Chunks that are longer than assumed.
    whole: BTreeMap<ChunkRef, Bytes>,
}

/// What became of the chunks of a step.
enum Cut {
    Batches {
        batches: VecDeque<SeriesBatch>,
        /// How many chunks they have.
        chunk_count: usize,
    },
    /// These are longer than assumed.
    Longer(Vec<(ChunkRef, u64)>),
}

/// What became of a chunk.
enum Piece {
    /// The bytes of its data, and the wanted parts of it; nothing when it is downsampled and has none of the wanted aggregates.
    Chunk(u64, Option<SeriesChunk>),
    /// It has so many bytes, more than were read.
    Longer(u64),
}

impl Step {
    /// Fetches the chunks and makes batches of the series.
    pub(super) async fn read(self) -> Result<Ready> {
        let (plans, run_of) = self.plan()?;
        let step = Arc::new(self);
        let attempt = |trust| step.try_read(&plans, &run_of, trust);
        look_twice(&step.query, Item::Chunks, attempt).await
    }

    async fn try_read(
        self: &Arc<Self>,
        plans: &[SegmentPlan],
        run_of: &[u32],
        trust: Trust,
    ) -> Result<Ready> {
        let step = self;
        // What all chunks may hold is asked first, so that nothing is fetched that has no room there; the request's own
        // memory is asked by the reads.
        let planned = plans.iter().flat_map(|plan| &plan.ranges);
        let planned: u64 = planned.map(|range| range.end - range.start).sum();
        let pool = step.query.lease_of_chunk_pool(planned)?;
        let reads = plans.iter().map(|plan| step.fetch(plan, trust));
        let fetched: Vec<Fetched> = try_join_all(reads).await?;
        let mut found = Found {
            run_of: run_of.to_vec(),
            ..Found::default()
        };
        for (plan, fetched) in plans.iter().zip(&fetched) {
            let of_plan = plan.ranges.iter().zip(&fetched.bytes);
            found.runs.extend(of_plan.map(|(range, bytes)| Run {
                offset: range.start,
                bytes: bytes.clone(),
            }));
        }
        let (mut outcome, mut found) = Self::cut_elsewhere(step, found).await?;
        let mut leases = Vec::new();
        // Once for those whose length was not even read, once for those that are longer than assumed.
        for _ in 0..2 {
            if let Cut::Longer(longer) = &outcome {
                leases.extend(step.fetch_longer(longer, &mut found.whole, trust).await?);
                (outcome, found) = Self::cut_elsewhere(step, found).await?;
            }
        }
        let Cut::Batches {
            batches,
            chunk_count,
        } = outcome
        else {
            return Err(Error::corrupt("a chunk does not end").in_file(step.block.index_object()));
        };
        // The batches hold what they were cut from, the gaps between the chunks too, under a lease of what chunks may
        // hold.
        let read = fetched.iter().map(|fetched| &fetched.lease);
        let read_bytes: u64 = read.chain(&leases).map(Lease::bytes).sum();
        drop((fetched, leases, found));
        let bytes = (size_of::<SeriesChunk>() * chunk_count) as u64 + read_bytes;
        Ok(Ready {
            batches,
            _labels: step.lease.clone(),
            _chunks: Some(step.query.lease_chunks(pool, bytes)?),
        })
    }

    async fn cut_elsewhere(step: &Arc<Self>, found: Found) -> Result<(Cut, Found)> {
        let cutting = Arc::clone(step);
        let cut = move || (cutting.cut(&found), found);
        let (outcome, found) = step.block.compute().run(cut).await?;
        Ok((outcome?, found))
    }

    fn source<'a>(&'a self, object: &'a str, items: &'a [u32], trust: Trust) -> RangeSource<'a> {
        RangeSource {
            block: &self.block,
            object,
            item: Item::Chunks,
            part_bytes_max: PART_BYTES_MAX,
            query: &self.query,
            items,
            trust,
        }
    }

    async fn fetch(&self, plan: &SegmentPlan, trust: Trust) -> Result<Fetched> {
        let source = self.source(&plan.object, &plan.items, trust);
        read_ranges(source, &plan.ranges).await
    }

    async fn fetch_longer(
        &self,
        longer: &[(ChunkRef, u64)],
        whole: &mut BTreeMap<ChunkRef, Bytes>,
        trust: Trust,
    ) -> Result<Vec<Lease>> {
        let mut leases = Vec::new();
        let mut by_segment: BTreeMap<u32, Vec<(ChunkRef, u64)>> = BTreeMap::new();
        for one in longer {
            by_segment.entry(one.0.segment()).or_default().push(*one);
        }
        for (segment, longer) in by_segment {
            let object = self.block.segment_object(segment)?;
            let range = |(chunk, len): &(ChunkRef, u64)| {
                let start = u64::from(chunk.offset());
                start..start + len
            };
            let ranges: Vec<Range<u64>> = longer.iter().map(range).collect();
            let found = refetch(self.source(&object, &[], trust), &ranges).await?;
            whole.extend(longer.iter().map(|(chunk, _)| *chunk).zip(found.bytes));
            leases.push(found.lease);
        }
        Ok(leases)
    }

    /// Returns what to read of which file, and in which of these runs each chunk starts.
    fn plan(&self) -> Result<(Vec<SegmentPlan>, Vec<u32>)> {
        let assumed = self.lengths_assumed();
        let order = self.file_order();
        let (mut plans, mut run_of) = (Vec::<SegmentPlan>::new(), vec![0; order.len()]);
        let (mut run_count, mut behind) = (0_u32, 0);
        for at in &order {
            let chunk = self.chunks[*at].reference;
            let start = u64::from(chunk.offset());
            if plans
                .last()
                .is_none_or(|plan| plan.segment != chunk.segment())
            {
                plans.push(self.segment_plan(chunk)?);
            }
            let Some(plan) = plans.last_mut() else {
                continue;
            };
            if start >= plan.file_end {
                return Err(self.beyond_file(chunk, plan.file_end));
            }
            // The same chunk may be wanted many times; then its neighbour says nothing about its end.
            let next = |behind: usize| Some(self.chunks[*order.get(behind)?].reference);
            while next(behind).is_some_and(|next| next <= chunk) {
                behind += 1;
            }
            let end = next(behind).filter(|next| next.segment() == chunk.segment());
            let end = end.map_or(plan.file_end, |next| u64::from(next.offset()));
            let range = start..end.min(start + assumed[*at]).max(start + 1);
            if plan.push(range) {
                run_count += 1;
            }
            run_of[*at] = run_count - 1;
        }
        Ok((plans, run_of))
    }

    /// Returns the positions of the chunks as they lie in the files.
    fn file_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.chunks.len()).collect();
        order.sort_by_key(|at| self.chunks[*at].reference);
        order
    }

    #[cold]
    fn beyond_file(&self, chunk: ChunkRef, file_end: u64) -> Error {
        let message = format!("a series has a chunk beyond the {file_end} bytes");
        let error = Error::corrupt(message).at(chunk.offset().into());
        match self.block.segment_object(chunk.segment()) {
            Ok(object) => error.in_file(object),
            Err(error) => error,
        }
    }

    fn segment_plan(&self, chunk: ChunkRef) -> Result<SegmentPlan> {
        Ok(SegmentPlan {
            segment: chunk.segment(),
            object: self.block.segment_object(chunk.segment())?,
            file_end: self.block.segment_bytes(chunk.segment()),
            ranges: Vec::new(),
            items: Vec::new(),
        })
    }

    /// Returns how long each chunk is assumed to be: chunks of a series are much alike, and lie one behind the other.
    fn lengths_assumed(&self) -> Vec<u64> {
        let usual = self.block.chunk_bytes_assumed();
        let mut assumed = Vec::with_capacity(self.chunks.len());
        let mut first = 0;
        for end in &self.chunk_ends {
            let mut longest = None;
            for at in first..*end {
                assumed.push(longest.map_or(usual, |longest: u64| {
                    (longest + longest / 4 + LONGER_BYTES).min(usual)
                }));
                let (this, next) = (self.chunks[at], self.chunks.get(at + 1));
                let step = next.and_then(|next| next.reference.0.checked_sub(this.reference.0));
                longest = longest.max(step.filter(|step| *step <= usual));
            }
            first = *end;
        }
        assumed
    }

    /// Cuts the chunks out of what was read, checks them, and makes batches of the series.
    fn cut(&self, found: &Found) -> Result<Cut> {
        let (mut touched_bytes, mut chunk_count) = (0, 0);
        let mut longer = Vec::new();
        let mut batches = VecDeque::with_capacity(self.batches.len());
        let (mut at, mut rest) = (0, self.chunk_ends.as_slice());
        for batch in &self.batches {
            let (ends, after) = rest.split_at(batch.len().min(rest.len()));
            rest = after;
            let wanted = ends.last().map_or(0, |end| end - at);
            let mut chunks = Vec::with_capacity(wanted);
            let mut counts = Vec::with_capacity(ends.len());
            for end in ends {
                let before = chunks.len();
                while at < *end {
                    match self.cut_one(found, at)? {
                        Piece::Chunk(bytes, chunk) => {
                            touched_bytes += bytes;
                            chunks.extend(chunk);
                        }
                        Piece::Longer(len) => longer.push((self.chunks[at].reference, len)),
                    }
                    at += 1;
                }
                counts.push(chunks.len() - before);
            }
            chunk_count += chunks.len();
            if longer.is_empty() {
                batches.extend(with_chunks(batch, chunks, &counts));
            }
        }
        if !longer.is_empty() {
            return Ok(Cut::Longer(longer));
        }
        let count = self.chunks.len() as u64;
        self.query.touched(Item::Chunks, count, touched_bytes);
        Ok(Cut::Batches {
            batches,
            chunk_count,
        })
    }

    /// Returns the wanted parts of the chunk at position `at`, or how long it is when more of it has to be fetched.
    #[inline]
    fn cut_one(&self, found: &Found, at: usize) -> Result<Piece> {
        let meta = &self.chunks[at];
        let offset = u64::from(meta.reference.offset());
        let whole = match found.whole.is_empty() {
            true => None,
            false => found.whole.get(&meta.reference),
        };
        let (bytes, start) = match whole {
            Some(bytes) => (bytes, 0),
            None => {
                let run = &found.runs[found.run_of[at] as usize];
                let start = usize::try_from(offset - run.offset).unwrap_or(usize::MAX);
                (&run.bytes, start)
            }
        };
        let rest = bytes.get(start..).unwrap_or_default();
        if (rest.len() as u64) < LENGTH_PREFIX_MAX && whole.is_none() {
            return Ok(Piece::Longer(self.assumed_again(meta.reference)));
        }
        let len = chunk_entry_len(rest, offset).map_err(|error| self.in_file(error, meta))?;
        if len > rest.len() {
            return self.longer(meta, len as u64);
        }
        let decoded = decode_chunk_at(bytes, start, offset);
        let (chunk, _) = decoded.map_err(|error| self.in_file(error, meta))?;
        let data_bytes = chunk.data.len() as u64;
        let wanted = self.wanted_of(meta, chunk);
        let wanted = wanted.map_err(|error| self.in_file(error.at(offset), meta))?;
        Ok(Piece::Chunk(data_bytes, wanted))
    }

    /// Returns how much to read of a chunk of which not even the length was read: an object that ends there makes that
    /// read fail.
    #[cold]
    fn assumed_again(&self, chunk: ChunkRef) -> u64 {
        let left = self.block.segment_bytes(chunk.segment()) - u64::from(chunk.offset());
        self.block.chunk_bytes_assumed().min(left)
    }

    /// Returns that the chunk is `len` bytes long, if that can be.
    #[cold]
    fn longer(&self, meta: &ChunkMeta, len: u64) -> Result<Piece> {
        if len > CHUNK_BYTES_MAX {
            let message = format!("chunk says that it has {len} bytes");
            let offset = u64::from(meta.reference.offset());
            return Err(self.in_file(Error::corrupt(message).at(offset), meta));
        }
        Ok(Piece::Longer(len))
    }

    #[cold]
    fn in_file(&self, error: Error, meta: &ChunkMeta) -> Error {
        let object = self.block.segment_object(meta.reference.segment());
        error.in_file(object.unwrap_or_default())
    }

    #[inline]
    fn wanted_of(&self, meta: &ChunkMeta, chunk: Chunk) -> Result<Option<SeriesChunk>> {
        // Nothing of raw samples is left out.
        if chunk.encoding != Encoding::AGGREGATES {
            return Ok(Some(SeriesChunk::raw(meta.min_time, meta.max_time, chunk)));
        }
        let chunk = SeriesChunk {
            min_time: meta.min_time,
            max_time: meta.max_time,
            payload: thanos_core::chunk::payload(chunk)?,
        };
        Ok(keep_aggregates(chunk, &self.aggregates))
    }
}

/// Returns the series of `batch` that have any of `chunks`, of which `counts` says how many belong to each: a series none
/// of whose chunks has a wanted aggregate is as good as absent.
fn with_chunks(
    batch: &SeriesBatch,
    chunks: Vec<SeriesChunk>,
    counts: &[usize],
) -> Option<SeriesBatch> {
    if !counts.contains(&0) {
        return Some(batch.clone().with_chunks(chunks, counts.iter().copied()));
    }
    let (mut kept, mut chunks) = (SeriesBatchBuilder::new(), chunks.into_iter());
    let with_some = batch.iter().zip(counts).filter(|(_, count)| **count > 0);
    for (series, count) in with_some {
        kept.push(series.labels, chunks.by_ref().take(*count));
    }
    (!kept.is_empty()).then(|| kept.finish())
}

impl SegmentPlan {
    /// Adds a chunk, and reports whether it begins a run.
    fn push(&mut self, chunk: Range<u64>) -> bool {
        if let (Some(last), Some(items)) = (self.ranges.last_mut(), self.items.last_mut())
            && chunk.start <= last.end
            && chunk.end.max(last.end) - last.start <= PART_BYTES_MAX
        {
            last.end = last.end.max(chunk.end);
            *items += 1;
            return false;
        }
        self.ranges.push(chunk);
        self.items.push(1);
        true
    }
}
