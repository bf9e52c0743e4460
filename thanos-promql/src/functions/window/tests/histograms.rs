//! Native histograms, alone and among floats. The rules are those of Prometheus `promql/functions.go`.

use std::sync::Arc;

use thanos_core::histogram::{
    BucketLayout, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span,
};

use super::*;

/// A histogram with the buckets `counts` from index 0 on.
fn histogram(schema: i32, counts: &[f64]) -> FloatHistogram {
    let custom = schema == CUSTOM_BUCKETS_SCHEMA;
    with_bounds(schema, if custom { &[5.0, 10.0] } else { &[] }, counts)
}

fn with_bounds(schema: i32, bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    let layout = BucketLayout {
        schema,
        positive_spans: vec![Span {
            offset: 0,
            length: u32::try_from(counts.len()).unwrap(),
        }],
        custom_values: bounds.to_vec(),
        ..BucketLayout::default()
    };
    let mut histogram = FloatHistogram::new(Arc::new(layout), counts, &[]).unwrap();
    histogram.count = counts.iter().sum();
    histogram.sum = histogram.count;
    histogram
}

fn hinted(mut histogram: FloatHistogram, hint: CounterResetHint) -> FloatHistogram {
    histogram.counter_reset_hint = hint;
    histogram
}

/// One sample every 10 s from 10 s on.
struct Series {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Series {
    fn new(samples: impl IntoIterator<Item = SampleValue>) -> Self {
        let mut series = Self {
            times: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
        };
        for (time, sample) in (10_000..).step_by(10_000).zip(samples) {
            series.times.push(time);
            series.values.push(sample.as_float().unwrap_or(f64::NAN));
            series.histograms.push(sample.as_histogram().cloned());
        }
        series
    }

    fn of(histograms: impl IntoIterator<Item = FloatHistogram>) -> Self {
        Self::new(histograms.into_iter().map(sample))
    }

    fn columns(&self) -> Columns<'_> {
        Columns {
            times: &self.times,
            values: &self.values,
            histograms: &self.histograms,
            starts: &[],
            window_ms: 0,
        }
    }

    /// Evaluates `name` over everything up to `end_ms`.
    fn eval(&self, name: &str, end_ms: i64) -> (Option<SampleValue>, Vec<Remark>) {
        self.eval_extended(name, (end_ms, end_ms), None)
    }

    fn eval_extended(
        &self,
        name: &str,
        end_and_range: (i64, i64),
        extension: Option<RangeExtension>,
    ) -> (Option<SampleValue>, Vec<Remark>) {
        let (result, remarks) = eval_cells(name, self.columns(), end_and_range, extension);
        (result, remarks.iter().collect())
    }
}

fn sample(histogram: FloatHistogram) -> SampleValue {
    SampleValue::Histogram(Arc::new(histogram))
}

/// Returns the count of a result, which is a histogram.
fn count(result: Option<SampleValue>) -> f64 {
    result.unwrap().as_histogram().unwrap().count
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn a_rate_of_histograms_is_a_gauge_extrapolated_like_one_of_floats() {
    let series = Series::of([2.0, 4.0, 6.0].map(|n| histogram(0, &[n, n])));
    let (result, remarks) = series.eval("increase", 30_000);
    // 8 in 20 s, and 10 s back to the start of the window, where the counter would be at zero.
    let result = result.unwrap();
    let result = result.as_histogram().unwrap();
    assert!(close(result.count, 12.0), "{result:?}");
    assert_eq!(result.counter_reset_hint, CounterResetHint::Gauge);
    assert_eq!(result.positive_buckets(), [6.0, 6.0]);
    assert_eq!(remarks, []);
    assert!(close(count(series.eval("rate", 30_000).0), 0.4));
    assert!(close(count(series.eval("irate", 30_000).0), 0.4));
    let (delta, remarks) = series.eval("delta", 30_000);
    assert!(close(count(delta), 12.0));
    assert_eq!(remarks, [Remark::NotGauge]);
    assert!(series.eval("rate", 10_000).0.is_none());
}

#[test]
fn resets_of_histograms_are_undone() {
    let series = Series::of([
        histogram(0, &[10.0]),
        histogram(0, &[50.0]),
        histogram(0, &[5.0]),
        histogram(0, &[25.0]),
    ]);
    // 25 - 10 + 50 in 30 s, and back to zero.
    let (result, remarks) = series.eval("increase", 40_000);
    assert!(close(
        count(result),
        65.0 / 30.0 * (30.0 + 30.0 * 10.0 / 65.0)
    ));
    assert_eq!(remarks, []);
    assert_eq!(
        series.eval("resets", 40_000).0,
        Some(SampleValue::Float(1.0))
    );
    assert_eq!(
        series.eval("changes", 40_000).0,
        Some(SampleValue::Float(3.0))
    );
}

#[test]
fn a_reset_after_the_first_sample_makes_its_buckets_irrelevant() {
    let series = Series::of([
        histogram(CUSTOM_BUCKETS_SCHEMA, &[10.0]),
        histogram(0, &[2.0]),
        histogram(0, &[4.0]),
    ]);
    let hinted = Series::of([
        histogram(CUSTOM_BUCKETS_SCHEMA, &[1.0]),
        hinted(histogram(0, &[2.0]), CounterResetHint::CounterReset),
        histogram(0, &[4.0]),
    ]);
    for series in [series, hinted] {
        let (result, remarks) = series.eval("increase", 30_000);
        assert!(result.is_some());
        assert_eq!(remarks, []);
        let (result, remarks) = series.eval("delta", 30_000);
        assert!(result.is_none());
        assert_eq!(remarks, [Remark::MixedBuckets]);
    }
}

#[test]
fn a_window_comes_down_to_its_lowest_resolution() {
    let series = Series::of([
        histogram(1, &[1.0, 1.0]),
        histogram(0, &[2.0, 2.0]),
        histogram(-1, &[10.0, 10.0]),
        histogram(1, &[20.0, 20.0]),
    ]);
    let schema = |end_ms| {
        let (result, _) = series.eval("increase", end_ms);
        result.unwrap().as_histogram().unwrap().layout().schema
    };
    assert_eq!([20_000, 30_000, 40_000].map(schema), [0, -1, -1]);
}

#[test]
fn hints_and_kinds_of_buckets_are_remarked() {
    let gauge = |n| hinted(histogram(0, &[n]), CounterResetHint::Gauge);
    let gauges = Series::of([1.0, 2.0, 3.0].map(gauge));
    let (result, remarks) = gauges.eval("rate", 30_000);
    assert!(result.is_some());
    assert_eq!(remarks, [Remark::NotCounter]);
    assert_eq!(gauges.eval("delta", 30_000).1, []);
    assert_eq!(gauges.eval("irate", 30_000).1, [Remark::NotCounter]);
    assert_eq!(gauges.eval("idelta", 30_000).1, []);
    let between = Series::of([histogram(0, &[1.0]), gauge(2.0), histogram(0, &[3.0])]);
    assert_eq!(between.eval("rate", 30_000).1, [Remark::NotCounter]);
    assert_eq!(between.eval("rate", 20_000).1, [Remark::NotCounter]);
    let kinds = Series::of([
        gauge(1.0),
        gauge(2.0),
        histogram(CUSTOM_BUCKETS_SCHEMA, &[2.0]),
        gauge(3.0),
    ]);
    for name in ["rate", "sum_over_time", "avg_over_time"] {
        let (result, remarks) = kinds.eval(name, 40_000);
        assert!(result.is_none(), "{name}");
        assert_eq!(remarks, [Remark::MixedBuckets], "{name}");
    }
    let (result, remarks) = kinds.eval("idelta", 40_000);
    assert!(result.is_none());
    assert_eq!(remarks, [Remark::NotGauge, Remark::MixedBuckets]);
}

#[test]
fn custom_bounds_are_reconciled_with_a_remark() {
    let series = Series::of([
        with_bounds(CUSTOM_BUCKETS_SCHEMA, &[1.0, 2.0], &[1.0, 1.0]),
        with_bounds(CUSTOM_BUCKETS_SCHEMA, &[2.0, 3.0], &[4.0, 4.0]),
    ]);
    for (name, remark) in [
        ("increase", Remark::BoundsReconciledInSubtraction),
        ("irate", Remark::BoundsReconciledInSubtraction),
        ("sum_over_time", Remark::BoundsReconciledInAggregation),
        ("avg_over_time", Remark::BoundsReconciledInAggregation),
    ] {
        let (result, remarks) = series.eval(name, 20_000);
        let result = result.unwrap();
        let bounds = &result.as_histogram().unwrap().layout().custom_values;
        assert_eq!(bounds, &[2.0], "{name}");
        assert_eq!(remarks, [remark], "{name}");
    }
}

#[test]
fn sums_and_means_over_time_are_histograms() {
    let series = Series::of([
        hinted(histogram(0, &[1.0]), CounterResetHint::CounterReset),
        hinted(histogram(0, &[2.0]), CounterResetHint::NotCounterReset),
        histogram(0, &[6.0]),
    ]);
    assert_eq!(count(series.eval("sum_over_time", 30_000).0), 9.0);
    let (mean, remarks) = series.eval("avg_over_time", 30_000);
    assert_eq!(count(mean), 3.0);
    assert_eq!(remarks, [Remark::HintCollision]);
    assert_eq!(count(series.eval("first_over_time", 30_000).0), 1.0);
    assert_eq!(count(series.eval("last_over_time", 30_000).0), 6.0);
}

#[test]
fn every_function_has_its_rule_for_floats_among_histograms() {
    let float = SampleValue::Float;
    let series = Series::new([
        float(3.0),
        sample(histogram(0, &[1.0])),
        float(5.0),
        float(4.0),
    ]);
    for (name, expected, remarks) in [
        ("count_over_time", Some(4.0), &[][..]),
        ("present_over_time", Some(1.0), &[]),
        ("first_over_time", Some(3.0), &[]),
        ("last_over_time", Some(4.0), &[]),
        ("changes", Some(3.0), &[]),
        ("resets", Some(3.0), &[]),
        ("ts_of_first_over_time", Some(10.0), &[]),
        ("ts_of_last_over_time", Some(40.0), &[]),
        ("idelta", Some(-1.0), &[]),
        ("max_over_time", Some(5.0), &[Remark::HistogramsIgnored]),
        ("min_over_time", Some(3.0), &[Remark::HistogramsIgnored]),
        (
            "quantile_over_time",
            Some(4.0),
            &[Remark::HistogramsIgnored],
        ),
        ("mad_over_time", Some(1.0), &[Remark::HistogramsIgnored]),
        (
            "ts_of_max_over_time",
            Some(30.0),
            &[Remark::HistogramsIgnored],
        ),
        (
            "ts_of_min_over_time",
            Some(10.0),
            &[Remark::HistogramsIgnored],
        ),
        ("rate", None, &[Remark::MixedKinds]),
        ("increase", None, &[Remark::MixedKinds]),
        ("delta", None, &[Remark::MixedKinds]),
        ("sum_over_time", None, &[Remark::MixedKinds]),
        ("avg_over_time", None, &[Remark::MixedKinds]),
    ] {
        let (result, found) = series.eval(name, 40_000);
        assert_eq!(result, expected.map(float), "{name}");
        assert_eq!(found, remarks, "{name}");
    }
    let (result, remarks) = series.eval("irate", 30_000);
    assert_eq!((result, &remarks[..]), (None, &[Remark::MixedKinds][..]));
    for name in ["deriv", "predict_linear", "double_exponential_smoothing"] {
        // One float is not enough, and still something is ignored.
        let (result, remarks) = series.eval(name, 20_000);
        assert_eq!(result, None, "{name}");
        assert_eq!(remarks, [Remark::HistogramsIgnored], "{name}");
        assert!(series.eval(name, 40_000).0.is_some(), "{name}");
    }
    // Windows of one kind beside the other kind are plain windows.
    let (result, remarks) = series.eval_extended("increase", (40_000, 20_000), None);
    assert!(result.is_some());
    assert_eq!(remarks, []);
}

#[test]
fn extended_windows_of_histograms_interpolate_and_undo_resets() {
    use RangeExtension::{Anchored, Smoothed};
    let series = Series::of([
        histogram(0, &[10.0]),
        hinted(histogram(0, &[5.0]), CounterResetHint::CounterReset),
        hinted(histogram(0, &[2.0]), CounterResetHint::CounterReset),
        histogram(0, &[4.0]),
    ]);
    // Source of the first case: Prometheus promqltest, smoothed_double_reset.
    for (name, end_and_range, extension, expected) in [
        ("increase", (25_000, 14_000), Smoothed, 5.5),
        ("increase", (40_000, 20_000), Anchored, 4.0),
        ("increase", (40_000, 30_000), Anchored, 9.0),
        ("increase", (30_000, 10_000), Anchored, 2.0),
    ] {
        let (result, remarks) = series.eval_extended(name, end_and_range, Some(extension));
        assert!(close(count(result), expected), "{end_and_range:?}");
        assert_eq!(remarks, []);
    }
    let (result, _) = series.eval_extended("smoothed", (35_000, 0), Some(Smoothed));
    assert_eq!(count(result), 3.0);
    let (result, _) = series.eval_extended("smoothed", (50_000, 0), Some(Smoothed));
    assert_eq!(count(result), 4.0);
}
