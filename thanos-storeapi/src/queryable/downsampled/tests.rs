use futures::executor::block_on;
use futures::{TryStreamExt, stream};
use thanos_core::histogram::Histogram;
use thanos_core::labels::Labels;

use super::*;

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

fn aggregates(min_ms: i64, max_ms: i64, parts: &[(Aggregate, Chunk)]) -> SeriesChunk {
    let mut set: Box<[Option<Chunk>; 6]> = Box::default();
    for (aggregate, chunk) in parts {
        set[*aggregate as usize] = Some(chunk.clone());
    }
    SeriesChunk {
        min_time: at(min_ms),
        max_time: at(max_ms),
        payload: ChunkPayload::Aggregates(set),
    }
}

fn counter_chunk(samples: &[(i64, f64)]) -> SeriesChunk {
    let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
    aggregates(first, last, &[(Aggregate::Counter, xor(samples))])
}

fn read(chunks: Vec<SeriesChunk>, wanted: &[Aggregate]) -> Result<Vec<SeriesChunk>> {
    let mut batch = SeriesBatchBuilder::new();
    batch.push(Labels::from_pairs([("a", "1")]).as_ref(), chunks);
    let input = stream::iter([Ok(SeriesEvent::Batch(batch.finish()))]).boxed();
    let events: Vec<_> = block_on(to_samples(input, wanted.to_vec()).try_collect())?;
    let [SeriesEvent::Batch(batch)] = &events[..] else {
        panic!("{events:?}")
    };
    Ok(batch.get(0).chunks.to_vec())
}

fn floats(chunks: &[SeriesChunk]) -> Vec<(i64, f64)> {
    let mut all = Vec::new();
    for chunk in chunks {
        let samples = chunk::samples(chunk.get(Aggregate::Raw).unwrap()).unwrap();
        assert_eq!(samples.times().first(), Some(&chunk.min_time.as_millis()));
        assert_eq!(samples.times().last(), Some(&chunk.max_time.as_millis()));
        let values = samples.values().iter().copied();
        all.extend(samples.times().iter().copied().zip(values));
    }
    all
}

/// The vectors of spec 2.5, both of them.
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
    assert_eq!(
        floats(&read(fine.to_vec(), &[Aggregate::Counter]).unwrap()),
        wanted
    );
    let coarse = [
        counter_chunk(&[(10, 1.0), (70, 15.0), (70, 10.0)]),
        counter_chunk(&[(120, 1.0), (180, 40.0), (180, 40.0)]),
    ];
    let wanted = [(10, 1.0), (70, 15.0), (120, 16.0), (180, 55.0)];
    assert_eq!(
        floats(&read(coarse.to_vec(), &[Aggregate::Counter]).unwrap()),
        wanted
    );
}

/// Where finer blocks fill a gap, raw chunks continue the same counter.
#[test]
fn raw_chunks_continue_a_downsampled_counter() {
    let raw = xor(&[(100, 12.0), (110, 3.0), (120, f64::NAN), (130, 4.0)]);
    let chunks = vec![
        counter_chunk(&[(10, 1.0), (70, 15.0), (70, 10.0)]),
        SeriesChunk::raw(at(100), at(130), raw),
    ];
    let wanted = [(10, 1.0), (70, 15.0), (100, 17.0), (110, 20.0), (130, 21.0)];
    assert_eq!(
        floats(&read(chunks, &[Aggregate::Counter]).unwrap()),
        wanted
    );
}

/// Two replicas with different starts do not disturb each other.
#[test]
fn overlapping_counters_are_added_up_apart() {
    let chunks = vec![
        counter_chunk(&[(10, 100.0), (70, 150.0), (70, 150.0)]),
        counter_chunk(&[(11, 5.0), (71, 6.0), (71, 6.0)]),
        counter_chunk(&[(80, 10.0), (90, 20.0), (90, 20.0)]),
        counter_chunk(&[(81, 7.0), (91, 8.0), (91, 8.0)]),
    ];
    let found = floats(&read(chunks, &[Aggregate::Counter]).unwrap());
    let values = |odd: i64| {
        found
            .iter()
            .filter(|s| s.0 % 2 == odd)
            .map(|s| s.1)
            .collect::<Vec<_>>()
    };
    assert_eq!(values(0), [100.0, 150.0, 160.0, 170.0]);
    assert_eq!(values(1), [5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn long_counters_are_cut_into_chunks() {
    let samples: Vec<_> = (0..300)
        .map(|place: i32| (i64::from(place), f64::from(place)))
        .collect();
    let chunks = read(vec![counter_chunk(&samples)], &[Aggregate::Counter]).unwrap();
    assert_eq!(chunks.len(), 3);
    assert_eq!(floats(&chunks), samples);
}

#[test]
fn averages_are_sums_by_counts() {
    let chunk = aggregates(
        10,
        20,
        &[
            (Aggregate::Count, xor(&[(10, 2.0), (20, 4.0)])),
            (Aggregate::Sum, xor(&[(10, 3.0), (20, 2.0)])),
        ],
    );
    let raw = SeriesChunk::raw(at(30), at(30), xor(&[(30, 7.0)]));
    let found = read(vec![chunk, raw], &[Aggregate::Count, Aggregate::Sum]).unwrap();
    assert_eq!(floats(&found), [(10, 1.5), (20, 0.5), (30, 7.0)]);
    let uneven = aggregates(
        10,
        20,
        &[
            (Aggregate::Count, xor(&[(10, 2.0)])),
            (Aggregate::Sum, xor(&[(10, 3.0), (20, 2.0)])),
        ],
    );
    let error = read(vec![uneven], &[Aggregate::Count, Aggregate::Sum]).unwrap_err();
    assert_eq!(error.kind(), thanos_core::ErrorKind::Corrupt);
    assert!(error.to_string().contains(r#"{a="1"}"#), "{error}");
}

#[test]
fn single_aggregates_are_handed_on_untouched() {
    for aggregate in [
        Aggregate::Count,
        Aggregate::Sum,
        Aggregate::Min,
        Aggregate::Max,
    ] {
        let part = xor(&[(10, 2.0), (20, 4.0)]);
        let chunk = aggregates(
            10,
            20,
            &[
                (aggregate, part.clone()),
                (Aggregate::Counter, xor(&[(1, 1.0)])),
            ],
        );
        let found = read(vec![chunk.clone()], &[aggregate]).unwrap();
        assert_eq!(found, [SeriesChunk::raw(at(10), at(20), part)]);
        for other in [
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Min,
            Aggregate::Max,
        ] {
            assert_eq!(
                read(vec![chunk.clone()], &[other]).is_ok(),
                other == aggregate,
                "{other:?}"
            );
        }
    }
}

fn histogram_sum() -> Chunk {
    let mut histogram = Histogram::stale().to_float();
    (histogram.count, histogram.sum, histogram.zero_count) = (8.0, 16.0, 8.0);
    let mut encoder = FloatHistogramEncoder::new();
    assert!(encoder.append(at(10), &histogram).is_none());
    encoder.finish()
}

#[test]
fn native_histograms_are_averaged_and_have_no_extremes() {
    let chunk = aggregates(
        10,
        10,
        &[
            (Aggregate::Count, xor(&[(10, 4.0)])),
            (Aggregate::Sum, histogram_sum()),
            (Aggregate::Counter, histogram_sum()),
        ],
    );
    let one = |wanted: &[Aggregate]| {
        let found = read(vec![chunk.clone()], wanted).unwrap();
        let samples = chunk::samples(found[0].get(Aggregate::Raw).unwrap()).unwrap();
        let histogram = samples.histogram(0).unwrap().to_float();
        (
            samples.times()[0],
            histogram.count,
            histogram.sum,
            histogram.zero_count,
        )
    };
    assert_eq!(
        one(&[Aggregate::Count, Aggregate::Sum]),
        (10, 2.0, 4.0, 2.0)
    );
    assert_eq!(one(&[Aggregate::Counter]), (10, 8.0, 16.0, 8.0));
    assert!(
        read(vec![chunk.clone()], &[Aggregate::Max])
            .unwrap()
            .is_empty()
    );
}

/// Blocks that Thanos downsampled: the totals of every resolution agree where their windows end.
#[test]
fn real_counters_agree_over_all_resolutions() {
    use crate::queryable::{StoreQueryable, StoreQueryableOptions};
    use crate::stores::{LocalStore, LocalStoreOptions};
    use crate::testkit::Answer;
    use thanos_core::labels::Matcher;
    use thanos_core::query::{Queryable, Select, SelectHints};

    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/downsampled");
    let store = LocalStore::open(dir.as_ref(), LocalStoreOptions::default()).unwrap();
    let store = std::sync::Arc::new(store);
    let read = |max_resolution_ms: i64, func: &str, case: &str| {
        let options = StoreQueryableOptions {
            max_resolution_ms,
            ..Default::default()
        };
        let select = Select {
            matchers: vec![Matcher::equal("case", case)],
            hints: SelectHints {
                func: Some(func.into()),
                ..Default::default()
            },
            ..Default::default()
        };
        let queryable = StoreQueryable::new(store.clone(), options);
        let answer = block_on(async { Answer::collect(queryable.select(select).await?).await });
        let chunks: Vec<_> = answer.unwrap().series[0].chunks().cloned().collect();
        floats(&chunks)
    };
    let mut total = CounterTotal::default();
    let raw: std::collections::BTreeMap<i64, f64> = read(0, "rate", "counter_5_resets")
        .into_iter()
        .filter_map(|(time, value)| Some((time, total.add(at(time), value)?)))
        .collect();
    for resolution in [300_000, 3_600_000] {
        let found = read(resolution, "rate", "counter_5_resets");
        assert!(found.len() > 100 && found.len() < raw.len());
        for (time, value) in found {
            let wanted = raw.range(..=time).next_back().unwrap().1;
            assert!(
                (value - wanted).abs() <= wanted.abs() * 1e-9,
                "{time}: {value} for {wanted}"
            );
        }
    }
    // The average of a window lies between its extremes.
    let (low, high) = (
        read(3_600_000, "min_over_time", "sin"),
        read(3_600_000, "max_over_time", "sin"),
    );
    for ((average, low), high) in read(3_600_000, "avg_over_time", "sin")
        .iter()
        .zip(low)
        .zip(high)
    {
        assert!(low.0 == average.0 && average.0 == high.0);
        assert!(low.1 <= average.1 && average.1 <= high.1);
    }
}
