//! Random series: counters, gauges, classic buckets, native histograms, with all that makes real data unpleasant.

mod histograms;

use std::sync::Arc;

use thanos_core::histogram::{FloatHistogram, STALE_NAN, is_stale_nan};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use self::histograms::{Growing, Kind};
use super::choice::Choice;
use crate::testkit::MemoryQueryable;
use crate::testkit::naive::{StoredSample, StoredSeries};
use crate::value::SampleValue;

/// Samples lie between 0 and this time, in milliseconds.
pub(super) const END_MS: i64 = 600_000;

const JOBS: [&str; 3] = ["a", "b", "c"];
const INSTANCES: [&str; 3] = ["0", "1", "2"];

/// What the values of a series are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counter,
    Gauge,
    Bucket(usize),
    One,
    Histogram(Kind),
    /// Floats and histograms.
    Mixed,
}

/// Returns random series, sorted by labels and unique.
pub(super) fn series(seed: u64) -> Vec<StoredSeries> {
    let mut choice = Choice::new(seed);
    let mut all: Vec<StoredSeries> = Vec::new();
    let mut add = |choice: &mut Choice, pairs: &[(&str, &str)], shape: Shape| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        if all.iter().all(|known| known.labels != labels) {
            let samples = samples(choice, shape);
            all.push(StoredSeries { labels, samples });
        }
    };
    let wild = choice.chance(30);
    // More series than the engine takes at once.
    if choice.chance(2) {
        for number in 0..150 {
            let number = number.to_string();
            let pairs = [("__name__", "load"), ("job", "a"), ("instance", &*number)];
            add(&mut choice, &pairs, Shape::Gauge);
        }
    }
    for _ in 0..choice.between(5, 10) {
        let pairs = target(&mut choice);
        match choice.below(10) {
            0 | 1 => {
                let code = choice.of(&["200", "500"]);
                let name = choice.of(&["requests_total", "errors_total"]);
                let pairs = [("__name__", name), ("code", code), pairs[0], pairs[1]];
                add(&mut choice, &pairs, Shape::Counter);
            }
            2 | 3 => {
                let name = choice.of(&["load", "temp"]);
                let pairs = [("__name__", name), pairs[0], pairs[1]];
                add(&mut choice, &pairs, Shape::Gauge);
            }
            4 | 5 => {
                let zone = choice.of(&["x", "y", ""]);
                let name = choice.of(&["limits", "target_info"]);
                let pairs = [("__name__", name), ("zone", zone), pairs[0]];
                let shape = choice.value(&[Shape::Gauge, Shape::One]);
                add(&mut choice, &pairs, shape);
            }
            6 => {
                let kind = choice.value(&[Kind::Counter, Kind::Counter, Kind::Gauge]);
                let name = choice.of(&["size", "size_total"]);
                let pairs = [("__name__", name), pairs[0], pairs[1]];
                add(&mut choice, &pairs, Shape::Histogram(kind));
            }
            7 => {
                let pairs = [("__name__", "sized"), pairs[0], pairs[1]];
                add(&mut choice, &pairs, Shape::Histogram(Kind::Custom));
            }
            8 => {
                let kinds = [Kind::Counter, Kind::Gauge, Kind::Custom];
                let shape = match choice.below(3) {
                    0 => Shape::Mixed,
                    1 => Shape::Histogram(choice.value(&kinds)),
                    _ => Shape::Gauge,
                };
                let pairs = [("__name__", "mixed"), pairs[0], pairs[1]];
                add(&mut choice, &pairs, shape);
            }
            _ => {
                let bounds = choice.of(&[
                    &["0.5", "1", "2.5", "+Inf"][..],
                    &["-1", "0", "2", "+Inf"],
                    &["1", "+Inf"],
                    &["1", "1.0", "4", "Inf"],
                    &["0.25", "2"],
                    &["1", "many", "+Inf"],
                ]);
                for (place, bound) in bounds.iter().enumerate() {
                    let name = ("__name__", "latency_bucket");
                    let pairs = [name, ("le", *bound), pairs[0], pairs[1]];
                    add(&mut choice, &pairs, Shape::Bucket(place + 1));
                }
            }
        }
    }
    if wild {
        make_wild(&mut choice, &mut all);
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

fn target(choice: &mut Choice) -> [(&'static str, &'static str); 2] {
    let job = choice.of(&JOBS);
    let instance = choice.of(&INSTANCES);
    // Some series lack a label that others have.
    let instance = if choice.chance(10) { "" } else { instance };
    [("job", job), ("instance", instance)]
}

fn samples(choice: &mut Choice, shape: Shape) -> Vec<StoredSample> {
    let interval = choice.value(&[10_000, 15_000, 15_000, 30_000]);
    let jitter = choice.value(&[0, 0, 0, 1, 700]);
    let mut at = if choice.chance(70) {
        choice.between(0, 2) * 5000
    } else {
        choice.between(0, END_MS / 2)
    };
    let end = if choice.chance(70) {
        END_MS
    } else {
        choice.between(END_MS / 3, END_MS)
    };
    let (gaps, stale) = (choice.value(&[0, 0, 5, 20]), choice.value(&[0, 2, 5]));
    let starts = choice.value(&[0, 0, 60, 95]);
    let mut source = Source::new(choice, shape);
    let mut since = at - interval;
    let mut all = Vec::new();
    while at < end {
        let time = Timestamp::from_millis(at + choice.between(0, jitter));
        at += interval;
        if choice.chance(gaps) {
            at += interval * choice.between(0, 8);
            continue;
        }
        let mut value = source.next(choice);
        if choice.chance(stale) {
            value = stale_marker(&value);
        }
        if choice.chance(6) {
            since = time.as_millis() - choice.between(0, 2 * interval);
        }
        let start = Timestamp::from_millis(since);
        all.push(StoredSample {
            time,
            start: (since > 0 && choice.chance(starts)).then_some(start),
            value,
        });
    }
    all
}

fn stale_marker(value: &SampleValue) -> SampleValue {
    match value {
        SampleValue::Float(_) => SampleValue::Float(STALE_NAN),
        SampleValue::Histogram(_) => SampleValue::Histogram(Arc::new(FloatHistogram::stale())),
    }
}

/// Where the values of a series come from.
#[derive(Debug)]
struct Source {
    shape: Shape,
    float: f64,
    histograms: Growing,
}

impl Source {
    fn new(choice: &mut Choice, shape: Shape) -> Self {
        let kind = match shape {
            Shape::Histogram(kind) => kind,
            _ => choice.value(&[Kind::Counter, Kind::Custom]),
        };
        Self {
            shape,
            float: first_value(choice, shape),
            histograms: Growing::new(choice, kind),
        }
    }

    fn next(&mut self, choice: &mut Choice) -> SampleValue {
        let is_histogram = match self.shape {
            Shape::Histogram(_) => true,
            Shape::Mixed => choice.chance(50),
            _ => false,
        };
        if is_histogram {
            return SampleValue::Histogram(Arc::new(self.histograms.next(choice)));
        }
        self.float = next_value(choice, self.shape, self.float);
        SampleValue::Float(self.float)
    }
}

fn first_value(choice: &mut Choice, shape: Shape) -> f64 {
    match shape {
        Shape::Counter => choice.value(&[0.0, 0.0, 3.0, 1000.0, 1e9]),
        Shape::Gauge => choice.between(-20, 20) as f64 / 4.0,
        Shape::One => 1.0,
        Shape::Bucket(_) | Shape::Histogram(_) | Shape::Mixed => 0.0,
    }
}

fn next_value(choice: &mut Choice, shape: Shape, value: f64) -> f64 {
    match shape {
        Shape::Counter if choice.chance(4) => choice.value(&[0.0, 1.0]),
        Shape::Counter => value + choice.value(&[0.0, 1.0, 2.0, 2.5, 10.0]),
        Shape::Gauge | Shape::Histogram(_) | Shape::Mixed => match choice.below(12) {
            0 => choice.between(-4, 4) as f64,
            1..4 => value,
            _ => choice.between(-40, 40) as f64 / 4.0,
        },
        Shape::Bucket(_) if choice.chance(2) => 0.0,
        Shape::Bucket(place) => {
            // Mostly more in higher buckets, as it should be.
            let most = i64::try_from(place).unwrap_or(1) + 1;
            value + choice.between(0, most) as f64
        }
        Shape::One => 1.0,
    }
}

/// Puts in numbers that are hard to compute with.
fn make_wild(choice: &mut Choice, all: &mut [StoredSeries]) {
    let hard = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e308,
        -1e308,
        5e-324,
        0.1,
    ];
    for series in all {
        let share = choice.value(&[0, 0, 5, 30]);
        for sample in &mut series.samples {
            let is_float =
                |value: &SampleValue| value.as_float().is_some_and(|value| !is_stale_nan(value));
            if choice.chance(share) && is_float(&sample.value) {
                sample.value = SampleValue::Float(choice.value(&hard));
            }
        }
    }
}

/// Returns the series as the engine reads them, and the same as samples: in chunks histograms have other hints.
pub(super) fn stored(series: &[StoredSeries]) -> (MemoryQueryable, Vec<StoredSeries>) {
    let mut data = MemoryQueryable::default();
    let mut read = Vec::new();
    for one in series {
        let chunks = one.to_chunks();
        let again = StoredSeries::from_chunks(one.labels.clone(), &chunks);
        read.push(again.expect("it was encoded a moment ago"));
        data.push_chunks(one.labels.clone(), chunks);
    }
    (data, read)
}
