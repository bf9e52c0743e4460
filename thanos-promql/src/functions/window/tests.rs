use super::*;
use crate::error::Error;

mod extended;
mod extra;
mod histograms;
mod sliding;
mod starts;

/// Evaluates `name` over one window and returns the result, and what there is to say.
fn eval_cells(
    name: &str,
    samples: Columns<'_>,
    (end_ms, range_ms): (i64, i64),
    extension: Option<RangeExtension>,
) -> (Option<SampleValue>, Remarks) {
    let function = WindowFn::from_name(name).unwrap_or(WindowFn::Smoothed);
    let sweep = Sweep {
        steps: &[(end_ms, end_ms)],
        range_ms,
        extension,
        reach_ms: function.reach(extension, 300_000),
        params: [&[0.5], &[0.5]],
    };
    let (mut result, mut remarks) = (None, Remarks::default());
    let set = |_, value| result = Some(value);
    function
        .sweep(samples, sweep, set, || Ok(()), &mut remarks)
        .unwrap();
    (result, remarks)
}

/// Evaluates `name` over one window of `range_ms` that ends at `end_ms`.
fn eval(name: &str, samples: &[(i64, f64)], end_ms: i64, range_ms: i64) -> Option<f64> {
    eval_with(name, samples, end_ms, range_ms, [0.0; 2])
}

fn eval_with(
    name: &str,
    samples: &[(i64, f64)],
    end_ms: i64,
    range_ms: i64,
    params: [f64; 2],
) -> Option<f64> {
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let columns = Columns::floats(&times, &values);
    let sweep = Sweep {
        steps: &[(end_ms, end_ms)],
        range_ms,
        extension: None,
        reach_ms: (0, 0),
        params: [&params[..1], &params[1..]],
    };
    let mut result = None;
    let set = |_, value: SampleValue| result = value.as_float();
    WindowFn::from_name(name)
        .unwrap()
        .sweep(columns, sweep, set, || Ok(()), &mut Remarks::default())
        .unwrap();
    result
}

fn every(step_ms: i64, values: &[f64]) -> Vec<(i64, f64)> {
    (0..)
        .map(|i| i * step_ms)
        .zip(values.iter().copied())
        .collect()
}

#[test]
fn windows_are_open_on_the_left() {
    let samples = every(10, &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(eval("count_over_time", &samples, 20, 20), Some(2.0));
    assert_eq!(eval("count_over_time", &samples, 20, 21), Some(3.0));
    assert_eq!(eval("first_over_time", &samples, 20, 20), Some(2.0));
    assert_eq!(eval("count_over_time", &samples, 100, 20), None);
}

#[test]
fn each_function_folds_its_window() {
    let samples = every(1000, &[9.0, 1.0, 4.0, 2.0, 8.0]);
    for (name, expected) in [
        ("sum_over_time", 15.0),
        ("avg_over_time", 3.75),
        ("min_over_time", 1.0),
        ("max_over_time", 8.0),
        ("count_over_time", 4.0),
        ("last_over_time", 8.0),
        ("first_over_time", 1.0),
        ("present_over_time", 1.0),
        ("stdvar_over_time", 7.1875),
        ("stddev_over_time", 7.1875_f64.sqrt()),
        ("changes", 3.0),
        ("resets", 1.0),
        ("idelta", 6.0),
        ("irate", 6.0),
        ("mad_over_time", 1.5),
        ("ts_of_first_over_time", 1.0),
        ("ts_of_last_over_time", 4.0),
        ("ts_of_max_over_time", 4.0),
        ("ts_of_min_over_time", 1.0),
    ] {
        assert_eq!(eval(name, &samples, 4000, 4000), Some(expected), "{name}");
    }
    let half = eval_with("quantile_over_time", &samples, 4000, 4000, [0.5, 0.0]);
    assert_eq!(half, Some(3.0));
}

#[test]
fn rates_extrapolate_to_the_borders() {
    // 10 per 15 s, the first sample 5 s after the start, the last at the end.
    let samples: Vec<_> = (0..5)
        .map(|i| {
            (
                5_000 + i * 15_000,
                100.0 + 10.0 * f64::from(i32::try_from(i).unwrap()),
            )
        })
        .collect();
    let increase = eval("increase", &samples, 65_000, 65_000).unwrap();
    assert!((increase - 40.0 * 65.0 / 60.0).abs() < 1e-12, "{increase}");
    let rate = eval("rate", &samples, 65_000, 65_000).unwrap();
    assert!((rate - 40.0 / 60.0).abs() < 1e-12, "{rate}");
    assert_eq!(eval("rate", &samples[..1], 65_000, 65_000), None);
}

#[test]
fn far_borders_are_half_an_interval_away() {
    // Samples at 100 s to 130 s in a window of 0 s to 300 s: half of 10 s is added on both sides.
    let samples: Vec<_> = (0..4)
        .map(|i| {
            (
                100_000 + i * 10_000,
                1000.0 + f64::from(i32::try_from(i).unwrap()),
            )
        })
        .collect();
    let delta = eval("delta", &samples, 300_000, 300_000).unwrap();
    assert!((delta - 3.0 * 40.0 / 30.0).abs() < 1e-12, "{delta}");
}

#[test]
fn a_counter_is_not_extrapolated_below_zero() {
    let samples = [(10_000, 1.0), (20_000, 11.0)];
    // One more second back the counter was at zero.
    let increase = eval("increase", &samples, 20_000, 20_000).unwrap();
    assert!((increase - 11.0).abs() < 1e-12, "{increase}");
    // A gauge may go below.
    let delta = eval("delta", &samples, 20_000, 20_000).unwrap();
    assert!((delta - 20.0).abs() < 1e-12, "{delta}");
}

#[test]
fn resets_inside_the_window_are_undone() {
    let samples = every(10_000, &[5.0, 50.0, 10.0, 20.0, 3.0, 6.0]);
    let increase = eval("increase", &samples, 50_000, 60_000).unwrap();
    // 6 - 5 + 50 + 20 over 50 s, and back to zero: less than the 10 s to the start.
    let expected = 71.0 * (50.0 + 50.0 * 5.0 / 71.0) / 50.0;
    assert!((increase - expected).abs() < 1e-9, "{increase} {expected}");
    // A reset at the first sample of the window belongs to the time before.
    let increase = eval("delta", &samples[2..4], 30_000, 20_000).unwrap();
    assert!((increase - 20.0).abs() < 1e-9, "{increase}");
}

#[test]
fn lines_are_found() {
    let samples = every(60_000, &[1.0, 3.0, 5.0, 7.0]);
    let deriv = eval("deriv", &samples, 180_000, 200_000).unwrap();
    assert!((deriv - 2.0 / 60.0).abs() < 1e-12);
    let ahead = eval_with("predict_linear", &samples, 180_000, 200_000, [60.0, 0.0]).unwrap();
    assert!((ahead - 9.0).abs() < 1e-12);
    let constant = every(60_000, &[4.0, 4.0]);
    assert_eq!(eval("deriv", &constant, 180_000, 200_000), Some(0.0));
    let infinite = every(60_000, &[f64::INFINITY, f64::INFINITY]);
    assert!(eval("deriv", &infinite, 180_000, 200_000).unwrap().is_nan());
}

#[test]
fn nan_is_replaced_in_min_and_max_but_kept_elsewhere() {
    let samples = every(10, &[f64::NAN, 2.0, f64::NAN, 1.0]);
    assert_eq!(eval("max_over_time", &samples, 30, 100), Some(2.0));
    assert_eq!(eval("min_over_time", &samples, 30, 100), Some(1.0));
    assert!(eval("sum_over_time", &samples, 30, 100).unwrap().is_nan());
    assert_eq!(eval("changes", &samples, 30, 100), Some(3.0));
}

fn smooth(times: &[i64], factors: [f64; 2]) -> Result<usize, Error> {
    let values = vec![1.0; times.len()];
    let sweep = Sweep {
        steps: &[(10, 10)],
        range_ms: 20,
        extension: None,
        reach_ms: (0, 0),
        params: [&factors[..1], &factors[1..]],
    };
    let columns = Columns::floats(times, &values);
    WindowFn::DoubleExponentialSmoothing.sweep(
        columns,
        sweep,
        |_, _| {},
        || Ok(()),
        &mut Remarks::default(),
    )
}

#[test]
fn factors_outside_their_range_are_refused() {
    for (factors, text) in [
        (
            [1.5, 0.5],
            "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.500000",
        ),
        (
            [0.5, 0.0],
            "invalid trend factor. Expected: 0 < tf < 1, got: 0.000000",
        ),
        (
            [f64::NEG_INFINITY, 0.5],
            "invalid smoothing factor. Expected: 0 < sf < 1, got: -Inf",
        ),
    ] {
        assert_eq!(smooth(&[0], factors).unwrap_err().to_string(), text);
        // Without samples nobody looks at the factors.
        assert_eq!(smooth(&[], factors).unwrap(), 0);
    }
    assert_eq!(smooth(&[0, 10], [0.5, 0.5]).unwrap(), 2);
    let samples = every(10, &[1.0, 2.0, 3.0]);
    let smoothed = eval_with("double_exponential_smoothing", &samples, 20, 30, [0.5, 0.5]);
    assert_eq!(smoothed, Some(3.0));
}

#[test]
fn many_windows_equal_single_ones() {
    let samples: Vec<_> = (0..200)
        .map(|i: i64| {
            (
                i * 7_000 + i % 5 * 300,
                f64::from(i32::try_from(i * 37 % 23).unwrap()),
            )
        })
        .collect();
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let steps: Vec<_> = (0..50).map(|i| (i * 30_000, i * 30_000 - 5_000)).collect();
    for name in [
        "rate",
        "increase",
        "delta",
        "sum_over_time",
        "max_over_time",
        "min_over_time",
        "avg_over_time",
        "changes",
        "irate",
        "resets",
    ] {
        let mut together = vec![None; steps.len()];
        let sweep = Sweep {
            steps: &steps,
            range_ms: 60_000,
            extension: None,
            reach_ms: (0, 0),
            params: [&[], &[]],
        };
        let columns = Columns::floats(&times, &values);
        WindowFn::from_name(name)
            .unwrap()
            .sweep(
                columns,
                sweep,
                |step, value| together[step] = value.as_float(),
                || Ok(()),
                &mut Remarks::default(),
            )
            .unwrap();
        for (got, (_, end_ms)) in together.iter().zip(&steps) {
            assert_eq!(
                *got,
                eval(name, &samples, *end_ms, 60_000),
                "{name} at {end_ms}"
            );
        }
    }
}

#[test]
fn a_line_far_from_its_samples_does_not_overflow() {
    let (times, values) = ([-30, -20], [1.0, 2.0]);
    let columns = Columns::floats(&times, &values);
    let sweep = Sweep {
        steps: &[(i64::MAX, -10)],
        range_ms: 60,
        extension: None,
        reach_ms: (0, 0),
        params: [&[0.0], &[]],
    };
    let mut results = 0;
    WindowFn::PredictLinear
        .sweep(
            columns,
            sweep,
            |_, _| results += 1,
            || Ok(()),
            &mut Remarks::default(),
        )
        .unwrap();
    assert_eq!(results, 1);
}
