//! `anchored` and `smoothed` over floats. Source of most numbers: Prometheus promqltest, extended_vectors.test.

use super::*;

fn eval_extended(
    name: &str,
    samples: &[(i64, f64)],
    end_and_range: (i64, i64),
    extension: RangeExtension,
) -> Option<f64> {
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let columns = Columns::floats(&times, &values);
    let (result, remarks) = eval_cells(name, columns, end_and_range, Some(extension));
    assert!(remarks.is_empty());
    result.and_then(|value| value.as_float())
}

#[test]
fn an_anchored_window_begins_before_its_border() {
    let samples = every(
        15_000,
        &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 10.0, 11.0, 12.0, 13.0],
    );
    for (end_ms, expected) in [(5_000, 0.0), (65_000, 4.0), (80_000, 7.0), (125_000, 7.0)] {
        let window = (end_ms, 60_000);
        let increase = eval_extended("increase", &samples, window, RangeExtension::Anchored);
        assert_eq!(increase, Some(expected), "{end_ms}");
    }
    let changes = |end_ms| {
        eval_extended(
            "changes",
            &samples,
            (end_ms, 60_000),
            RangeExtension::Anchored,
        )
    };
    assert_eq!(changes(60_000), Some(4.0));
    assert_eq!(changes(190_000), Some(1.0));
    // No sample inside: nothing to measure, however near the one before is.
    assert_eq!(changes(200_000), None);
}

#[test]
fn a_smoothed_window_is_interpolated_at_both_borders() {
    let samples = every(
        15_000,
        &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 10.0, 11.0, 12.0, 13.0],
    );
    for (end_ms, expected) in [
        (5_000, 1.0 / 3.0),
        (20_000, 4.0 / 3.0),
        (65_000, 5.0),
        (80_000, 7.0),
        (125_000, 6.0),
    ] {
        let window = (end_ms, 60_000);
        let increase = eval_extended("increase", &samples, window, RangeExtension::Smoothed);
        let increase = increase.unwrap();
        assert!((increase - expected).abs() < 1e-9, "{end_ms}: {increase}");
    }
    let reset = every(15_000, &[100.0, 10.0]);
    let rate = eval_extended("rate", &reset, (12_000, 10_000), RangeExtension::Smoothed);
    assert!((rate.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let resets = every(60_000, &[9.0, 8.0, 5.0, 4.0]);
    let window = (135_000, 120_000);
    let increase = eval_extended("increase", &resets, window, RangeExtension::Smoothed);
    assert_eq!(increase, Some(12.0));
    let delta = eval_extended("delta", &resets, window, RangeExtension::Smoothed);
    assert_eq!(delta, Some(-4.0));
}

#[test]
fn a_smoothed_step_lies_between_its_neighbours() {
    let samples = every(10_000, &[1.0, 2.0, 4.0]);
    let value = |ms| eval_extended("smoothed", &samples, (ms, 0), RangeExtension::Smoothed);
    for (ms, expected) in [
        (-1, None),
        (0, Some(1.0)),
        (15_000, Some(3.0)),
        (20_000, Some(4.0)),
        (319_999, Some(4.0)),
        (320_000, None),
    ] {
        assert_eq!(value(ms), expected, "{ms}");
    }
}

#[test]
fn a_range_with_borders_has_samples_on_them() {
    let columns = Columns::floats(&[0, 10, 20, 30], &[0.0, 1.0, 2.0, 6.0]);
    for (borders, extension, expected) in [
        (
            (5, 25),
            RangeExtension::Anchored,
            vec![(5, 0.0), (10, 1.0), (20, 2.0), (25, 2.0)],
        ),
        (
            (5, 25),
            RangeExtension::Smoothed,
            vec![(5, 0.5), (10, 1.0), (20, 2.0), (25, 4.0)],
        ),
        (
            (10, 20),
            RangeExtension::Smoothed,
            vec![(10, 1.0), (20, 2.0)],
        ),
        ((40, 50), RangeExtension::Anchored, vec![]),
    ] {
        let (before, after) = reach(Some(extension), 10);
        let seen = columns.between(borders.0 - before, borders.1 + after);
        let (times, values) = extend(seen, borders, extension);
        let found: Vec<_> = times.into_iter().zip(values).collect();
        assert_eq!(found, expected, "{borders:?} {extension:?}");
    }
    let nothing = Columns::floats(&[], &[]);
    assert!(
        extend(nothing, (0, 1), RangeExtension::Smoothed)
            .0
            .is_empty()
    );
}
