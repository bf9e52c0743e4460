//! Histograms in the files of expected results: what Prometheus' histogram package computed from random operands.
//!
//! A histogram is eleven fields: hint, schema, zero threshold, zero count, count, sum, positive spans, negative
//! spans, positive counts, negative counts, custom bounds. A list has commas, an empty one is `-`.

use std::sync::Arc;

use super::{BucketLayout, CounterResetHint, FloatHistogram, Span};

/// The number of fields of a histogram.
pub(super) const FIELDS: usize = 11;

pub(super) fn float(text: &str) -> f64 {
    text.parse().unwrap()
}

/// Returns all numbers of a histogram but those of its layout.
pub(super) fn numbers(histogram: &FloatHistogram) -> impl Iterator<Item = f64> {
    [histogram.count, histogram.zero_count, histogram.sum]
        .into_iter()
        .chain(histogram.buckets().iter().copied())
}

/// Reports whether the buckets are the same, however their spans are cut.
pub(super) fn same_layout(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let empty = |histogram: &FloatHistogram| {
        let (positive, negative) = (histogram.positive_buckets(), histogram.negative_buckets());
        let zeros = |counts: &[f64]| vec![0.0; counts.len()];
        let layout = Arc::clone(histogram.layout());
        FloatHistogram::new(layout, &zeros(positive), &zeros(negative)).unwrap()
    };
    empty(a).same_data(&empty(b))
}

/// Reports whether both have the same data, bit by bit; only that any NaN is as good as another.
pub(super) fn agree(found: &FloatHistogram, expected: &FloatHistogram) -> bool {
    let same = |(a, b): (f64, f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    same_layout(found, expected) && numbers(found).zip(numbers(expected)).all(same)
}

pub(super) fn read(name: &str) -> String {
    let path = format!("{}/testdata/chunks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn list<T>(text: &str, parse: impl Fn(&str) -> T) -> Vec<T> {
    text.split(',')
        .filter(|item| *item != "-")
        .map(parse)
        .collect()
}

fn spans(text: &str) -> Vec<Span> {
    list(text, |item| {
        let (offset, length) = item.split_once(':').unwrap();
        Span {
            offset: offset.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    })
}

pub(super) fn parse(fields: &[&str]) -> FloatHistogram {
    let layout = BucketLayout {
        schema: fields[1].parse().unwrap(),
        zero_threshold: float(fields[2]),
        positive_spans: spans(fields[6]),
        negative_spans: spans(fields[7]),
        custom_values: list(fields[10], float),
    };
    let (positive, negative) = (list(fields[8], float), list(fields[9], float));
    let mut histogram = FloatHistogram::new(Arc::new(layout), &positive, &negative).unwrap();
    histogram.counter_reset_hint = match fields[0] {
        "0" => CounterResetHint::Unknown,
        "1" => CounterResetHint::CounterReset,
        "2" => CounterResetHint::NotCounterReset,
        _ => CounterResetHint::Gauge,
    };
    histogram.zero_count = float(fields[3]);
    histogram.count = float(fields[4]);
    histogram.sum = float(fields[5]);
    histogram
}
