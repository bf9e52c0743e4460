use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::Block;
use crate::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Span};
use crate::labels::{MatchOp, Matcher};
use crate::query::Select;

type Floats = Vec<(i64, f64)>;

fn floats(samples: &[(i64, f64)]) -> Vec<SeriesChunk> {
    let mut columns = Samples::new();
    for (time, value) in samples {
        columns.push_float(Timestamp::from_millis(*time), *value);
    }
    chunk::encode(&columns)
}

fn of(chunk: &SeriesChunk, aggregate: Aggregate) -> Floats {
    let samples = chunk::samples(chunk.get(aggregate).unwrap()).unwrap();
    let pairs = samples.times().iter().zip(samples.values());
    pairs.map(|(time, value)| (*time, *value)).collect()
}

fn all_of(chunks: &[SeriesChunk], aggregate: Aggregate) -> Floats {
    chunks
        .iter()
        .flat_map(|chunk| of(chunk, aggregate))
        .collect()
}

/// Returns the series of the block in `dir`, by their labels.
fn series_of(dir: &Path) -> BTreeMap<String, Vec<SeriesChunk>> {
    let block = Block::open(dir).unwrap();
    let select = Select {
        matchers: vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
        range: block.meta().time_range(),
        ..Select::default()
    };
    let mut all = BTreeMap::new();
    for batch in block.select(&select).unwrap() {
        for series in batch.unwrap().iter() {
            all.insert(series.labels.to_string(), series.chunks.to_vec());
        }
    }
    all
}

fn testdata(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

/// A-06, C-17: the bytes that Thanos made of a fortnight of series, and of what it had made of them.
#[test]
fn chunks_of_floats_are_those_of_thanos() {
    let [raw, five, hour] = ["raw", "5m", "1h"].map(|dir| {
        let parent = testdata("downsample").join(dir);
        let block = std::fs::read_dir(parent).unwrap().next().unwrap().unwrap();
        series_of(&block.path())
    });
    assert_eq!((raw.len(), five.len(), hour.len()), (32, 31, 31));
    for (name, chunks) in &raw {
        // A series of nothing but what is not a number has no downsampled chunks.
        let of_thanos = |block: &BTreeMap<String, Vec<SeriesChunk>>| {
            block.get(name).cloned().unwrap_or_default()
        };
        let made = downsample(chunks, RAW_MS, FIVE_MINUTES_MS).unwrap();
        assert_eq!(made, of_thanos(&five), "{name} at 5m");
        let made = downsample(&made, FIVE_MINUTES_MS, ONE_HOUR_MS).unwrap();
        assert_eq!(made, of_thanos(&hour), "{name} at 1h");
    }
}

/// the vector of a counter that was reset between its chunks, down to 50 ms and then to 100 ms.
#[test]
fn resets_between_chunks_are_seen_at_every_resolution() {
    let raw = [
        [(10, 1.0), (20, 3.0), (30, 5.0)],
        [(50, 1.0), (60, 8.0), (70, 10.0)],
        [(120, 1.0), (130, 18.0), (140, 20.0)],
        [(160, 21.0), (170, 38.0), (180, 40.0)],
    ];
    let fine: Vec<SeriesChunk> = raw
        .iter()
        .flat_map(|samples| downsample(&floats(samples), RAW_MS, 50).unwrap())
        .collect();
    let counters: Vec<Floats> = fine
        .iter()
        .map(|chunk| of(chunk, Aggregate::Counter))
        .collect();
    let expected = [
        [(10, 1.0), (30, 5.0), (30, 5.0)],
        [(50, 1.0), (70, 10.0), (70, 10.0)],
        [(120, 1.0), (140, 20.0), (140, 20.0)],
        [(160, 21.0), (180, 40.0), (180, 40.0)],
    ];
    assert_eq!(counters, expected);
    let shown = [
        (10, 1.0),
        (30, 5.0),
        (50, 6.0),
        (70, 15.0),
        (120, 16.0),
        (140, 35.0),
        (160, 36.0),
        (180, 55.0),
    ];
    assert_eq!(read_counter(&fine), shown);

    let mut coarse = Vec::new();
    for half in fine.chunks(2) {
        aggregated_batch(half, 100, &mut coarse).unwrap();
    }
    let counters: Vec<Floats> = coarse
        .iter()
        .map(|chunk| of(chunk, Aggregate::Counter))
        .collect();
    let expected = [
        [(10, 1.0), (70, 15.0), (70, 10.0)],
        [(120, 1.0), (180, 40.0), (180, 40.0)],
    ];
    assert_eq!(counters, expected);
    let shown = [(10, 1.0), (70, 15.0), (120, 16.0), (180, 55.0)];
    assert_eq!(read_counter(&coarse), shown);
}

fn read_counter(chunks: &[SeriesChunk]) -> Floats {
    let mut total = CounterTotal::default();
    let samples = all_of(chunks, Aggregate::Counter).into_iter();
    let shown = samples
        .filter_map(|(time, value)| Some((time, total.add(Timestamp::from_millis(time), value)?)));
    shown.collect()
}

#[test]
fn what_can_not_be_downsampled_is_an_error_that_says_why() {
    let chunks = floats(&[(0, 1.0), (1, 2.0)]);
    let error = downsample(&chunks, ONE_HOUR_MS, FIVE_MINUTES_MS).unwrap_err();
    assert!(error.to_string().contains("it is not lower"), "{error}");
    let overlapping = [chunks.clone(), floats(&[(1, 2.0), (2, 3.0)])].concat();
    let error = downsample(&overlapping, RAW_MS, FIVE_MINUTES_MS).unwrap_err();
    assert!(error.to_string().contains("overlapping chunks"), "{error}");
    let fine = downsample(&chunks, RAW_MS, FIVE_MINUTES_MS).unwrap();
    assert!(downsample(&fine, RAW_MS, FIVE_MINUTES_MS).is_err());
}

#[test]
fn raw_chunks_in_a_downsampled_series_are_downsampled_twice() {
    let samples: Floats = (0..120).map(|minute| (minute * 60_000, 1.0)).collect();
    let mixed = floats(&samples);
    let made = downsample(&mixed, FIVE_MINUTES_MS, ONE_HOUR_MS).unwrap();
    assert_eq!(
        all_of(&made, Aggregate::Count),
        [(3_599_999, 60.0), (7_140_000, 60.0)]
    );
}

/// C-19: a histogram with `counts` in buckets 1, 2, ... at `schema`.
fn histogram(schema: i32, zero_threshold: f64, counts: &[f64]) -> FloatHistogram {
    let spans = vec![Span {
        offset: 1,
        length: u32::try_from(counts.len()).unwrap(),
    }];
    let layout = BucketLayout {
        schema,
        zero_threshold,
        positive_spans: spans,
        ..BucketLayout::default()
    };
    let mut histogram = FloatHistogram::new(Arc::new(layout), counts, &[]).unwrap();
    histogram.count = counts.iter().sum();
    histogram.sum = histogram.count * 10.0;
    histogram
}

fn histograms(samples: &[FloatHistogram]) -> Vec<SeriesChunk> {
    let mut columns = Samples::new();
    for (time, sample) in (0..).step_by(10).zip(samples) {
        columns.push_float_histogram(Timestamp::from_millis(time), sample);
    }
    chunk::encode(&columns)
}

/// Returns the counts of observations of an aggregate of histograms, window by window.
fn observations(chunks: &[SeriesChunk], aggregate: Aggregate) -> Floats {
    let part = |chunk: &SeriesChunk| {
        let samples = chunk::samples(chunk.get(aggregate).unwrap()).unwrap();
        let times = samples.times().to_vec();
        let count = move |at: usize| samples.histogram(at).unwrap().to_float().count;
        (0..times.len())
            .map(|at| (times[at], count(at)))
            .collect::<Floats>()
    };
    chunks.iter().flat_map(part).collect()
}

/// C-19, E-05: counters of histograms go on over resets and other layouts.
#[test]
fn histograms_are_summed_and_their_counters_total() {
    let samples = [
        histogram(2, 0.0, &[1.0, 2.0]),
        histogram(2, 0.0, &[2.0, 3.0]),
        // A reset, and then a lower resolution with a zero bucket.
        histogram(2, 0.0, &[1.0, 0.0]),
        histogram(1, 0.5, &[2.0, 2.0, 2.0]),
        histogram(1, 0.5, &[3.0, 2.0, 2.0]),
    ];
    let made = downsample(&histograms(&samples), RAW_MS, 20).unwrap();
    assert_eq!(
        all_of(&made, Aggregate::Count),
        [(19, 2.0), (39, 2.0), (40, 1.0)]
    );
    assert_eq!(
        observations(&made, Aggregate::Sum),
        [(19, 8.0), (39, 7.0), (40, 7.0)]
    );
    // 3, 5, then 1 after the reset, 6 more than that, one more.
    assert_eq!(
        observations(&made, Aggregate::Counter),
        [(19, 5.0), (39, 11.0), (40, 12.0)]
    );
    assert!(made.iter().all(|chunk| chunk.get(Aggregate::Min).is_none()));
    let again = downsample(&made, 20, 1_000).unwrap();
    assert_eq!(all_of(&again, Aggregate::Count), [(40, 5.0)]);
    assert_eq!(observations(&again, Aggregate::Sum), [(40, 22.0)]);
    assert_eq!(observations(&again, Aggregate::Counter), [(40, 12.0)]);
}

#[test]
fn gauges_of_histograms_keep_their_last_value() {
    let gauge = |count: f64| {
        let mut histogram = histogram(0, 0.0, &[count]);
        histogram.counter_reset_hint = CounterResetHint::Gauge;
        histogram
    };
    let made = downsample(&histograms(&[5.0, 3.0, 4.0, 1.0].map(gauge)), RAW_MS, 20).unwrap();
    assert_eq!(
        observations(&made, Aggregate::Counter),
        [(19, 3.0), (30, 1.0)]
    );
    assert_eq!(observations(&made, Aggregate::Sum), [(19, 8.0), (30, 5.0)]);
    let counter = made[0].get(Aggregate::Counter).unwrap();
    let first = chunk::samples(counter).unwrap();
    let hint = first.histogram(0).unwrap().counter_reset_hint;
    assert_eq!(hint, CounterResetHint::Gauge);
}

/// Thanos ends with a panic here.
#[test]
fn custom_bounds_are_downsampled_and_cut_where_they_change() {
    let custom = |bounds: &[f64], count: f64| {
        let layout = BucketLayout {
            schema: crate::histogram::CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            custom_values: bounds.to_vec(),
            ..BucketLayout::default()
        };
        let mut histogram = FloatHistogram::new(Arc::new(layout), &[count], &[]).unwrap();
        histogram.count = count;
        histogram
    };
    let samples = [
        custom(&[1.0, 2.0], 1.0),
        custom(&[1.0, 2.0], 4.0),
        custom(&[1.0, 5.0], 6.0),
        histogram(0, 0.0, &[9.0]),
    ];
    let made = downsample(&histograms(&samples), RAW_MS, 1_000).unwrap();
    assert_eq!(
        all_of(&made, Aggregate::Count),
        [(10, 2.0), (20, 1.0), (30, 1.0)]
    );
    let counters = [(10, 4.0), (20, 6.0), (30, 9.0)];
    assert_eq!(observations(&made, Aggregate::Counter), counters);
    let again = downsample(&made, 1_000, 10_000).unwrap();
    assert_eq!(observations(&again, Aggregate::Counter), counters);
}

/// However many windows the chunks of a damaged block promise, no chunk is overfilled.
#[test]
fn chunks_of_histograms_end_when_they_are_full() {
    let one = histogram(0, 0.0, &[1.0]);
    let hours = |first: i64| {
        let mut columns = Samples::new();
        for hour in first..first + 40_000 {
            columns.push_float_histogram(Timestamp::from_millis(hour * ONE_HOUR_MS), &one);
        }
        let mut made = Vec::new();
        histograms::raw(&columns, ONE_HOUR_MS, &mut made).unwrap();
        made
    };
    let batch = [hours(0), hours(40_000)].concat();
    let mut made = Vec::new();
    histograms::aggregated(&batch, ONE_HOUR_MS, &mut made).unwrap();
    let windows: Vec<usize> = made
        .iter()
        .map(|chunk| windows_of(chunk).unwrap())
        .collect();
    assert_eq!(windows, [CHUNK_WINDOWS_MAX, 80_000 - CHUNK_WINDOWS_MAX]);
}

/// C-19: real native histograms, and floats that become histograms.
#[test]
fn blocks_with_native_histograms_keep_every_sample() {
    let blocks = std::fs::read_dir(testdata("live-native-histograms")).unwrap();
    let mut kinds = (0, 0);
    for block in blocks
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        for (name, chunks) in series_of(&block) {
            let samples = chunks.iter().map(|chunk| {
                let samples = chunk::samples(chunk.get(Aggregate::Raw).unwrap()).unwrap();
                let numbers = samples.values().iter().filter(|value| !value.is_nan());
                floats::count(numbers.count())
            });
            let samples: f64 = samples.sum();
            let fine = downsample(&chunks, RAW_MS, 60_000).unwrap();
            let coarse = downsample(&fine, 60_000, FIVE_MINUTES_MS).unwrap();
            for made in [&fine, &coarse] {
                let counts = all_of(made, Aggregate::Count);
                let counted: f64 = counts.iter().map(|(_, count)| count).sum();
                assert_eq!(counted, samples, "{name}");
                assert!(counts.windows(2).all(|two| two[0].0 < two[1].0), "{name}");
            }
            match fine.first().map(kind_of) {
                Some(Kind::Histogram) => kinds.0 += 1,
                Some(Kind::Float) => kinds.1 += 1,
                None => {}
            }
        }
    }
    assert!(kinds.0 > 0 && kinds.1 > 0, "{kinds:?}");
}

proptest! {
    /// Whatever is asked of the windows is what the samples answer.
    #[test]
    fn aggregates_are_those_of_the_samples(
        steps in proptest::collection::vec((1_i64..200_000, -5_i8..100), 1..800),
        first in -1_000_000_i64..1_000_000,
    ) {
        let mut time = first;
        let samples: Floats = steps
            .into_iter()
            .map(|(step, value)| {
                time += step;
                (time, if value < 0 { f64::NAN } else { f64::from(value) })
            })
            .collect();
        let numbers: Floats = samples.iter().copied().filter(|(_, value)| !value.is_nan()).collect();
        let fine = downsample(&floats(&samples), RAW_MS, FIVE_MINUTES_MS).unwrap();
        let coarse = downsample(&fine, FIVE_MINUTES_MS, ONE_HOUR_MS).unwrap();
        for made in [&fine, &coarse] {
            let mut start = i64::MIN;
            let [counts, sums, minima, maxima] =
                [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max]
                    .map(|aggregate| all_of(made, aggregate));
            for (at, (end, count)) in counts.iter().enumerate() {
                let inside = |sample: &&(i64, f64)| start < sample.0 && sample.0 <= *end;
                let window: Vec<f64> = numbers.iter().filter(inside).map(|(_, value)| *value).collect();
                prop_assert_eq!(*count, floats::count(window.len()));
                prop_assert_eq!(sums[at], (*end, window.iter().sum()));
                prop_assert_eq!(minima[at], (*end, window.iter().copied().fold(f64::MAX, f64::min)));
                prop_assert_eq!(maxima[at], (*end, window.iter().copied().fold(f64::MIN, f64::max)));
                start = *end;
            }
            prop_assert!(numbers.iter().all(|(time, _)| *time <= start));
            let mut total = CounterTotal::default();
            let raw = numbers.iter().filter_map(|(time, value)| {
                total.add(Timestamp::from_millis(*time), *value)
            });
            prop_assert_eq!(raw.last(), read_counter(made).last().map(|(_, total)| *total));
        }
    }

    #[test]
    fn windows_of_hostile_times_end(times in proptest::collection::vec(any::<i64>(), 1..50)) {
        let mut times = times;
        times.sort_unstable();
        times.dedup();
        let samples: Floats = times.iter().map(|time| (*time, 1.0)).collect();
        let mut columns = Samples::new();
        for (time, value) in samples {
            columns.push_float(Timestamp::from_millis(time), value);
        }
        let mut made = Vec::new();
        floats::raw(&columns, FIVE_MINUTES_MS, &mut made).unwrap();
        let counted: f64 = all_of(&made, Aggregate::Count).iter().map(|(_, count)| count).sum();
        prop_assert_eq!(counted, floats::count(times.len()));
    }
}
