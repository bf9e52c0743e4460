//! Chunks of random samples must read as the samples, and be cut as upstream cuts them.

use proptest::prelude::*;

use super::*;
use crate::chunk::recorded::{self, Append};
use crate::chunk::{self, Aggregate};
use crate::histogram::Histogram;
use crate::testkit::shapes::HistogramSpec;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn raw(part: &SeriesChunk) -> &Chunk {
    part.get(Aggregate::Raw).unwrap()
}

fn histograms() -> Vec<Histogram> {
    let spec = HistogramSpec {
        samples: 60,
        buckets: 8,
        ..HistogramSpec::default()
    };
    spec.samples()
        .into_iter()
        .map(|(_, histogram)| histogram)
        .collect()
}

/// A start timestamp, a kind and a number for the value.
fn sample() -> impl Strategy<Value = (i64, u8, usize)> {
    let start = prop_oneof![4 => Just(0_i64), 4 => Just(777), 1 => any::<i64>()];
    let kind = prop_oneof![6 => Just(0_u8), 2 => Just(1), 2 => Just(2)];
    (start, kind, 0_usize..60)
}

/// Runs of samples, so that chunks grow to their full size too.
fn samples() -> impl Strategy<Value = Vec<(i64, u8, usize)>> {
    prop::collection::vec((sample(), 1_usize..300), 0..6).prop_map(|runs| {
        let runs = runs.into_iter();
        runs.flat_map(|(sample, count)| vec![sample; count])
            .collect()
    })
}

fn columns(samples: &[(i64, u8, usize)]) -> Samples {
    let histograms = histograms();
    let mut out = Samples::new();
    for (index, &(start, kind, value)) in samples.iter().enumerate() {
        let time = at(1_000 * i64::try_from(index).unwrap());
        let histogram = &histograms[value];
        match kind {
            0 => out.push_float(time, value as f64),
            1 => out.push_histogram(time, histogram),
            _ => out.push_float_histogram(time, &histogram.to_float()),
        }
        out.set_last_start(at(start));
    }
    out
}

proptest! {
    #[test]
    fn samples_come_back_with_their_starts(samples in samples()) {
        let samples = columns(&samples);
        let parts = encode(&samples);
        let mut read = Samples::new();
        for part in &parts {
            let before = read.len();
            chunk::decode(raw(part), &mut read).unwrap();
            prop_assert_eq!(part.min_time.as_millis(), read.times()[before]);
            prop_assert_eq!(part.max_time.as_millis(), read.times()[read.len() - 1]);
            prop_assert!(read.len() - before <= CHUNK_SAMPLES);
            prop_assert_eq!(chunk::num_samples(raw(part)).unwrap(), read.len() - before);
        }
        prop_assert_eq!(read.times(), samples.times());
        for index in 0..samples.len() {
            prop_assert_eq!(read.start(index), samples.start(index));
            match (read.get(index), samples.get(index)) {
                (SampleRef::Float(read), SampleRef::Float(value)) => prop_assert_eq!(read, value),
                (SampleRef::Histogram(read), SampleRef::Histogram(histogram)) => {
                    prop_assert_eq!(read.to_integer().is_some(), histogram.to_integer().is_some());
                    let (mut read, mut histogram) = (read.to_float(), histogram.to_float());
                    read.compact(0);
                    histogram.compact(0);
                    prop_assert!(read.same_data(&histogram), "{} {}", read, histogram);
                }
                (read, sample) => prop_assert!(false, "{:?} {:?}", read, sample),
            }
        }
    }
}

#[test]
fn chunks_end_where_the_encoding_or_the_count_says_so() {
    let encodings = |samples: &[(i64, u8, usize)]| -> Vec<(Encoding, usize)> {
        let parts = encode(&columns(samples));
        let chunks = parts.iter().map(raw);
        chunks
            .map(|chunk| (chunk.encoding, chunk::num_samples(chunk).unwrap()))
            .collect()
    };
    let many = [vec![(0, 0, 1); 250], vec![(0, 1, 1); 130]].concat();
    assert_eq!(
        encodings(&many),
        [
            (Encoding::XOR, 120),
            (Encoding::XOR, 120),
            (Encoding::XOR, 10),
            (Encoding::HISTOGRAM, 120),
            (Encoding::HISTOGRAM, 10),
        ]
    );
    let starts = [
        (0, 0, 1),
        (5, 0, 1),
        (0, 0, 1),
        (0, 1, 1),
        (5, 1, 1),
        (0, 1, 1),
        (5, 2, 1),
    ];
    assert_eq!(
        encodings(&starts),
        [
            (Encoding::XOR, 1),
            (Encoding::XOR2, 2),
            (Encoding::HISTOGRAM, 1),
            (Encoding::HISTOGRAM_ST, 1),
            (Encoding::HISTOGRAM, 1),
            (Encoding::FLOAT_HISTOGRAM_ST, 1),
        ]
    );
    // The count falls: a reset.
    assert_eq!(
        encodings(&[(0, 1, 9), (0, 1, 9), (0, 1, 3)]),
        [(Encoding::HISTOGRAM, 2), (Encoding::HISTOGRAM, 1)]
    );
}

#[test]
fn a_chunk_takes_only_samples_of_its_kind() {
    assert!(OpenChunk::new(Encoding::AGGREGATES).is_err());
    let histogram = histograms().swap_remove(0);
    let mut floats = OpenChunk::new(Encoding::XOR).unwrap();
    let sample = SampleRef::Histogram((&histogram).into());
    assert!(floats.append(at(0), at(1), sample).is_err());
    assert!(floats.finish().is_none());
    let mut integers = OpenChunk::new(Encoding::HISTOGRAM).unwrap();
    assert!(
        integers
            .append(at(0), at(1), SampleRef::Float(1.0))
            .is_err()
    );
    let float = histogram.to_float();
    let sample = SampleRef::Histogram((&float).into());
    assert!(integers.append(at(0), at(1), sample).is_err());
}

#[test]
fn series_become_the_same_chunks_as_upstream() {
    let mut samples = Samples::new();
    let mut chunks = Vec::new().into_iter();
    let (mut start, mut is_here, mut checked) = (at(0), false, 0);
    for (number, word, rest) in recorded::lines("start-timestamps.txt") {
        match word.as_str() {
            "scenario" => is_here = rest == "series",
            "start" => start = at(rest.parse().unwrap()),
            _ if !is_here => {}
            "value" => {
                let (time, value) = recorded::value(&rest);
                samples.push_with_start(start, time, SampleRef::Float(value));
            }
            "sample" => {
                let append = Append::parse(&rest);
                samples.push_histogram(append.time, &append.integer());
                samples.set_last_start(start);
            }
            "float" => {
                let append = Append::parse(&rest);
                samples.push_float_histogram(append.time, &append.float());
                samples.set_last_start(start);
            }
            _ => {
                if !samples.is_empty() {
                    assert!(chunks.next().is_none(), "line {number}");
                    chunks = encode(&samples).into_iter();
                    samples.clear();
                }
                let part = chunks.next().expect("upstream made a chunk more");
                let made = format!(
                    "{} {} {} {}",
                    raw(&part).encoding.0,
                    part.min_time.as_millis(),
                    part.max_time.as_millis(),
                    recorded::hex(&raw(&part).data),
                );
                assert_eq!(made, rest, "line {number}");
                checked += 1;
            }
        }
    }
    assert!(chunks.next().is_none());
    assert!(checked > 25, "{checked} chunks");
}
