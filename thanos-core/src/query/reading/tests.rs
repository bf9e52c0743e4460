use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::block::Blocks;
use crate::chunk::{
    self, AggregateSet, Chunk, FloatHistogramEncoder, SampleRef, Samples, XorEncoder,
};
use crate::downsample::{CounterTotal, FIVE_MINUTES_MS, ONE_HOUR_MS, RAW_MS, downsample};
use crate::error::Result;
use crate::histogram::{CounterResetHint, Histogram, STALE_NAN};
use crate::labels::Matcher;
use crate::query::Select;
use crate::time::Timestamp;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn xor(samples: &[(i64, f64)]) -> Chunk {
    let mut encoder = XorEncoder::new();
    for (time, value) in samples {
        encoder.append(at(*time), *value);
    }
    encoder.finish()
}

fn raw(samples: &[(i64, f64)]) -> SeriesChunk {
    let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
    SeriesChunk::raw(at(first), at(last), xor(samples))
}

fn aggregates(min_ms: i64, max_ms: i64, parts: &[(Aggregate, Chunk)]) -> SeriesChunk {
    let mut set = AggregateSet::default();
    for (aggregate, chunk) in parts {
        set[*aggregate as usize] = Some(chunk.clone());
    }
    SeriesChunk {
        min_time: at(min_ms),
        max_time: at(max_ms),
        payload: ChunkPayload::Aggregates(Box::new(set)),
    }
}

fn counter_chunk(samples: &[(i64, f64)]) -> SeriesChunk {
    let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
    aggregates(first, last, &[(Aggregate::Counter, xor(samples))])
}

fn of(windows: WindowValue) -> Reading {
    Reading {
        windows,
        ..Reading::default()
    }
}

fn deduplicated(windows: WindowValue, dedup: Dedup) -> Reading {
    Reading {
        dedup: Some(dedup),
        ..of(windows)
    }
}

fn read(chunks: &[SeriesChunk], reading: Reading) -> Result<Samples> {
    let mut samples = Samples::new();
    SeriesReader::default().read(chunks, &reading, &mut samples)?;
    Ok(samples)
}

fn floats(chunks: &[SeriesChunk], reading: Reading) -> Vec<(i64, f64)> {
    let samples = read(chunks, reading).unwrap();
    assert!(samples.is_float_only());
    let times = samples.times().iter().copied();
    times.zip(samples.values().iter().copied()).collect()
}

/// The vectors of a counter that was reset between its chunks, of two resolutions.
#[test]
fn counters_go_on_over_chunks_and_resets() {
    let fine = [
        counter_chunk(&[(10, 1.0), (30, 5.0), (30, 5.0)]),
        counter_chunk(&[(50, 1.0), (70, 10.0), (70, 10.0)]),
        counter_chunk(&[(120, 1.0), (140, 20.0), (140, 20.0)]),
        counter_chunk(&[(160, 21.0), (180, 40.0), (180, 40.0)]),
    ];
    let wanted = [
        (10, 1.0),
        (30, 5.0),
        (50, 6.0),
        (70, 15.0),
        (120, 16.0),
        (140, 35.0),
        (160, 36.0),
        (180, 55.0),
    ];
    assert_eq!(floats(&fine, of(WindowValue::Total)), wanted);
    let coarse = [
        counter_chunk(&[(10, 1.0), (70, 15.0), (70, 10.0)]),
        counter_chunk(&[(120, 1.0), (180, 40.0), (180, 40.0)]),
    ];
    let wanted = [(10, 1.0), (70, 15.0), (120, 16.0), (180, 55.0)];
    assert_eq!(floats(&coarse, of(WindowValue::Total)), wanted);
}

/// Where finer blocks fill a gap, raw chunks continue the same counter.
#[test]
fn raw_chunks_continue_a_downsampled_counter() {
    let chunks = [
        counter_chunk(&[(10, 1.0), (70, 15.0), (70, 10.0)]),
        raw(&[(100, 12.0), (110, 3.0), (120, f64::NAN), (130, 4.0)]),
    ];
    let wanted = [(10, 1.0), (70, 15.0), (100, 17.0), (110, 20.0), (130, 21.0)];
    assert_eq!(floats(&chunks, of(WindowValue::Total)), wanted);
}

/// each replica of a downsampled counter has a total of its own.
#[test]
fn counters_of_replicas_are_added_up_apart() {
    let chunks = [
        counter_chunk(&[(10, 100.0), (70, 150.0), (70, 150.0)]),
        counter_chunk(&[(11, 5.0), (71, 6.0), (71, 6.0)]),
        counter_chunk(&[(80, 10.0), (90, 20.0), (90, 20.0)]),
        counter_chunk(&[(81, 7.0), (91, 8.0), (91, 8.0)]),
    ];
    let found = floats(&chunks, of(WindowValue::Total));
    let values = |odd: i64| -> Vec<f64> {
        let of_one = found.iter().filter(|sample| sample.0 % 2 == odd);
        of_one.map(|sample| sample.1).collect()
    };
    assert_eq!(values(0), [100.0, 150.0, 160.0, 170.0]);
    assert_eq!(values(1), [5.0, 6.0, 7.0, 8.0]);
    let one = deduplicated(WindowValue::Total, Dedup::PenaltyOfCounter);
    let first = [(10, 100.0), (70, 150.0), (80, 160.0), (90, 170.0)];
    assert_eq!(floats(&chunks, one), first);
}

#[test]
fn averages_are_sums_by_counts() {
    let counts = xor(&[(10, 2.0), (20, 4.0)]);
    let sums = (Aggregate::Sum, xor(&[(10, 3.0), (20, 2.0)]));
    let even = aggregates(10, 20, &[(Aggregate::Count, counts), sums.clone()]);
    let chunks = [even, raw(&[(30, 7.0)])];
    let found = floats(&chunks, Reading::default());
    assert_eq!(found, [(10, 1.5), (20, 0.5), (30, 7.0)]);
    let uneven = aggregates(10, 20, &[(Aggregate::Count, xor(&[(10, 2.0)])), sums]);
    let error = read(&[uneven], Reading::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// a function that has an aggregate of its own reads that and no other.
#[test]
fn each_value_of_a_window_is_its_aggregate() {
    let values = [
        (WindowValue::Count, Aggregate::Count),
        (WindowValue::Sum, Aggregate::Sum),
        (WindowValue::Min, Aggregate::Min),
        (WindowValue::Max, Aggregate::Max),
    ];
    for (value, aggregate) in values {
        assert_eq!(WindowValue::of(&[aggregate]), value);
        let samples = [(10, 2.0), (20, 4.0)];
        let parts = [
            (aggregate, xor(&samples)),
            (Aggregate::Counter, xor(&[(1, 1.0)])),
        ];
        let chunk = [aggregates(10, 20, &parts)];
        assert_eq!(floats(&chunk, of(value)), samples);
        for (other, _) in values {
            let is_read = read(&chunk, of(other)).is_ok();
            assert_eq!(is_read, other == value, "{other:?} of {value:?}");
        }
    }
    let average = [Aggregate::Count, Aggregate::Sum];
    assert_eq!(WindowValue::of(&average), WindowValue::Average);
    assert_eq!(WindowValue::of(&[Aggregate::Counter]), WindowValue::Total);
}

#[test]
fn raw_samples_beside_windows_count_as_one() {
    let windows = xor(&[(10, 2.0), (20, 4.0)]);
    let chunks = [
        aggregates(10, 20, &[(Aggregate::Count, windows)]),
        raw(&[(30, 7.0), (40, STALE_NAN)]),
    ];
    let found = floats(&chunks, of(WindowValue::Count));
    assert_eq!(found[..3], [(10, 2.0), (20, 4.0), (30, 1.0)]);
    assert_eq!(found[3].1.to_bits(), STALE_NAN.to_bits());
}

/// #7218 of Thanos: a block of raw samples and one of windows over the same time.
#[test]
fn the_same_time_in_two_resolutions_counts_once() {
    let minute = |minute: i64| (minute * 60_000, 1.0);
    let all: Vec<(i64, f64)> = (0..240).map(minute).collect();
    let fine = downsample(&[raw(&all)], RAW_MS, FIVE_MINUTES_MS).unwrap();
    let mut chunks = vec![raw(&all[60..180])];
    chunks.extend(fine);
    chunks.sort_by_key(|chunk| (chunk.min_time, chunk.max_time));
    for windows in [WindowValue::Count, WindowValue::Sum] {
        let found = floats(&chunks, of(windows));
        let sum: f64 = found.iter().map(|sample| sample.1).sum();
        // At each end of the raw samples a window can be cut.
        assert!((sum - 240.0).abs() <= 10.0, "{windows:?}: {sum}");
    }
}

fn histogram(count: u64, hint: CounterResetHint) -> Histogram {
    let mut histogram = Histogram::stale();
    (histogram.count, histogram.sum, histogram.zero_count) = (count, 16.0, count);
    histogram.counter_reset_hint = hint;
    histogram
}

fn histogram_sum() -> Chunk {
    let mut encoder = FloatHistogramEncoder::new();
    let sum = histogram(8, CounterResetHint::Unknown).to_float();
    assert!(encoder.append(at(10), &sum).is_none());
    encoder.finish()
}

#[test]
fn native_histograms_are_averaged_and_have_no_extremes() {
    let parts = [
        (Aggregate::Count, xor(&[(10, 4.0)])),
        (Aggregate::Sum, histogram_sum()),
        (Aggregate::Counter, histogram_sum()),
    ];
    let chunk = [aggregates(10, 10, &parts)];
    let one = |windows| {
        let samples = read(&chunk, of(windows)).unwrap();
        let histogram = samples.histogram(0).unwrap().to_float();
        (histogram.count, histogram.sum, histogram.zero_count)
    };
    assert_eq!(one(WindowValue::Average), (2.0, 4.0, 2.0));
    assert_eq!(one(WindowValue::Total), (8.0, 16.0, 8.0));
    assert!(read(&chunk, of(WindowValue::Max)).unwrap().is_empty());
}

/// What a histogram knows of its predecessor does not hold for a sample of another replica.
#[test]
fn histograms_of_another_replica_say_nothing_of_resets() {
    let replica = |times: &[i64], start: u64| {
        let mut samples = Samples::new();
        for (count, time) in (start..).zip(times) {
            samples.push_histogram(at(*time), &histogram(count, CounterResetHint::Unknown));
        }
        chunk::encode(&samples)
    };
    let a = replica(&[0, 15_000, 30_000, 45_000], 10);
    let b = replica(&[1_000, 16_000, 31_000, 46_000, 61_000, 76_000, 91_000], 5);
    let chunks = [a, b].concat();
    let samples = read(&chunks, deduplicated(WindowValue::Average, Dedup::Penalty)).unwrap();
    let hints: Vec<_> = samples
        .iter()
        .map(|(time, sample)| match sample {
            SampleRef::Histogram(histogram) => (time.as_millis(), histogram.counter_reset_hint),
            SampleRef::Float(_) => panic!("{time}"),
        })
        .collect();
    let switched = hints
        .iter()
        .position(|(time, _)| time % 15_000 != 0)
        .unwrap();
    assert!(switched > 1 && hints.len() > switched + 1, "{hints:?}");
    assert_eq!(hints[switched].1, CounterResetHint::Unknown);
    let known = CounterResetHint::NotCounterReset;
    assert!(hints[1..switched].iter().all(|(_, hint)| *hint == known));
    assert!(hints[switched + 1..].iter().all(|(_, hint)| *hint == known));
}

/// the vectors of replicas, through their chunks.
#[test]
fn replicas_become_one_by_penalty_or_chain() {
    let a = [
        (10_000, 8.0),
        (20_000, 9.0),
        (50_001, 10.0),
        (60_000, 11.0),
        (70_000, 12.0),
        (80_000, 13.0),
        (90_000, 14.0),
        (100_000, 15.0),
    ];
    let b = [(10_001, 8.0), (45_001, 8.5), (55_001, 9.5), (65_001, 10.5)];
    let chunks = [raw(&a), raw(&b)];
    let with = |windows, dedup| floats(&chunks, deduplicated(windows, dedup));
    let expected = [
        (10_000, 8.0),
        (20_000, 9.0),
        (45_001, 8.5),
        (55_001, 9.5),
        (65_001, 10.5),
        (90_000, 14.0),
        (100_000, 15.0),
    ];
    assert_eq!(with(WindowValue::Average, Dedup::Penalty), expected);
    // The counter goes back from 9 to 8.5 for one replica only: the other is raised, and stays so.
    let expected = [
        (10_000, 8.0),
        (20_000, 9.0),
        (45_001, 9.0),
        (55_001, 10.0),
        (65_001, 11.0),
        (90_000, 14.0),
        (100_000, 15.0),
    ];
    assert_eq!(with(WindowValue::Total, Dedup::PenaltyOfCounter), expected);
    let mut all = [&a[..], &b[..]].concat();
    all.sort_by_key(|sample| sample.0);
    assert_eq!(with(WindowValue::Average, Dedup::Chain), all);

    let a = raw(&[(0, 1.0), (15_000, 2.0), (45_000, 4.0)]);
    let b = raw(&[(15_000, 2.0), (30_000, 3.0), (60_000, 5.0)]);
    let sum = |dedup| -> f64 {
        let reading = deduplicated(WindowValue::Sum, dedup);
        let found = floats(&[a.clone(), b.clone()], reading);
        found.iter().map(|sample| sample.1).sum()
    };
    assert_eq!((sum(Dedup::Penalty), sum(Dedup::Chain)), (7.0, 15.0));
}

/// Wherever chunks begin: what lies before the time that the query needs does not choose the replica.
#[test]
fn replicas_are_chosen_from_the_start_of_the_query() {
    let a: Vec<(i64, f64)> = (0..100).map(|scrape| (scrape * 15_000, 1.0)).collect();
    let b: Vec<(i64, f64)> = (0..100)
        .map(|scrape| (scrape * 15_000 + 7_000, 2.0))
        .collect();
    let whole = [raw(&a), raw(&b)];
    let short = [raw(&a[40..]), raw(&b[40..])];
    for start in (0..40).map(|second| 600_000 + second * 1_000) {
        let mut reading = deduplicated(WindowValue::Average, Dedup::Penalty);
        reading.range = TimeRange::from_millis(start, 1_200_000);
        let found = floats(&whole, reading);
        assert_eq!(found, floats(&short, reading));
        assert!(!found.is_empty(), "{start}");
    }
}

/// Blocks that Thanos downsampled: the totals of every resolution agree where their windows end.
#[test]
fn real_counters_agree_over_all_resolutions() {
    let chunks_of = |resolution: &str, case: &str| -> Vec<SeriesChunk> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/downsample");
        let blocks = Blocks::open_dir(std::path::Path::new(dir).join(resolution).as_ref()).unwrap();
        let select = Select {
            matchers: vec![Matcher::equal("case", case)],
            ..Select::default()
        };
        let batch = blocks.select(&select).unwrap().next().unwrap().unwrap();
        batch.get(0).chunks.to_vec()
    };
    let mut total = CounterTotal::default();
    let mut totals = BTreeMap::new();
    for (time, value) in floats(&chunks_of("raw", "counter_5_resets"), Reading::default()) {
        totals.extend(total.add(at(time), value).map(|total| (time, total)));
    }
    for (resolution, width) in [("5m", FIVE_MINUTES_MS), ("1h", ONE_HOUR_MS)] {
        let chunks = chunks_of(resolution, "counter_5_resets");
        let mut found = Samples::new();
        let window_ms = SeriesReader::default()
            .read(&chunks, &of(WindowValue::Total), &mut found)
            .unwrap();
        assert_eq!(window_ms, width);
        assert!(found.len() > 100 && found.len() < totals.len());
        for (time, value) in found.times().iter().zip(found.values()) {
            let (_, wanted) = totals.range(..=time).next_back().unwrap();
            let error = (value - wanted).abs();
            assert!(error <= wanted.abs() * 1e-9, "{time}: {value} for {wanted}");
        }
    }
    // The average of a window lies between its extremes.
    let chunks = chunks_of("1h", "sin");
    let [low, average, high] = [WindowValue::Min, WindowValue::Average, WindowValue::Max]
        .map(|windows| floats(&chunks, of(windows)));
    assert!(average.len() > 100);
    for ((average, low), high) in average.iter().zip(low).zip(high) {
        assert!(low.0 == average.0 && average.0 == high.0);
        assert!(low.1 <= average.1 && average.1 <= high.1);
    }
}

proptest! {
    /// A damaged chunk can hold any times: the samples ascend all the same.
    #[test]
    fn samples_ascend_whatever_chunks_say(
        chunks in proptest::collection::vec(
            (0_i64..50, 0_i64..20, proptest::collection::vec((0_i64..100, 0.0..9.0), 1..9)), 1..6),
        counters in any::<bool>(),
        dedup in proptest::option::of(proptest::sample::select(
            vec![Dedup::Penalty, Dedup::PenaltyOfCounter, Dedup::Chain])),
    ) {
        let mut chunks: Vec<SeriesChunk> = chunks.iter().map(|(min, len, samples)| {
            SeriesChunk::raw(at(*min), at(min + len), xor(samples))
        }).collect();
        chunks.sort_by_key(|chunk| (chunk.min_time, chunk.max_time));
        let windows = if counters { WindowValue::Total } else { WindowValue::Average };
        let found = floats(&chunks, Reading { windows, dedup, range: TimeRange::default() });
        prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
    }
}
