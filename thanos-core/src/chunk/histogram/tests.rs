//! Real chunks must decode and encode to the same bytes; appends must cut and widen chunks as upstream does.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::chunk::recorded::{self, Append, hex, testdata};
use crate::chunk::segment_chunks;
use crate::chunk::{self, FloatHistogramEncoder, HistogramEncoder, SampleRef, Samples};
use crate::histogram::{BucketLayout, FloatHistogram, Histogram, Span, is_stale_nan};
use crate::time::Timestamp;

/// Encodes all samples into one chunk with the header of the original.
fn reencode(chunk: &Chunk) -> Chunk {
    let samples = chunk::samples(chunk).unwrap();
    let header = counter_reset_header(chunk).unwrap();
    let mut integers = HistogramEncoder::new();
    let mut floats = FloatHistogramEncoder::new();
    for (at, (time, sample)) in samples.iter().enumerate() {
        let SampleRef::Histogram(view) = sample else {
            panic!("a float in a histogram chunk");
        };
        if chunk.encoding == Encoding::HISTOGRAM {
            let mut histogram = view.to_integer().unwrap();
            if at == 0 {
                histogram.counter_reset_hint = header;
            }
            assert!(integers.append(time, &histogram).is_none());
        } else {
            let mut histogram = view.to_float();
            if at == 0 {
                histogram.counter_reset_hint = header;
            }
            assert!(floats.append(time, &histogram).is_none());
        }
    }
    if chunk.encoding == Encoding::HISTOGRAM {
        integers.finish()
    } else {
        floats.finish()
    }
}

/// Returns the chunk with the header bits of another.
fn with_header_of(chunk: &Chunk, other: &Chunk) -> Vec<u8> {
    let mut data = chunk.data.to_vec();
    data[2] = other.data[2];
    data
}

#[test]
fn scraped_chunks_encode_to_the_same_bytes() {
    let chunks = segment_chunks(&testdata("native-histograms"));
    assert_eq!(chunks.len(), 72);
    let mut samples = 0;
    for chunk in &chunks {
        let again = reencode(chunk);
        // The header speaks of the chunk before, which this test does not have.
        assert_eq!(with_header_of(&again, chunk), chunk.data);
        samples += chunk::num_samples(chunk).unwrap();
    }
    assert!(samples > 1000, "{samples} samples");
}

#[test]
fn appends_cut_and_widen_chunks_like_upstream() {
    assert!(check_appends("histogram-appends.txt") > 150);
}

#[test]
fn appends_with_start_timestamps_make_the_same_bytes_as_upstream() {
    assert!(check_appends("start-timestamps.txt") > 25);
}

/// Checks the histogram chunks of a recording and returns how many there were.
fn check_appends(recording: &str) -> usize {
    let (mut integers, mut floats) = (HistogramEncoder::new(), FloatHistogramEncoder::new());
    let (mut is_float, mut ended, mut checked) = (false, None, 0);
    let mut start = Timestamp::default();
    for (number, word, rest) in recorded::lines(recording) {
        let made = match word.as_str() {
            "scenario" => {
                (integers, floats) = match rest.as_str() {
                    "int" | "float" => (HistogramEncoder::new(), FloatHistogramEncoder::new()),
                    "int-st" | "float-st" => (
                        HistogramEncoder::with_starts(),
                        FloatHistogramEncoder::with_starts(),
                    ),
                    // The other scenarios come later and are no single chunks of histograms.
                    _ => break,
                };
                is_float = rest.starts_with("float");
                continue;
            }
            "start" => {
                start = Timestamp::from_millis(rest.parse().unwrap());
                continue;
            }
            "sample" => {
                assert!(
                    ended.is_none(),
                    "line {number}: upstream did not end a chunk here"
                );
                let append = Append::parse(&rest);
                ended = if is_float {
                    floats.append_with_start(start, append.time, &append.float())
                } else {
                    integers.append_with_start(start, append.time, &append.integer())
                };
                continue;
            }
            "new" => ended.take().expect("upstream ended a chunk here"),
            "cut" if is_float => floats.cut(),
            "cut" => integers.cut(),
            "end" if is_float => floats.to_chunk(),
            "end" => integers.to_chunk(),
            other => panic!("{other}"),
        };
        assert_eq!(hex(&made.data), rest, "line {number}");
        checked += 1;
    }
    checked
}

#[test]
fn a_decoded_chunk_gives_what_was_appended() {
    let mut is_float = false;
    for (_, word, rest) in recorded::lines("histogram-appends.txt") {
        match word.as_str() {
            "scenario" => is_float = rest == "float",
            "sample" => {
                let append = Append::parse(&rest);
                let (chunk, expected) = if is_float {
                    let mut encoder = FloatHistogramEncoder::new();
                    encoder.append(append.time, &append.float());
                    (encoder.finish(), append.float())
                } else {
                    let mut encoder = HistogramEncoder::new();
                    encoder.append(append.time, &append.integer());
                    (encoder.finish(), append.integer().to_float())
                };
                let samples = chunk::samples(&chunk).unwrap();
                let read = samples.histogram(0).unwrap().to_float();
                assert_eq!(read.sum.to_bits(), expected.sum.to_bits());
                assert_eq!(samples.times(), [append.time.as_millis()]);
                if !is_stale_nan(read.sum) {
                    assert_eq!(read.buckets(), expected.buckets());
                    assert_eq!(read.layout(), expected.layout());
                    assert_eq!(
                        (read.count, read.zero_count),
                        (expected.count, expected.zero_count)
                    );
                }
            }
            _ => {}
        }
    }
}

fn real_chunks() -> Vec<Chunk> {
    let mut chunks = segment_chunks(&testdata("native-histograms"));
    chunks.truncate(12);
    for recording in ["histogram-appends.txt", "start-timestamps.txt"] {
        let mut encoding = Encoding::HISTOGRAM;
        for (_, word, rest) in recorded::lines(recording) {
            match (word.as_str(), rest.as_str()) {
                ("scenario", "int") => encoding = Encoding::HISTOGRAM,
                ("scenario", "float") => encoding = Encoding::FLOAT_HISTOGRAM,
                ("scenario", "int-st") => encoding = Encoding::HISTOGRAM_ST,
                ("scenario", "float-st") => encoding = Encoding::FLOAT_HISTOGRAM_ST,
                ("scenario", _) => break,
                ("end", hex) => chunks.push(Chunk {
                    encoding,
                    data: recorded::bytes(hex).into(),
                }),
                _ => {}
            }
        }
    }
    chunks
}

/// The most that decoding may take: eight bytes for each bit of a bucket, and the row of a sample.
fn memory_max(data: &[u8]) -> usize {
    let samples = usize::from(u16::from_be_bytes([data[0], data[1]]));
    data.len() * 8 * 8 + samples * 208
}

#[test]
fn every_flipped_byte_is_an_error_or_a_bounded_result() {
    for chunk in real_chunks() {
        for at in 0..chunk.data.len() {
            let mut data = chunk.data.to_vec();
            data[at] ^= 0xFF;
            let flipped = Chunk {
                encoding: chunk.encoding,
                data: data.into(),
            };
            let mut out = Samples::new();
            if chunk::decode(&flipped, &mut out).is_ok() {
                assert!(out.memory_bytes() <= memory_max(&flipped.data), "byte {at}");
                out.iter().for_each(drop);
            } else {
                assert!(out.is_empty() && out.memory_bytes() == 0);
            }
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for chunk in real_chunks().into_iter().step_by(5) {
        for len in 0..chunk.data.len() {
            let cut = Chunk {
                encoding: chunk.encoding,
                data: chunk.data.slice(..len),
            };
            assert!(
                chunk::samples(&cut).is_err(),
                "{len} of {}",
                chunk.data.len()
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(
        encoding in prop_oneof![
            Just(Encoding::HISTOGRAM),
            Just(Encoding::FLOAT_HISTOGRAM),
            Just(Encoding::HISTOGRAM_ST),
            Just(Encoding::FLOAT_HISTOGRAM_ST),
        ],
        count in 0_u16..40,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut data = count.to_be_bytes().to_vec();
        data.extend(body);
        let chunk = Chunk { encoding, data: data.into() };
        if let Ok(samples) = chunk::samples(&chunk) {
            prop_assert_eq!(samples.len(), usize::from(count));
            prop_assert!(samples.memory_bytes() <= memory_max(&chunk.data));
        }
    }
}

#[test]
fn a_schema_of_later_versions_is_read_at_the_highest_known_resolution() {
    let layout = |schema| {
        Arc::new(BucketLayout {
            schema,
            positive_spans: vec![Span {
                offset: 1,
                length: 4,
            }],
            ..BucketLayout::default()
        })
    };
    let mut histogram = Histogram::new(layout(9), &[1, 1, 1, 1], &[]).unwrap();
    histogram.count = 10;
    let mut encoder = HistogramEncoder::new();
    encoder.append(Timestamp::from_millis(1), &histogram);
    let samples = chunk::samples(&encoder.finish()).unwrap();
    let read = samples.histogram(0).unwrap().to_float();
    assert_eq!(read.layout().schema, 8);
    assert_eq!(read.positive_buckets(), [3.0, 7.0]);

    let mut encoder = HistogramEncoder::new();
    let histogram = Histogram::new(layout(53), &[1, 1, 1, 1], &[]).unwrap();
    encoder.append(Timestamp::from_millis(1), &histogram);
    let error = chunk::samples(&encoder.finish()).unwrap_err();
    assert!(error.message().contains("unknown schema 53"), "{error}");
}

/// The histograms of a series as [`StatsDecoder`] is to give them, from whole ones.
fn naive_stats(chunks: &[Chunk]) -> Vec<(f64, f64, CounterResetHint, i32)> {
    let mut last: Option<FloatHistogram> = None;
    let mut stats = Vec::new();
    let mut samples = Samples::new();
    for chunk in chunks {
        chunk::decode(chunk, &mut samples).unwrap();
    }
    for index in 0..samples.len() {
        let whole = samples.histogram(index).unwrap().to_float();
        let mut hint = whole.counter_reset_hint;
        if !whole.is_stale() {
            if let Some(last) = &last
                && hint == CounterResetHint::Unknown
            {
                hint = match whole.detect_reset(last) {
                    true => CounterResetHint::CounterReset,
                    false => CounterResetHint::NotCounterReset,
                };
            }
            last = Some(whole.clone());
        }
        stats.push((whole.count, whole.sum, hint, whole.layout().schema));
    }
    stats
}

#[test]
fn statistics_are_those_of_whole_histograms() {
    let (mut series, mut encoding) = (Vec::new(), Encoding::HISTOGRAM);
    let (mut decoder, mut hints) = (StatsDecoder::new(), std::collections::BTreeSet::new());
    for (number, word, rest) in recorded::lines("histogram-appends.txt") {
        match (word.as_str(), rest.as_str()) {
            ("scenario", "int") => encoding = Encoding::HISTOGRAM,
            ("scenario", _) => encoding = Encoding::FLOAT_HISTOGRAM,
            ("new" | "cut" | "end", hex) => series.push(Chunk {
                encoding,
                data: recorded::bytes(hex).into(),
            }),
            _ => {}
        }
        if word != "end" {
            continue;
        }
        decoder.reset();
        let mut samples = Samples::new();
        for chunk in &series {
            decoder.decode(chunk, &mut samples).unwrap();
        }
        let expected = naive_stats(&series);
        assert_eq!(samples.len(), expected.len());
        for (index, (count, sum, hint, schema)) in expected.into_iter().enumerate() {
            let read = samples.histogram(index).unwrap();
            let whole = read.to_float();
            assert_eq!(whole.count, count);
            assert_eq!(whole.sum.to_bits(), sum.to_bits());
            assert_eq!(
                read.counter_reset_hint, hint,
                "sample {index} before line {number}"
            );
            assert_eq!(read.layout.schema, schema);
            assert!(whole.buckets().is_empty());
            hints.insert(format!("{hint:?}"));
        }
        series.clear();
    }
    assert_eq!(hints.len(), 4, "{hints:?}");
}

#[test]
fn statistics_of_a_damaged_chunk_are_an_error_and_forget_nothing() {
    let chunks = segment_chunks(&testdata("native-histograms"));
    let mut decoder = StatsDecoder::new();
    let mut samples = Samples::new();
    decoder.decode(&chunks[0], &mut samples).unwrap();
    let (len, data) = (samples.len(), &chunks[1].data);
    for end in 0..data.len() {
        let cut = Chunk {
            encoding: chunks[1].encoding,
            data: data.slice(..end),
        };
        decoder.decode(&cut, &mut samples).unwrap_err();
        assert_eq!(samples.len(), len);
    }
    decoder.decode(&chunks[1], &mut samples).unwrap();
    let hint = samples.histogram(len).unwrap().counter_reset_hint;
    assert_ne!(hint, CounterResetHint::Unknown);
}

#[test]
fn floats_between_histograms_are_read_with_the_statistics() {
    let mut encoder = chunk::XorEncoder::new();
    encoder.append(Timestamp::from_millis(5), 1.5);
    let mut samples = Samples::new();
    StatsDecoder::new()
        .decode(&encoder.finish(), &mut samples)
        .unwrap();
    assert_eq!(samples.values(), [1.5]);
    assert!(samples.is_float_only());
}
