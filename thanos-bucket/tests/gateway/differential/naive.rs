//! Random blocks, and what they answer by the definition: every series and every chunk looked at, nothing indexed.

use std::collections::{BTreeMap, BTreeSet};

use thanos_bucket::testkit::{BlockData, BlockSpec, Sizes, block_id};
use thanos_core::chunk::{Aggregate, Chunk, ChunkPayload, SeriesChunk};
use thanos_core::labels::{Labels, LabelsBuilder, Matcher};
use thanos_core::testkit::TestRandom;
use thanos_core::testkit::shapes::xor_chunk;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::aggregates::keep_aggregates;
use thanos_storeapi::shard::ShardFilter;
use thanos_storeapi::store::SeriesRequest;

/// Blocks begin and end at whole multiples of it.
pub(crate) const GRID_MS: i64 = 600_000;
/// The blocks lie within so many steps of the grid.
pub(crate) const GRID_STEPS: i64 = 24;
pub(crate) const START_MS: i64 = 1_700_006_400_000;

/// A block and all that is in it.
#[derive(Debug)]
pub(crate) struct NaiveBlock {
    pub(crate) spec: BlockSpec,
    pub(crate) data: BlockData,
    pub(crate) external: Labels,
    pub(crate) range: TimeRange,
    /// With their external labels, in the order of the labels without.
    series: Vec<(Labels, Vec<SeriesChunk>)>,
}

/// A series of an answer.
pub(crate) type Found = BTreeMap<Labels, BTreeSet<ChunkKey>>;

/// Times and bytes of a chunk.
pub(crate) type ChunkKey = (i64, i64, Vec<u8>);

pub(crate) fn chunk_key(chunk: &SeriesChunk) -> ChunkKey {
    let mut bytes = Vec::new();
    match &chunk.payload {
        ChunkPayload::Raw(raw) => {
            bytes.push(raw.encoding.0);
            bytes.extend_from_slice(&raw.data);
        }
        ChunkPayload::Aggregates(set) => {
            for (place, chunk) in set.iter().enumerate() {
                let Some(chunk) = chunk else { continue };
                bytes.extend([0xFF, u8::try_from(place).unwrap(), chunk.encoding.0]);
                bytes.extend_from_slice(&chunk.data);
            }
        }
    }
    let (min, max) = (chunk.min_time.as_millis(), chunk.max_time.as_millis());
    (min, max, bytes)
}

pub(crate) fn below(random: &mut TestRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

pub(crate) fn chance(random: &mut TestRandom, percent: u64) -> bool {
    random.below(100) < percent
}

pub(crate) fn one_of<T: Clone>(random: &mut TestRandom, all: &[T]) -> T {
    all[below(random, all.len())].clone()
}

/// Returns a few blocks that overlap in time, in labels and in series.
pub(crate) fn blocks(random: &mut TestRandom) -> Vec<NaiveBlock> {
    let count = 1 + below(random, 7);
    let one = |number: usize| NaiveBlock::new(u32::try_from(number + 1).unwrap(), random);
    (0..count).map(one).collect()
}

impl NaiveBlock {
    fn new(number: u32, random: &mut TestRandom) -> Self {
        let first = random.below(GRID_STEPS.unsigned_abs()).cast_signed();
        let steps = 1 + random.below(8).cast_signed();
        let (min_ms, end_ms) = (
            START_MS + first * GRID_MS,
            START_MS + (first + steps) * GRID_MS,
        );
        let range = TimeRange::from_millis(min_ms, end_ms - 1);
        let resolution_ms = one_of(random, &[0, 0, 0, 300_000, 3_600_000]);
        let replica = one_of(random, &["a", "b"]);
        let mut labels = vec![("replica".to_owned(), replica.to_owned())];
        if chance(random, 50) {
            labels.push((
                "region".to_owned(),
                one_of(random, &["eu", "us"]).to_owned(),
            ));
        }
        labels.sort();
        let spec = BlockSpec {
            id: block_id(number),
            labels: labels.clone(),
            resolution_ms,
            time: Some((range.min, range.max + 1)),
            sizes: one_of(random, &[Sizes::Known, Sizes::Unknown]),
            ..BlockSpec::default()
        };
        let own = own_series(random, range, resolution_ms);
        let data = BlockData::of_series(&own).unwrap();
        let external = Labels::from_pairs(labels);
        let merged = own.into_iter().map(|(series, chunks)| {
            let mut all = LabelsBuilder::from_labels(series.as_ref());
            for (name, value) in external.iter() {
                all.set(&name, &value);
            }
            (all.build(), chunks)
        });
        let series = merged.collect();
        Self {
            spec,
            data,
            external,
            range,
            series,
        }
    }

    pub(crate) fn id(&self) -> String {
        self.spec.id.to_string()
    }

    /// Reports whether every matcher on an external label accepts it.
    pub(crate) fn can_match(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| {
            let external = self.external.get(matcher.name());
            external.is_none_or(|value| matcher.matches(&value))
        })
    }

    /// Reports whether the matchers, all of them on external labels, leave all series.
    fn matches_whole(&self, matchers: &[Matcher]) -> bool {
        let is_external = |matcher: &Matcher| self.external.get(matcher.name()).is_some();
        matchers.iter().all(is_external) && self.can_match(matchers)
    }

    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &(Labels, Vec<SeriesChunk>)> {
        let matches = |labels: &Labels| {
            matchers.iter().all(|matcher| {
                let value = labels.get(matcher.name());
                matcher.matches(&value.unwrap_or_default())
            })
        };
        self.series
            .iter()
            .filter(move |(labels, _)| matches(labels))
    }

    /// Returns the series that label calls for `matchers` look at.
    pub(crate) fn labelled(&self, matchers: &[Matcher], range: TimeRange) -> Vec<&Labels> {
        if !self.range.overlaps(range) || range.is_empty() || !self.can_match(matchers) {
            return Vec::new();
        }
        let whole = self.matches_whole(matchers);
        let in_time = |chunks: &[SeriesChunk]| {
            whole
                || chunks
                    .iter()
                    .any(|chunk| chunk.time_range().overlaps(range))
        };
        let matching = self.matching(matchers);
        matching
            .filter(|(_, chunks)| in_time(chunks))
            .map(|(labels, _)| labels)
            .collect()
    }

    fn add(&self, request: &SeriesRequest, found: &mut Found) {
        let mut shard = request.shard.as_ref().and_then(ShardFilter::new);
        for (labels, chunks) in self.matching(&request.matchers) {
            let mut left = LabelsBuilder::from_labels(labels.as_ref());
            for name in &request.without_replica_labels {
                left.remove(name);
            }
            let labels = left.build();
            if shard
                .as_mut()
                .is_some_and(|shard| !shard.keeps(labels.as_ref()))
            {
                continue;
            }
            let in_time = chunks
                .iter()
                .filter(|chunk| chunk.time_range().overlaps(request.range));
            let in_time: Vec<SeriesChunk> = in_time.cloned().collect();
            if in_time.is_empty() {
                continue;
            }
            if request.skip_chunks {
                found.entry(labels).or_default();
                continue;
            }
            let wanted = in_time
                .into_iter()
                .filter_map(|chunk| keep_aggregates(chunk, &request.aggregates));
            let keys: Vec<ChunkKey> = wanted.map(|chunk| chunk_key(&chunk)).collect();
            if !keys.is_empty() {
                found.entry(labels).or_default().extend(keys);
            }
        }
    }
}

/// Returns the blocks that a request reads, before hints choose among them: for each moment that it asks about the
/// coarsest that will do.
pub(crate) fn chosen<'a>(
    blocks: &'a [NaiveBlock],
    request: &SeriesRequest,
) -> impl Iterator<Item = &'a NaiveBlock> {
    let is_chosen = |block: &NaiveBlock| {
        block.range.overlaps(request.range)
            && block.can_match(&request.matchers)
            && (request.skip_chunks || is_coarsest_somewhere(blocks, block, request))
    };
    blocks
        .iter()
        .filter(move |block| is_chosen(block))
        .collect::<Vec<_>>()
        .into_iter()
}

fn is_coarsest_somewhere(
    blocks: &[NaiveBlock],
    block: &NaiveBlock,
    request: &SeriesRequest,
) -> bool {
    // The coarsest that will do comes first, and what is coarser than wanted after all that will do.
    let rank = |resolution_ms: i64| match resolution_ms <= request.max_resolution_window_ms {
        true => (false, -resolution_ms),
        false => (true, resolution_ms),
    };
    let own = rank(block.spec.resolution_ms);
    let from = block.range.min.max(request.range.min);
    let steps = (0..GRID_STEPS + 10).map(|step| Timestamp::from_millis(START_MS + step * GRID_MS));
    let moments = steps.chain([from]);
    let asked = moments.filter(|time| block.range.contains(*time) && request.range.contains(*time));
    asked.into_iter().any(|time| {
        blocks.iter().all(|other| {
            other.external != block.external
                || rank(other.spec.resolution_ms) >= own
                || !other.range.contains(time)
        })
    })
}

/// Returns the series that `request` gets from `blocks`.
pub(crate) fn series<'a>(
    blocks: impl IntoIterator<Item = &'a NaiveBlock>,
    request: &SeriesRequest,
) -> Found {
    let mut found = Found::new();
    for block in blocks {
        block.add(request, &mut found);
    }
    if request.limit > 0 {
        let limit = usize::try_from(request.limit).unwrap();
        found = found.into_iter().take(limit).collect();
    }
    found
}

fn own_series(
    random: &mut TestRandom,
    range: TimeRange,
    resolution_ms: i64,
) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let count = one_of(random, &[1, 3, 10, 30, 30, 100, 700]);
    let mut series = BTreeMap::new();
    // Blocks share series whose numbers they share.
    let first = below(random, 20);
    let other_samples = chance(random, 20);
    let chunks_max = if count > 100 { 2 } else { 12 };
    for number in first..first + count {
        let labels = series_labels(number);
        let seed = if other_samples { random.next_u64() } else { 0 };
        let chunk_count = 1 + below(random, chunks_max);
        series.insert(
            labels,
            chunks(
                random,
                range,
                resolution_ms,
                seed ^ number as u64,
                chunk_count,
            ),
        );
    }
    series.into_iter().collect()
}

fn series_labels(number: usize) -> Labels {
    let mut random = TestRandom::new(number as u64);
    let mut labels = LabelsBuilder::default();
    labels.set(
        "__name__",
        ["up", "http_requests_total", "go_goroutines"][number % 3],
    );
    labels.set(
        "instance",
        &format!("10.0.{}.{}:9100", number / 90, number / 3 % 30),
    );
    if chance(&mut random, 60) {
        labels.set("job", one_of(&mut random, &["node", "api"]));
    }
    if chance(&mut random, 20) {
        labels.set("text", &"x".repeat(below(&mut random, 3000)));
    }
    // What an external label hides, and what removing a replica label changes.
    if chance(&mut random, 10) {
        labels.set("region", one_of(&mut random, &["eu", "inner"]));
    }
    if chance(&mut random, 10) {
        labels.set("pod", one_of(&mut random, &["a", "b"]));
    }
    labels.build()
}

/// Returns chunks over some of `range`, of different lengths, with gaps between them.
fn chunks(
    random: &mut TestRandom,
    range: TimeRange,
    resolution_ms: i64,
    seed: u64,
    count: usize,
) -> Vec<SeriesChunk> {
    let step_ms = resolution_ms.max(5_000);
    let mut chunks = Vec::new();
    let mut time_ms = range.min.as_millis() + random.below(step_ms.unsigned_abs()).cast_signed();
    for _ in 0..count {
        let mut samples = Vec::new();
        for _ in 0..1 + below(random, 60) {
            if time_ms > range.max.as_millis() {
                break;
            }
            let mut value = TestRandom::new(seed ^ time_ms.unsigned_abs());
            samples.push((Timestamp::from_millis(time_ms), value.below(1000) as f64));
            time_ms += step_ms;
        }
        if samples.is_empty() {
            break;
        }
        chunks.push(if resolution_ms == 0 {
            let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
            SeriesChunk::raw(first, last, xor_chunk(&samples))
        } else {
            aggregated(random, &samples)
        });
        if chance(random, 20) {
            time_ms += 5 * step_ms;
        }
    }
    if chunks.is_empty() {
        let samples = [(range.min, 1.0)];
        chunks.push(SeriesChunk::raw(range.min, range.min, xor_chunk(&samples)));
        if resolution_ms > 0 {
            chunks[0] = aggregated(random, &samples);
        }
    }
    chunks
}

/// Each value lies in its own chunk; some are missing.
fn aggregated(random: &mut TestRandom, samples: &[(Timestamp, f64)]) -> SeriesChunk {
    let mut set = Box::<[Option<Chunk>; 6]>::default();
    for aggregate in Aggregate::DOWNSAMPLED {
        if aggregate == Aggregate::Count || chance(random, 70) {
            let shift = aggregate as usize as f64;
            let points: Vec<_> = samples
                .iter()
                .map(|(time, value)| (*time, value + shift))
                .collect();
            set[aggregate as usize] = Some(xor_chunk(&points));
        }
    }
    SeriesChunk {
        min_time: samples[0].0,
        max_time: samples[samples.len() - 1].0,
        payload: ChunkPayload::Aggregates(set),
    }
}
