//! Joins that are large or meant to be: what they answer, and that they end.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;

use crate::engine::{Engine, EngineOptions};
use crate::error::{ErrorKind, Result};
use crate::parser;
use crate::testkit::MemoryQueryable;
use crate::value::{QueryResult, Value};

const MINUTE_MS: i64 = 60_000;
const STEPS: i64 = 100;

fn number(i: i64) -> f64 {
    f64::from(i32::try_from(i).unwrap())
}

/// Series `name` with the label `n`; each has values in the minutes that `minutes` gives for it.
fn push<I: Iterator<Item = i64>>(
    data: &mut MemoryQueryable,
    name: &str,
    count: i64,
    minutes: impl Fn(i64) -> I,
) {
    for n in 0..count {
        let labels = Labels::from_pairs([("__name__", name), ("n", &n.to_string())]);
        let samples = minutes(n).map(|minute| (minute * MINUTE_MS, number(n)));
        data.push(labels, samples);
    }
}

fn range(data: MemoryQueryable, bytes_max: u64, text: &str) -> Result<QueryResult> {
    let engine = Engine::new(EngineOptions {
        query_bytes_max: bytes_max,
        // No look back, so that a series has a value only where it has a sample.
        lookback: Duration::from_millis(1),
        parser: parser::Options::all(),
        ..EngineOptions::default()
    });
    let data: Arc<dyn Queryable> = data.into_queryable();
    let times = (
        Timestamp::from_millis(0),
        Timestamp::from_millis((STEPS - 1) * MINUTE_MS),
    );
    block_on(engine.range(&data, text, times, Duration::from_secs(60)))
}

fn many(count: i64) -> MemoryQueryable {
    let mut data = MemoryQueryable::default();
    push(&mut data, "m", count, |_| 0..STEPS);
    data
}

const CROSS_PRODUCT: &str = "{__name__=~\".+\"} * on () group_left {__name__=~\".+\"}";

#[test]
fn a_cross_product_ends_at_the_limit_of_memory() {
    for text in [
        CROSS_PRODUCT,
        "m or on () m",
        "sum without (n) (m) or m",
        "m and m",
        "sort(m)",
        "topk(3, m)",
        "limitk by (n) (3, m)",
        "m * on (n) group_left m",
        "m + fill (0) m",
    ] {
        let error = range(many(1000), 300_000, text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{text}: {error}");
        assert!(
            error.to_string().contains("query memory"),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_cross_product_that_fits_fails_as_in_prometheus() {
    let error = range(many(1000), 1 << 30, CROSS_PRODUCT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    let text = "found duplicate series for the match group {} on the right hand-side of the operation: \
                [{__name__=\"m\", n=\"0\"}, {__name__=\"m\", n=\"1\"}];many-to-many matching not allowed: \
                matching labels must be unique on one side";
    assert_eq!(error.to_string(), text);
}

#[test]
fn what_is_held_is_leased() {
    // A row of `m` takes 100 values and 2 words; 816 KB for all of them.
    let (series, row_bytes) = (1000, 8 * 102);
    for (text, rows) in [
        ("m", 1),
        ("m * on (n) group_left m", 2),
        ("m == m", 2),
        ("m or m", 1),
        ("topk by (n) (1, m)", 1),
        ("m * 1 + on (n) m", 3),
    ] {
        let result = range(many(series), 1 << 30, text).unwrap();
        let held = rows * row_bytes * u64::try_from(series).unwrap();
        let peak = result.stats.peak_bytes;
        assert!(peak >= held, "{text}: {peak} of {held}");
        assert!(peak < 6 * held, "{text}: {peak} of {held}");
    }
}

#[test]
fn series_that_take_turns_are_one_partner() {
    // At each minute another series of `one` has a value.
    let mut data = many(50);
    push(&mut data, "one", STEPS, |n| n..=n);
    let joined = |data: &MemoryQueryable, text| match range(data.clone(), 1 << 30, text) {
        Ok(QueryResult {
            value: Value::Matrix(series),
            ..
        }) => series,
        other => panic!("{text}: {other:?}"),
    };
    let without_label = joined(&data, "m + on () group_left one");
    assert_eq!(without_label.len(), 50);
    for (n, series) in (0..).zip(&without_label) {
        let n: i64 = series
            .labels
            .get("n")
            .map_or(n, |label| label.parse().unwrap());
        let values = series.points.iter().map(|point| point.value);
        assert!(values.eq((0..STEPS).map(|minute| number(n + minute))));
    }
    let with_label = joined(&data, "m{n=\"7\"} + on () group_left (n) one");
    assert_eq!(with_label.len(), 100);
    for series in with_label {
        let n: i64 = series.labels.get("n").unwrap().parse().unwrap();
        assert_eq!(series.points.len(), 1);
        assert_eq!(series.points[0].value, number(7 + n));
    }
    let filled = joined(&data, "m{n=\"7\"} + on () fill_right (1) (one > 50)");
    assert_eq!(filled[0].points[50].value, 8.0);
    assert_eq!(filled[0].points[51].value, 58.0);
}
