//! Real chunks must decode and encode to the same bytes; appends must cut and widen chunks as upstream does.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::chunk::segment_chunks;
use crate::chunk::{self, FloatHistogramEncoder, HistogramEncoder, SampleRef, Samples};
use crate::histogram::{BucketLayout, FloatHistogram, Histogram, Span, is_stale_nan};
use crate::time::Timestamp;

fn testdata(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/chunks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

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

struct Append {
    time: Timestamp,
    hint: CounterResetHint,
    sum: f64,
    layout: Arc<BucketLayout>,
    zero_count: u64,
    count: u64,
    positive: String,
    negative: String,
}

impl Append {
    fn parse(fields: &str) -> Self {
        let fields: Vec<&str> = fields.split(' ').collect();
        let hex = |at: usize| u64::from_str_radix(fields[at], 16).unwrap();
        Self {
            time: Timestamp::from_millis(fields[0].parse().unwrap()),
            hint: match fields[1] {
                "0" => CounterResetHint::Unknown,
                "1" => CounterResetHint::CounterReset,
                "2" => CounterResetHint::NotCounterReset,
                _ => CounterResetHint::Gauge,
            },
            layout: Arc::new(BucketLayout {
                schema: fields[2].parse().unwrap(),
                zero_threshold: f64::from_bits(hex(3)),
                positive_spans: list(fields[7], |item| {
                    let (offset, length) = item.split_once(':').unwrap();
                    Span {
                        offset: offset.parse().unwrap(),
                        length: length.parse().unwrap(),
                    }
                }),
                negative_spans: list(fields[8], |item| {
                    let (offset, length) = item.split_once(':').unwrap();
                    Span {
                        offset: offset.parse().unwrap(),
                        length: length.parse().unwrap(),
                    }
                }),
                custom_values: list(fields[11], float),
            }),
            zero_count: hex(4),
            count: hex(5),
            sum: f64::from_bits(hex(6)),
            positive: fields[9].to_owned(),
            negative: fields[10].to_owned(),
        }
    }

    fn integer(&self) -> Histogram {
        let numbers = |text: &str| list(text, |item| item.parse::<i64>().unwrap());
        let mut histogram = Histogram::new(
            Arc::clone(&self.layout),
            &numbers(&self.positive),
            &numbers(&self.negative),
        )
        .unwrap();
        (histogram.counter_reset_hint, histogram.sum) = (self.hint, self.sum);
        (histogram.count, histogram.zero_count) = (self.count, self.zero_count);
        histogram
    }

    fn float(&self) -> FloatHistogram {
        let mut histogram = FloatHistogram::new(
            Arc::clone(&self.layout),
            &list(&self.positive, float),
            &list(&self.negative, float),
        )
        .unwrap();
        (histogram.counter_reset_hint, histogram.sum) = (self.hint, self.sum);
        histogram.count = f64::from_bits(self.count);
        histogram.zero_count = f64::from_bits(self.zero_count);
        histogram
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> T) -> Vec<T> {
    text.split(',')
        .filter(|item| *item != "-")
        .map(parse)
        .collect()
}

fn float(hex: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(hex, 16).unwrap())
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file records what Prometheus' chunkenc made of random histograms: `sample` is an append, `new` a chunk
/// that an append ended, `cut` one that was ended for its size, `end` the last one of a scenario.
#[test]
fn appends_cut_and_widen_chunks_like_upstream() {
    let text = String::from_utf8(testdata("histogram-appends.txt")).unwrap();
    let (mut integers, mut floats) = (HistogramEncoder::new(), FloatHistogramEncoder::new());
    let mut is_float = false;
    let mut ended: Option<Chunk> = None;
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let (word, rest) = line.split_once(' ').unwrap();
        let made = match word {
            "scenario" => {
                is_float = rest == "float";
                integers = HistogramEncoder::new();
                floats = FloatHistogramEncoder::new();
                continue;
            }
            "sample" => {
                assert!(
                    ended.is_none(),
                    "line {number}: upstream did not end a chunk here"
                );
                let append = Append::parse(rest);
                ended = if is_float {
                    floats.append(append.time, &append.float())
                } else {
                    integers.append(append.time, &append.integer())
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
        assert_eq!(hex(&made.data), rest, "line {}", number + 1);
        checked += 1;
    }
    assert!(checked > 150, "{checked} chunks");
}

#[test]
fn a_decoded_chunk_gives_what_was_appended() {
    let text = String::from_utf8(testdata("histogram-appends.txt")).unwrap();
    let mut is_float = false;
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "scenario" => is_float = rest == "float",
            "sample" => {
                let append = Append::parse(rest);
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
    let text = String::from_utf8(testdata("histogram-appends.txt")).unwrap();
    let mut encoding = Encoding::HISTOGRAM;
    for line in text.lines() {
        match line.split_once(' ').unwrap() {
            ("scenario", "float") => encoding = Encoding::FLOAT_HISTOGRAM,
            ("scenario", _) => encoding = Encoding::HISTOGRAM,
            ("end", hex) => {
                let data: Vec<u8> = (0..hex.len() / 2)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                    .collect();
                chunks.push(Chunk {
                    encoding,
                    data: data.into(),
                });
            }
            _ => {}
        }
    }
    chunks
}

/// The most that decoding may take: eight bytes for each bit of a bucket, and the row of a sample.
fn memory_max(data: &[u8]) -> usize {
    let samples = usize::from(u16::from_be_bytes([data[0], data[1]]));
    data.len() * 8 * 8 + samples * 200
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
        float in any::<bool>(),
        count in 0_u16..40,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut data = count.to_be_bytes().to_vec();
        data.extend(body);
        let encoding = if float { Encoding::FLOAT_HISTOGRAM } else { Encoding::HISTOGRAM };
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
