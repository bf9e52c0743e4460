//! A small data set in several overlapping blocks, raw and downsampled, and the answers straight from it.

use std::collections::{BTreeMap, BTreeSet};

use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_core::chunk::{Aggregate, ChunkPayload, SeriesChunk};
use thanos_core::labels::{Labels, LabelsBuilder, Matcher};
use thanos_core::testkit::TestRandom;
use thanos_core::testkit::shapes::xor_chunk;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::aggregates::keep_aggregates;
use thanos_storeapi::resolution::select_blocks;
use thanos_storeapi::store::SeriesRequest;

/// The first sample of all.
pub(crate) const START_MS: i64 = 1_700_006_400_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 15_000;
const WINDOW_MS: i64 = 300_000;
const CHUNK_SAMPLES: usize = 120;

/// One block of the data set.
#[derive(Debug)]
pub(crate) struct ModelBlock {
    pub(crate) spec: BlockSpec,
    pub(crate) data: BlockData,
    /// The series with their external labels, and the chunks.
    series: Vec<(Labels, Vec<SeriesChunk>)>,
    range: TimeRange,
}

/// All blocks that a bucket of the suite may hold.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) blocks: Vec<ModelBlock>,
}

/// Series with the chunks of each, in a comparable form.
pub(crate) type Series = BTreeMap<Labels, BTreeSet<ChunkKey>>;
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
    (
        chunk.min_time.as_millis(),
        chunk.max_time.as_millis(),
        bytes,
    )
}

impl Model {
    /// Replica `a` in three blocks that overlap, `b` in one; two of them downsampled, too. The seventh block is newer than
    /// all others, the last one is made of the first two.
    pub(crate) fn new() -> Self {
        let block = ModelBlock::new;
        let mut blocks = vec![
            block(1, "a", 0..8, (0, 2), 0),
            block(2, "a", 2..10, (1, 3), 0),
            block(3, "a", 0..12, (2, 4), 0),
            block(4, "b", 0..12, (0, 4), 0),
            block(5, "a", 0..8, (0, 2), WINDOW_MS),
            block(6, "b", 0..12, (0, 4), WINDOW_MS),
            block(7, "a", 0..12, (4, 5), 0),
            block(8, "a", 0..10, (0, 3), 0),
        ];
        blocks[7].spec.sources = vec![block_id(1), block_id(2)];
        Self { blocks }
    }

    /// Returns the series that `request` gets from the blocks at `places`.
    pub(crate) fn series(&self, places: &BTreeSet<usize>, request: &SeriesRequest) -> Series {
        let mut by_labels: BTreeMap<Labels, Vec<&ModelBlock>> = BTreeMap::new();
        for place in places {
            let block = &self.blocks[*place];
            let labels = Labels::from_pairs(block.spec.labels.clone());
            by_labels.entry(labels).or_default().push(block);
        }
        let mut found = Series::new();
        for blocks in by_labels.into_values() {
            let shapes: Vec<_> = blocks
                .iter()
                .map(|block| (block.range, block.spec.resolution_ms))
                .collect();
            let chosen = if request.skip_chunks {
                (0..blocks.len()).collect()
            } else {
                select_blocks(&shapes, request.range, request.max_resolution_window_ms)
            };
            for at in chosen {
                blocks[at].add_series(request, &mut found);
            }
        }
        found
    }

    /// Returns every chunk of every series: what no answer may go beyond.
    pub(crate) fn everything(&self, places: &BTreeSet<usize>, request: &SeriesRequest) -> Series {
        let mut found = Series::new();
        for place in places {
            self.blocks[*place].add_series(request, &mut found);
        }
        found
    }

    /// Returns the labels of all series in the blocks at `places` that `matchers` match.
    pub(crate) fn labels(&self, places: &BTreeSet<usize>, matchers: &[Matcher]) -> Vec<&Labels> {
        let series = places.iter().flat_map(|place| &self.blocks[*place].series);
        let labels = series.map(|(labels, _)| labels);
        labels
            .filter(|labels| matchers.iter().all(|m| m.matches_labels(labels.as_ref())))
            .collect()
    }
}

impl ModelBlock {
    fn new(
        number: u32,
        replica: &str,
        series: std::ops::Range<usize>,
        hours: (i64, i64),
        resolution_ms: i64,
    ) -> Self {
        let range = TimeRange::from_millis(
            START_MS + hours.0 * HOUR_MS,
            START_MS + hours.1 * HOUR_MS - 1,
        );
        let mut own: Vec<(Labels, Vec<SeriesChunk>)> = series
            .map(|number| {
                let chunks = if resolution_ms == 0 {
                    raw_chunks(number, replica, range)
                } else {
                    downsampled_chunks(number, replica, range)
                };
                (series_labels(number), chunks)
            })
            .collect();
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let labels = vec![
            ("region".to_owned(), "eu".to_owned()),
            ("replica".to_owned(), replica.to_owned()),
        ];
        let spec = BlockSpec {
            id: block_id(number),
            labels: labels.clone(),
            resolution_ms,
            time: Some((range.min, range.max + 1)),
            ..BlockSpec::default()
        };
        let data = BlockData::of_series(&own).unwrap();
        let external = |(series, chunks): (Labels, Vec<SeriesChunk>)| {
            let mut all = LabelsBuilder::from_labels(series.as_ref());
            for (name, value) in &labels {
                all.set(name, value);
            }
            (all.build(), chunks)
        };
        Self {
            spec,
            data,
            series: own.into_iter().map(external).collect(),
            range,
        }
    }

    fn add_series(&self, request: &SeriesRequest, found: &mut Series) {
        for (labels, chunks) in &self.series {
            let all = |matcher: &Matcher| matcher.matches_labels(labels.as_ref());
            if !request.matchers.iter().all(all) {
                continue;
            }
            let mut chunks: Vec<SeriesChunk> = chunks
                .iter()
                .filter(|chunk| chunk.time_range().overlaps(request.range))
                .cloned()
                .collect();
            if chunks.is_empty() {
                continue;
            }
            if request.skip_chunks {
                chunks.clear();
            } else {
                let wanted = |chunk| keep_aggregates(chunk, &request.aggregates);
                chunks = chunks.into_iter().filter_map(wanted).collect();
                if chunks.is_empty() {
                    continue;
                }
            }
            let mut left = LabelsBuilder::from_labels(labels.as_ref());
            for name in &request.without_replica_labels {
                left.remove(name);
            }
            let keys = found.entry(left.build()).or_default();
            keys.extend(chunks.iter().map(chunk_key));
        }
    }
}

fn series_labels(number: usize) -> Labels {
    let instance = format!("10.0.0.{}:9100", number / 3);
    Labels::from_pairs([
        (
            "__name__",
            ["up", "http_requests_total", "go_goroutines"][number % 3],
        ),
        ("instance", &instance),
        ("job", ["node", "api"][number / 6]),
        // Long values make entries that are not all of one length.
        ("text", &"x".repeat(number * 20)),
    ])
}

/// The samples of a series do not depend on the block: where blocks overlap they hold the same ones, cut differently.
fn samples(number: usize, replica: &str, range: TimeRange) -> Vec<(Timestamp, f64)> {
    let late_ms = if replica == "a" { 0 } else { 1234 };
    let mut time_ms = range.min.as_millis() + late_ms;
    let mut samples = Vec::new();
    while time_ms <= range.max.as_millis() {
        let mut random = TestRandom::new(time_ms.unsigned_abs() ^ number as u64);
        let value = random.below(1000) as f64;
        samples.push((Timestamp::from_millis(time_ms), value));
        time_ms += STEP_MS;
    }
    samples
}

fn raw_chunks(number: usize, replica: &str, range: TimeRange) -> Vec<SeriesChunk> {
    let samples = samples(number, replica, range);
    let chunk = |part: &[(Timestamp, f64)]| {
        SeriesChunk::raw(part[0].0, part[part.len() - 1].0, xor_chunk(part))
    };
    samples.chunks(CHUNK_SAMPLES).map(chunk).collect()
}

fn downsampled_chunks(number: usize, replica: &str, range: TimeRange) -> Vec<SeriesChunk> {
    let samples = samples(number, replica, range);
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (time, value) in samples {
        let window = time.as_millis().div_euclid(WINDOW_MS);
        windows.entry(window).or_default().push(value);
    }
    let end = |window: i64| Timestamp::from_millis((window + 1) * WINDOW_MS - 1);
    let windows: Vec<(Timestamp, Vec<f64>)> = windows
        .into_iter()
        .map(|(window, values)| (end(window), values))
        .collect();
    windows.chunks(10).map(aggregated).collect()
}

fn aggregated(windows: &[(Timestamp, Vec<f64>)]) -> SeriesChunk {
    let of = |value: fn(&[f64]) -> f64| {
        let points: Vec<_> = windows
            .iter()
            .map(|(time, all)| (*time, value(all)))
            .collect();
        Some(xor_chunk(&points))
    };
    let mut set = Box::<[Option<thanos_core::chunk::Chunk>; 6]>::default();
    set[Aggregate::Count as usize] = of(|all| all.len() as f64);
    set[Aggregate::Sum as usize] = of(|all| all.iter().sum());
    set[Aggregate::Min as usize] = of(|all| all.iter().copied().fold(f64::INFINITY, f64::min));
    set[Aggregate::Max as usize] = of(|all| all.iter().copied().fold(0.0, f64::max));
    SeriesChunk {
        min_time: windows[0].0,
        max_time: windows[windows.len() - 1].0,
        payload: ChunkPayload::Aggregates(set),
    }
}
