//! The naive evaluator on cases that were worked out by hand.

use thanos_core::labels::Labels;

use super::*;

/// A counter with a reset and a gap, two gauges, a classic histogram; a sample each minute from 0.
fn data() -> Vec<StoredSeries> {
    let series = |labels: &[(&str, &str)], values: &[Option<f64>]| StoredSeries {
        labels: Labels::from_pairs(labels.iter().copied()),
        samples: values
            .iter()
            .zip(0_i64..)
            .filter_map(|(value, minute)| {
                Some(StoredSample {
                    time: Timestamp::from_millis(minute * 60_000),
                    start: None,
                    value: SampleValue::Float((*value)?),
                })
            })
            .collect(),
    };
    let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let stale = thanos_core::histogram::STALE_NAN;
    vec![
        series(
            &[("__name__", "c_total"), ("job", "a")],
            &some(&[0.0, 60.0, 120.0, 30.0, 90.0]),
        ),
        series(
            &[("__name__", "g"), ("job", "a")],
            &some(&[1.0, 2.0, 4.0, 8.0, 16.0]),
        ),
        series(
            &[("__name__", "g"), ("job", "b")],
            &[Some(3.0), Some(5.0), None, Some(stale), None],
        ),
        series(&[("__name__", "h_bucket"), ("le", "1")], &some(&[2.0; 5])),
        series(&[("__name__", "h_bucket"), ("le", "2")], &some(&[6.0; 5])),
        series(
            &[("__name__", "h_bucket"), ("le", "+Inf")],
            &some(&[8.0; 5]),
        ),
        series(
            &[("__name__", "w"), ("job", "a"), ("zone", "x")],
            &some(&[10.0; 5]),
        ),
        series(
            &[("__name__", "w"), ("job", "a"), ("zone", "y")],
            &some(&[20.0; 5]),
        ),
    ]
}

fn naive(options: EngineOptions) -> Naive {
    let options = EngineOptions {
        parser: parser::Options::all(),
        ..options
    };
    Naive::new(options, data())
}

/// Writes a result as `{labels} value` lines; a failure as its text.
fn shown(naive: &Naive, text: &str, minute: i64) -> String {
    let time = Timestamp::from_millis(minute * 60_000);
    let times = NaiveTimes {
        start: time,
        end: time,
        step: None,
    };
    let value = match naive.query(text, times) {
        Ok(result) => result.value,
        Err(error) => return error.to_string(),
    };
    match value {
        Value::Scalar(point) => format!("{:?}", point.value),
        Value::Vector(samples) => {
            let mut lines: Vec<String> = samples
                .iter()
                .map(|sample| format!("{} {:?}", sample.labels, rounded(&sample.value)))
                .collect();
            lines.sort();
            lines.join("; ")
        }
        other => format!("{other:?}"),
    }
}

fn rounded(value: &SampleValue) -> f64 {
    (value.as_float().unwrap() * 1e9).round() / 1e9
}

#[test]
fn instant_queries_by_hand() {
    let naive = naive(EngineOptions::default());
    for (text, minute, expected) in [
        ("1 + 2 * 3", 0, "7.0"),
        (
            "g",
            1,
            r#"{__name__="g", job="a"} 2.0; {__name__="g", job="b"} 5.0"#,
        ),
        // The sample of a minute ago is there until the marker comes.
        (
            "g",
            2,
            r#"{__name__="g", job="a"} 4.0; {__name__="g", job="b"} 5.0"#,
        ),
        ("g", 3, r#"{__name__="g", job="a"} 8.0"#),
        ("g", 9, ""),
        (
            "g offset 2m",
            4,
            r#"{__name__="g", job="a"} 4.0; {__name__="g", job="b"} 5.0"#,
        ),
        ("g @ 60 + 0", 4, r#"{job="a"} 2.0; {job="b"} 5.0"#),
        ("-g", 3, r#"{job="a"} -8.0"#),
        // 60 + 60 + 30 + 60 within 4 minutes; the first sample is outside of the window.
        ("increase(c_total[4m])", 4, r#"{job="a"} 200.0"#),
        ("rate(c_total[5m])", 4, r#"{job="a"} 0.7"#),
        ("irate(c_total[5m])", 3, r#"{job="a"} 0.5"#),
        ("resets(c_total[5m])", 4, r#"{job="a"} 1.0"#),
        ("sum_over_time(g{job=\"a\"}[2m])", 4, r#"{job="a"} 24.0"#),
        (
            "avg_over_time((g * 2)[3m:1m])",
            2,
            r#"{job="a"} 4.666666667; {job="b"} 8.666666667"#,
        ),
        ("sum(g)", 1, "{} 7.0"),
        (
            "sum by (job) (g) + on (job) group_right w",
            1,
            r#"{job="a", zone="x"} 12.0; {job="a", zone="y"} 22.0"#,
        ),
        (
            "g + ignoring (zone) w",
            1,
            "many-to-many matching not allowed",
        ),
        (
            "w / on (job) group_left g",
            1,
            r#"{job="a", zone="x"} 5.0; {job="a", zone="y"} 10.0"#,
        ),
        ("g > 3", 1, r#"{__name__="g", job="b"} 5.0"#),
        ("g > bool 3", 1, r#"{job="a"} 0.0; {job="b"} 1.0"#),
        ("g and on (job) w", 1, r#"{__name__="g", job="a"} 2.0"#),
        ("g unless on (job) w", 1, r#"{__name__="g", job="b"} 5.0"#),
        (
            "sum by (job) (g) + fill (1) sum by (job) (w)",
            1,
            r#"{job="a"} 32.0; {job="b"} 6.0"#,
        ),
        ("topk(1, g)", 1, r#"{__name__="g", job="b"} 5.0"#),
        ("quantile(0.5, g)", 1, "{} 3.5"),
        ("stddev(g)", 1, "{} 1.5"),
        ("count_values(\"v\", g)", 1, r#"{v="2"} 1.0; {v="5"} 1.0"#),
        // Half of 8 observations: two below 1, so half of the four between 1 and 2.
        ("histogram_quantile(0.5, h_bucket)", 1, "{} 1.5"),
        ("histogram_fraction(0, 1.5, h_bucket)", 1, "{} 0.5"),
        ("absent(nothing{job=\"a\"})", 1, r#"{job="a"} 1.0"#),
        (
            "label_replace(w, \"zone\", \"$1\", \"job\", \"(.*)\")",
            1,
            "vector cannot contain metrics with the same labelset",
        ),
        (
            "label_join(w{zone=\"x\"}, \"d\", \"-\", \"job\", \"zone\")",
            1,
            r#"{__name__="w", d="a-x", job="a", zone="x"} 10.0"#,
        ),
        ("scalar(g)", 1, "NaN"),
        ("scalar(g{job=\"a\"})", 1, "2.0"),
        ("timestamp(g{job=\"b\"})", 2, r#"{job="b"} 60.0"#),
        ("day_of_week(vector(0))", 0, "{} 4.0"),
        ("day_of_month(vector(951782400))", 0, "{} 29.0"),
        ("clamp(g, 3, 4)", 1, r#"{job="a"} 3.0; {job="b"} 4.0"#),
        // On a line through its points, one minute after the last one.
        (
            "predict_linear(w{zone=\"x\"}[3m], 60)",
            3,
            r#"{job="a", zone="x"} 10.0"#,
        ),
        ("deriv(c_total[2m1s])", 2, r#"{job="a"} 1.0"#),
    ] {
        assert_eq!(shown(&naive, text, minute), expected, "{text}");
    }
}

#[test]
fn names_are_kept_to_the_end_when_asked_to() {
    let naive = naive(EngineOptions {
        delayed_name_removal: true,
        ..EngineOptions::default()
    });
    for (text, expected) in [
        (
            "abs({__name__=~\"g|w\", zone!=\"y\"}) and on (job, __name__) g",
            r#"{job="a"} 2.0; {job="b"} 5.0"#,
        ),
        ("sum by (__name__) (abs(w))", "{} 30.0"),
        (
            "label_replace(abs(w{zone=\"x\"}), \"__name__\", \"new\", \"\", \"\")",
            r#"{__name__="new", job="a", zone="x"} 10.0"#,
        ),
        (
            "abs({__name__=~\"g|c_total\", job=\"a\"})",
            "vector cannot contain metrics with the same labelset",
        ),
    ] {
        assert_eq!(shown(&naive, text, 1), expected, "{text}");
    }
}

#[test]
fn ranges_have_a_value_at_each_step() {
    let naive = naive(EngineOptions::default());
    let times = NaiveTimes {
        start: Timestamp::from_millis(60_000),
        end: Timestamp::from_millis(200_000),
        step: Some(Duration::from_secs(60)),
    };
    let result = naive.query("g{job=\"b\"} * 2", times).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("no matrix");
    };
    let points: Vec<(i64, f64)> = series[0]
        .points
        .iter()
        .map(|point| (point.time.as_millis(), point.value))
        .collect();
    assert_eq!(points, [(60_000, 10.0), (120_000, 10.0)]);
    let result = naive.query("sort(rate(g[5m]))", times).unwrap();
    let severities: Vec<Severity> = result.notes.iter().map(|(severity, _)| *severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Info]);
}
