//! Whether two answers are the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use crate::annotations::Severity;
use crate::error::ErrorKind;
use crate::value::{SampleValue, Value};

/// The largest difference of two floats that are the same, in parts of the larger one.
const TOLERANCE: f64 = 1e-9;

/// The values of series, by labels and time; a scalar is a series without labels.
pub(super) type Values = BTreeMap<(Labels, Timestamp), SampleValue>;

/// An answer, in a form that does not depend on who gave it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) kind: &'static str,
    pub(super) values: Values,
    pub(super) has_warnings: bool,
    pub(super) has_infos: bool,
}

/// An answer, or the kind and text of a failure.
pub(super) type Outcome = Result<Answer, (ErrorKind, String)>;

impl Answer {
    pub(super) fn new(value: &Value, severities: impl Iterator<Item = Severity>) -> Self {
        let (mut has_warnings, mut has_infos) = (false, false);
        for severity in severities {
            match severity {
                Severity::Warning => has_warnings = true,
                Severity::Info => has_infos = true,
            }
        }
        Self {
            kind: value.type_name(),
            values: values(value),
            has_warnings,
            has_infos,
        }
    }
}

fn values(value: &Value) -> Values {
    let mut values = Values::new();
    match value {
        Value::Scalar(point) => {
            let key = (Labels::empty(), point.time);
            values.insert(key, SampleValue::Float(point.value));
        }
        Value::String(time, text) => {
            let labels = Labels::from_pairs([("text", text)]);
            values.insert((labels, *time), SampleValue::Float(0.0));
        }
        Value::Vector(samples) => {
            for sample in samples {
                values.insert((sample.labels.clone(), sample.time), sample.value.clone());
            }
        }
        Value::Matrix(series) => {
            for one in series {
                let floats = one.points.iter();
                let floats = floats.map(|point| (point.time, SampleValue::Float(point.value)));
                let histograms = one.histograms.iter().map(|point| {
                    let histogram = SampleValue::Histogram(point.histogram.clone());
                    (point.time, histogram)
                });
                let all = floats.chain(histograms);
                values.extend(all.map(|(time, value)| ((one.labels.clone(), time), value)));
            }
        }
    }
    values
}

/// Returns what differs, or nothing.
pub(super) fn difference(expected: &Outcome, found: &Outcome) -> Option<String> {
    match (expected, found) {
        (Err((expected, text)), Err((found, other))) => (expected != found)
            .then(|| format!("fails with {found:?} ({other}), expected {expected:?} ({text})")),
        (Err((_, text)), Ok(_)) => Some(format!("answers, but should fail: {text}")),
        (Ok(_), Err((kind, text))) => Some(format!("fails with {kind:?}: {text}")),
        (Ok(expected), Ok(found)) => {
            if expected.kind != found.kind {
                return Some(format!("is a {}, expected a {}", found.kind, expected.kind));
            }
            values_difference(&expected.values, &found.values)
                .or_else(|| notes_difference(expected, found))
        }
    }
}

fn notes_difference(expected: &Answer, found: &Answer) -> Option<String> {
    for (what, expected, found) in [
        ("warnings", expected.has_warnings, found.has_warnings),
        ("infos", expected.has_infos, found.has_infos),
    ] {
        if expected != found {
            let has = |is_there| if is_there { "has" } else { "lacks" };
            return Some(format!(
                "{} {what}, expected that it {} them",
                has(found),
                has(expected)
            ));
        }
    }
    None
}

/// Returns the first few values that differ.
pub(super) fn values_difference(expected: &Values, found: &Values) -> Option<String> {
    let mut text = String::new();
    let mut count = 0;
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for key in keys {
        let (wanted, got) = (expected.get(key), found.get(key));
        let is_same = match (wanted, got) {
            (Some(wanted), Some(got)) => is_same_value(wanted, got),
            _ => false,
        };
        if !is_same {
            count += 1;
            if count <= 3 {
                let time = key.1.as_millis();
                let _ = write!(
                    text,
                    "\n    {} at {time} ms: {}, expected {}",
                    key.0,
                    shown(got),
                    shown(wanted)
                );
            }
        }
    }
    (count > 0).then(|| format!("{count} values differ:{text}"))
}

/// Returns the first value that differs in any bit, but for the bits of not-a-number.
pub(super) fn bits_difference(expected: &Values, found: &Values) -> Option<String> {
    let bits = |value: &SampleValue| match value {
        SampleValue::Float(value) if value.is_nan() => "NaN".to_owned(),
        SampleValue::Float(value) => format!("{value:?}"),
        SampleValue::Histogram(histogram) => format!("{histogram:?}"),
    };
    let pairs = expected.iter().zip(found);
    let differing = pairs
        .map(|((key, expected), (_, found))| (key, bits(expected), bits(found)))
        .find(|(_, expected, found)| expected != found);
    differing.map(|(key, expected, found)| format!("{}: {found}, expected {expected}", key.0))
}

fn shown(value: Option<&SampleValue>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(SampleValue::Float(value)) => format!("{value:?}"),
        Some(SampleValue::Histogram(histogram)) => {
            format!(
                "{histogram} ({:?}, schema {})",
                histogram.counter_reset_hint,
                histogram.layout().schema
            )
        }
    }
}

fn is_same_value(a: &SampleValue, b: &SampleValue) -> bool {
    match (a, b) {
        (SampleValue::Float(a), SampleValue::Float(b)) => is_same_float(*a, *b),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => is_same_histogram(a, b),
        _ => false,
    }
}

fn is_same_float(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    // Infinity is within no part of infinity.
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()) && a.is_finite() && b.is_finite()
}

/// Compares what histograms mean: empty buckets do not count.
fn is_same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let (own, other) = (a.layout(), b.layout());
    let sides = |histogram: &FloatHistogram| {
        [histogram.positive(), histogram.negative()].map(|side| {
            side.filter(|bucket| bucket.count != 0.0)
                .map(|bucket| (bucket.index, bucket.count))
                .collect::<Vec<_>>()
        })
    };
    own.schema == other.schema
        && own.custom_values == other.custom_values
        && is_same_float(own.zero_threshold, other.zero_threshold)
        && a.counter_reset_hint == b.counter_reset_hint
        && is_same_float(a.count, b.count)
        && is_same_float(a.sum, b.sum)
        && is_same_float(a.zero_count, b.zero_count)
        && sides(a)
            .iter()
            .zip(&sides(b))
            .all(|(a, b)| is_same_side(a, b))
}

fn is_same_side(a: &[(i32, f64)], b: &[(i32, f64)]) -> bool {
    let same = |(a, b): (&(i32, f64), &(i32, f64))| a.0 == b.0 && is_same_float(a.1, b.1);
    a.len() == b.len() && a.iter().zip(b).all(same)
}
