//! Recordings of what Prometheus' chunkenc made of random samples, for tests.
//!
//! ```text
//! scenario KIND             what is appended to: int, float, the same with -st for start timestamps, value-st, series
//! start MS                  the start timestamp of the next sample
//! sample MS HINT ...        a histogram is appended; float in a series if its counts are floats
//! value MS BITS             a float is appended
//! new HEX | cut HEX         a chunk that an append ended, or that was ended for its size
//! end HEX                   the last chunk of a scenario
//! chunk ENCODING MIN MAX HEX    a chunk of a series
//! ```

use std::sync::Arc;

use crate::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span};
use crate::time::Timestamp;

/// Returns a file of test data.
pub(super) fn testdata(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/chunks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Returns the lines of a recording: number, word and what follows.
pub(super) fn lines(name: &str) -> Vec<(usize, String, String)> {
    let text = String::from_utf8(testdata(name)).unwrap();
    let lines = (1..).zip(text.lines());
    lines
        .map(|(number, line)| {
            let (word, rest) = line.split_once(' ').unwrap();
            (number, word.to_owned(), rest.to_owned())
        })
        .collect()
}

/// Returns the time and the float of a `value` line.
pub(super) fn value(rest: &str) -> (Timestamp, f64) {
    let (ms, bits) = rest.split_once(' ').unwrap();
    (Timestamp::from_millis(ms.parse().unwrap()), float(bits))
}

/// A `sample` line.
pub(super) struct Append {
    pub(super) time: Timestamp,
    hint: CounterResetHint,
    sum: f64,
    layout: Arc<BucketLayout>,
    zero_count: u64,
    count: u64,
    positive: String,
    negative: String,
}

impl Append {
    pub(super) fn parse(fields: &str) -> Self {
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

    pub(super) fn integer(&self) -> Histogram {
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

    pub(super) fn float(&self) -> FloatHistogram {
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

pub(super) fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}
