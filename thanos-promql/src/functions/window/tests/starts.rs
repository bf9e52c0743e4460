//! Start timestamps. The rules are those of Prometheus `promql/functions.go`.

use super::*;

fn eval_with_starts(
    name: &str,
    samples: &[(i64, i64, f64)],
    end_and_range: (i64, i64),
) -> (Option<f64>, u64) {
    let starts: Vec<_> = samples.iter().map(|sample| sample.0).collect();
    let times: Vec<_> = samples.iter().map(|sample| sample.1).collect();
    let values: Vec<_> = samples.iter().map(|sample| sample.2).collect();
    let columns = Columns {
        starts: &starts,
        ..Columns::floats(&times, &values)
    };
    let (result, remarks) = eval_cells(name, columns, end_and_range, None);
    (
        result.and_then(|value| value.as_float()),
        remarks.overlaps(),
    )
}

#[test]
fn a_first_sample_whose_start_is_inside_counts_from_zero() {
    let window = (200_000, 100_000);
    // One sample is enough, and what follows it is not extrapolated.
    let one = [(110_000, 150_000, 40.0)];
    assert_eq!(eval_with_starts("increase", &one, window), (Some(40.0), 0));
    for start in [0, 90_000, 100_000, 150_000, 160_000] {
        let one = [(start, 150_000, 40.0)];
        assert_eq!(eval_with_starts("increase", &one, window), (None, 0));
    }
    let two = [(110_000, 150_000, 40.0), (110_000, 200_000, 100.0)];
    assert_eq!(eval_with_starts("increase", &two, window), (Some(100.0), 0));
    assert_eq!(eval_with_starts("rate", &two, window), (Some(1.0), 0));
}

#[test]
fn a_start_after_the_last_sample_is_a_reset() {
    // Start of the second sample, and whether it tells of a reset when the first one starts at 20 s.
    for (start, is_reset) in [
        (20_000, false),
        (0, false),
        (99_999, false),
        (100_000, true),
        (100_001, true),
        (199_999, true),
        (200_000, false),
        (200_001, false),
    ] {
        let samples = [(20_000, 100_000, 5.0), (start, 200_000, 7.0)];
        let resets = eval_with_starts("resets", &samples, (200_000, 150_000)).0;
        assert_eq!(resets, Some(f64::from(u8::from(is_reset))), "{start}");
        let irate = eval_with_starts("irate", &samples, (200_000, 150_000)).0;
        assert_eq!(irate, Some(if is_reset { 0.07 } else { 0.02 }), "{start}");
    }
    // Without a proper start of the sample before, a start at that sample means nothing.
    for before in [0, 100_000, 100_001] {
        let samples = [(before, 100_000, 5.0), (100_000, 200_000, 7.0)];
        let resets = eval_with_starts("resets", &samples, (200_000, 150_000)).0;
        assert_eq!(resets, Some(0.0), "{before}");
    }
}

#[test]
fn starts_that_overlap_are_remarked_once_for_a_window() {
    let samples = [
        (1, 100_000, 1.0),
        (50_000, 200_000, 2.0),
        (150_000, 300_000, 3.0),
    ];
    assert_eq!(eval_with_starts("rate", &samples, (300_000, 300_000)).1, 1);
    assert_eq!(eval_with_starts("rate", &samples, (300_000, 150_000)).1, 1);
    let same = [(50_000, 100_000, 1.0), (50_000, 200_000, 2.0)];
    assert_eq!(eval_with_starts("rate", &same, (300_000, 300_000)).1, 0);
}
