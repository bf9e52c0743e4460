//! Compares the value of a query with the expected one.

use std::collections::{BTreeMap, BTreeSet};

use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use super::compare::is_expected;
use super::describe;
use super::eval::{Eval, Expected, ExpectedSeries, ExpectedValue, Steps, Times};
use super::number::almost_equal;
use crate::value::{Sample, SampleValue, Series, Value};

/// Returns how `found` differs from what `eval` expects.
pub(super) fn differences(eval: &Eval, found: &Value) -> Vec<String> {
    let expected = &eval.expected;
    match (&expected.value, found) {
        (ExpectedValue::Scalar(expected), Value::Scalar(found)) => {
            scalar(*expected, found.value).into_iter().collect()
        }
        (ExpectedValue::String(expected), Value::String(_, found)) => text(expected, found),
        // COMPAT: an evaluation that expects nothing expects the empty text.
        (ExpectedValue::Series(none), Value::String(_, found)) if none.is_empty() => {
            text("", found)
        }
        (ExpectedValue::Series(series), Value::Vector(found)) => vector(expected, series, found),
        (ExpectedValue::Series(series), Value::Matrix(found)) => {
            let steps = match (expected.matrix_steps, eval.times) {
                (Some(steps), _) | (None, Times::Range(steps)) => steps,
                (None, Times::Instant(time)) => Steps::only(time),
            };
            matrix(expected, series, steps, found)
        }
        (value, found) => {
            let expected = match value {
                ExpectedValue::Scalar(_) => "scalar",
                ExpectedValue::String(_) => "string",
                ExpectedValue::Series(_) => "vector or matrix",
            };
            vec![format!(
                "expected a {expected}, got a {}",
                found.type_name()
            )]
        }
    }
}

/// Returns how the steps of a range differ from the sorted order that every range result has.
pub(super) fn disorder(found: &[Series]) -> Vec<String> {
    let pairs = found
        .windows(2)
        .filter(|pair| pair[0].labels > pair[1].labels);
    pairs
        .map(|pair| {
            let [first, second] = [&pair[0].labels, &pair[1].labels];
            format!("a matrix is sorted by labels, but {second} comes after {first}")
        })
        .collect()
}

impl Steps {
    fn only(time: Timestamp) -> Self {
        Self {
            start: time,
            end: time,
            step: std::time::Duration::ZERO,
        }
    }

    fn time(&self, at: usize) -> Timestamp {
        let step_ms = i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX);
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        self.start.saturating_add_millis(step_ms.saturating_mul(at))
    }
}

/// Returns how a scalar differs.
pub(super) fn scalar(expected: f64, found: f64) -> Option<String> {
    if almost_equal(expected, found) {
        return None;
    }
    let [expected, found] = [expected, found].map(describe::float);
    Some(format!("expected scalar {expected}, got {found}"))
}

fn text(expected: &str, found: &str) -> Vec<String> {
    if expected == found {
        return Vec::new();
    }
    vec![format!("expected string {expected:?}, got {found:?}")]
}

fn vector(expected: &Expected, series: &[ExpectedSeries], found: &[Sample]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, sample) in found.iter().enumerate() {
        let labels = &sample.labels;
        let value = describe::value(&sample.value);
        let Some(place) = series.iter().position(|one| one.labels == *labels) else {
            wrong.push(format!("unexpected {labels} with {value}"));
            continue;
        };
        if !seen.insert(place) {
            wrong.push(format!("{labels} comes twice, the second with {value}"));
        }
        let slot = &series[place].slots[0];
        if !is_expected(slot, Some(&sample.value)) {
            let slot = describe::slot(slot);
            wrong.push(format!("{labels}: expected {slot}, got {value}"));
        }
        if expected.is_ordered && place != at {
            let (place, at) = (place + 1, at + 1);
            wrong.push(format!(
                "{labels}: expected at position {place}, got at {at}"
            ));
        }
    }
    for (place, one) in series.iter().enumerate() {
        if !seen.contains(&place) {
            let slot = describe::slot(&one.slots[0]);
            wrong.push(format!("{}: expected {slot}, got nothing", one.labels));
        }
    }
    wrong
}

fn matrix(
    expected: &Expected,
    series: &[ExpectedSeries],
    steps: Steps,
    found: &[Series],
) -> Vec<String> {
    if expected.is_ordered {
        return vec!["expected an ordered result, got a matrix".to_owned()];
    }
    let mut wrong = disorder(found);
    let mut left: BTreeMap<&Labels, &ExpectedSeries> =
        series.iter().map(|one| (&one.labels, one)).collect();
    for one in found {
        match left.remove(&one.labels) {
            Some(expected) => over_time(expected, steps, one, &mut wrong),
            None => wrong.push(format!(
                "unexpected {} with {}",
                one.labels,
                all_points(one)
            )),
        }
    }
    // In the order of the script.
    for one in series.iter().filter(|one| left.contains_key(&one.labels)) {
        let slots: Vec<String> = one.slots.iter().map(describe::slot).collect();
        let slots = slots.join(", ");
        wrong.push(format!("{}: expected {slots}, got nothing", one.labels));
    }
    wrong
}

fn over_time(expected: &ExpectedSeries, steps: Steps, found: &Series, wrong: &mut Vec<String>) {
    let labels = &expected.labels;
    let count = expected.slots.len();
    if count > 0 && steps.time(count - 1) > steps.end {
        wrong.push(format!(
            "{labels}: {count} points are expected, more than there are steps"
        ));
        return;
    }
    let mut points = points(found);
    if points.len() != found.points.len() + found.histograms.len() {
        wrong.push(format!(
            "{labels}: two values at one time: {}",
            all_points(found)
        ));
    }
    for (at, slot) in expected.slots.iter().enumerate() {
        let time = steps.time(at);
        let point = points.remove(&time);
        if !is_expected(slot, point.as_ref()) {
            let got = point
                .as_ref()
                .map_or("no sample".to_owned(), describe::value);
            let (time, slot) = (describe::time(time), describe::slot(slot));
            wrong.push(format!("{labels} at {time}: expected {slot}, got {got}"));
        }
    }
    for (time, value) in points {
        let (time, value) = (describe::time(time), describe::value(&value));
        wrong.push(format!(
            "{labels} at {time}: expected no sample, got {value}"
        ));
    }
}

fn points(series: &Series) -> BTreeMap<Timestamp, SampleValue> {
    let floats = series.points.iter();
    let floats = floats.map(|point| (point.time, SampleValue::Float(point.value)));
    let histograms = series.histograms.iter();
    let histograms =
        histograms.map(|point| (point.time, SampleValue::Histogram(point.histogram.clone())));
    floats.chain(histograms).collect()
}

/// Returns the one value at `time`, as an instant query would give it.
pub(super) fn value_at(series: &Series, time: Timestamp) -> Option<SampleValue> {
    points(series).remove(&time)
}

fn all_points(series: &Series) -> String {
    let points: Vec<String> = points(series)
        .into_iter()
        .map(|(time, value)| format!("{} at {}", describe::value(&value), describe::time(time)))
        .collect();
    points.join(", ")
}
