//! Series that are known, as blocks of all three resolutions, and queries over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use thanos_core::block::{Block, BlockId, BlockWriter, BlockWriterOptions, Blocks};
use thanos_core::chunk::{Samples, SeriesChunk, encode};
use thanos_core::downsample::{
    DownsampleBlockOptions, FIVE_MINUTES_MS, ONE_HOUR_MS, downsample_block,
};
use thanos_core::histogram::Histogram;
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::testkit::TestRandom;
use thanos_core::testkit::shapes::HistogramSpec;
use thanos_core::time::Timestamp;
use thanos_promql::engine::{Engine, EngineOptions, Query};
use thanos_promql::value::Value;
use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};
use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};

/// Where windows of an hour begin.
pub(crate) const START_MS: i64 = 497_000 * ONE_HOUR_MS;
pub(crate) const RESOLUTIONS: [i64; 3] = [0, FIVE_MINUTES_MS, ONE_HOUR_MS];

/// When samples are scraped: about every `interval_ms`, with single ones missing, and some stretches of hours.
pub(crate) struct Scrapes {
    pub(crate) interval_ms: i64,
    pub(crate) lost_in_100: u64,
    pub(crate) outages: u64,
}

impl Scrapes {
    pub(crate) fn times(&self, random: &mut TestRandom, hours: i64) -> Vec<i64> {
        let span = hours * ONE_HOUR_MS;
        let outages: Vec<(i64, i64)> = (0..self.outages)
            .map(|_| {
                let from = random.below(span.unsigned_abs()).cast_signed();
                (from, from + random.below(4 * 3_600_000).cast_signed())
            })
            .collect();
        let is_out = |time: i64| {
            outages
                .iter()
                .any(|(from, to)| (*from..*to).contains(&time))
        };
        let scrapes = (0..span / self.interval_ms).map(|scrape| scrape * self.interval_ms);
        let late = (self.interval_ms / 10).unsigned_abs();
        let mut times = Vec::new();
        for time in scrapes {
            let time = time + random.below(late).cast_signed();
            if !is_out(time) && random.below(100) >= self.lost_in_100 {
                times.push(START_MS + time);
            }
        }
        times
    }
}

fn floats(times: &[i64], mut value: impl FnMut() -> f64) -> Vec<SeriesChunk> {
    let mut samples = Samples::new();
    for time in times {
        samples.push_float(Timestamp::from_millis(*time), value());
    }
    encode(&samples)
}

/// A value that goes up and down, also below zero.
pub(crate) fn gauge(times: &[i64], random: &mut TestRandom) -> Vec<SeriesChunk> {
    let mut value = 0.0;
    floats(times, || {
        value += random.unit() - 0.5;
        value
    })
}

/// A counter that now and then begins anew.
pub(crate) fn counter(times: &[i64], random: &mut TestRandom) -> Vec<SeriesChunk> {
    let mut value = 0.0;
    floats(times, || {
        if random.below(400) == 0 {
            value = 0.0;
        }
        value += random.unit();
        value
    })
}

/// Native histograms of a counter with resets.
pub(crate) fn histograms(times: &[i64], seed: u64) -> Vec<SeriesChunk> {
    let spec = HistogramSpec {
        samples: times.len(),
        seed,
        ..HistogramSpec::default()
    };
    let made: Vec<(Timestamp, Histogram)> = spec.samples();
    let mut samples = Samples::new();
    for (time, (_, histogram)) in times.iter().zip(&made) {
        samples.push_histogram(Timestamp::from_millis(*time), histogram);
    }
    encode(&samples)
}

/// Writes a block of the series and its downsampled copies; in the order of [`RESOLUTIONS`].
pub(crate) fn write_blocks(
    dir: &Path,
    number: u8,
    hours: (i64, i64),
    series: &[(&str, Vec<SeriesChunk>)],
) -> [Block; 3] {
    let id = |resolution: u8| {
        let random = u128::from(number) * 3 + u128::from(resolution);
        BlockId::from_parts(Timestamp::from_millis(1_000), random)
    };
    let time = |hour: i64| Timestamp::from_millis(START_MS + hour * ONE_HOUR_MS);
    let mut options = BlockWriterOptions::new(id(0));
    options.time = Some((time(hours.0), time(hours.1)));
    let mut symbols: Vec<&str> = series.iter().map(|(name, _)| *name).collect();
    symbols.push("__name__");
    symbols.sort_unstable();
    let mut writer = BlockWriter::create(dir, options, symbols).unwrap();
    for (name, chunks) in series {
        let labels = Labels::from_pairs([("__name__", *name)]);
        writer.add_series(labels.as_ref(), chunks).unwrap();
    }
    writer.finish().unwrap();
    let open = |id: BlockId| Block::open(&dir.join(id.to_string())).unwrap();
    let raw = open(id(0));
    let coarser = |from: &Block, number: u8, resolution_ms: i64| {
        let options = DownsampleBlockOptions::new(id(number), resolution_ms);
        downsample_block(from, dir, options).unwrap();
        open(id(number))
    };
    let five = coarser(&raw, 1, FIVE_MINUTES_MS);
    let hour = coarser(&five, 2, ONE_HOUR_MS);
    [raw, five, hour]
}

/// Some blocks, asked at a resolution.
pub(crate) fn queryable(blocks: &[Block], max_resolution_ms: i64) -> Arc<dyn Queryable> {
    let blocks = Blocks::new(blocks.iter().cloned());
    let store = Arc::new(LocalStore::new(&blocks, LocalStoreOptions::default()));
    let options = StoreQueryableOptions {
        max_resolution_ms,
        ..StoreQueryableOptions::default()
    };
    Arc::new(StoreQueryable::new(store, options))
}

/// The values by hour, at the last moment of the windows of an hour: after `first` hours and from then on to `last`.
pub(crate) fn at_hours(
    queryable: &Arc<dyn Queryable>,
    text: &str,
    (first, last): (i64, i64),
) -> BTreeMap<i64, f64> {
    let end_of = |hour: i64| Timestamp::from_millis(START_MS + hour * ONE_HOUR_MS - 1);
    let hour = Duration::from_secs(3600);
    let mut query = Query::range(text, end_of(first), end_of(last), hour);
    query.lookback = Some(hour);
    let engine = Engine::new(EngineOptions::default());
    let result = block_on(engine.query(queryable, query)).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("{:?}", result.value)
    };
    assert!(series.len() <= 1, "{text}");
    let points = series.iter().flat_map(|series| &series.points);
    let hour_of = |time: Timestamp| (time.as_millis() + 1 - START_MS) / ONE_HOUR_MS;
    points
        .map(|point| (hour_of(point.time), point.value))
        .collect()
}
