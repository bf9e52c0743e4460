//! Thanos' functions. Source of the cases: promql-engine `engine/engine_test.go`, `TestXFunctions`.

use super::*;

fn counter(step_ms: i64, values: &[f64]) -> Vec<(i64, f64)> {
    every(step_ms, values)
}

fn eval_extra(name: &str, samples: &[(i64, f64)], end_ms: i64, range_ms: i64) -> f64 {
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let columns = Columns::floats(&times, &values);
    let (result, _) = eval_cells(name, columns, (end_ms, range_ms), None);
    result.unwrap().as_float().unwrap()
}

#[test]
fn windows_are_measured_by_the_sample_before() {
    let foo: Vec<f64> = (0..=10).map(|i| f64::from(i) * 10.0).collect();
    let bar: Vec<f64> = (0..=5).chain(0..=4).map(|i| f64::from(i) * 10.0).collect();
    let (foo, bar) = (counter(5_000, &foo), counter(5_000, &bar));
    for (name, end_ms, range_ms, expected) in [
        ("xincrease", 50_000, 50_000, [100.0, 90.0]),
        ("xincrease", 50_000, 5_000, [10.0, 10.0]),
        ("xincrease", 50_000, 10_000, [20.0, 20.0]),
        ("xincrease", 50_000, 3_000, [10.0, 10.0]),
        ("xincrease", 17_000, 5_000, [10.0, 10.0]),
        ("xincrease", 17_000, 10_000, [20.0, 20.0]),
        ("xrate", 50_000, 50_000, [2.0, 1.8]),
        ("xrate", 50_000, 100_000, [1.0, 0.9]),
        ("xrate", 50_000, 5_000, [2.0, 2.0]),
        ("xrate", 50_000, 3_000, [2.0, 2.0]),
    ] {
        let found = [&foo, &bar].map(|samples| eval_extra(name, samples, end_ms, range_ms));
        for (found, expected) in found.into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-9,
                "{name} {end_ms} {range_ms}: {found}"
            );
        }
    }
}

#[test]
fn deltas_are_stretched_to_the_range() {
    let foo = counter(300_000, &[0.0, 50.0, 300.0, 150.0, 200.0]);
    let bar = counter(300_000, &[200.0, 150.0, 300.0, 50.0, 0.0]);
    for (range_ms, expected) in [(1_200_000, 200.0), (1_140_000, 190.0), (60_000, 10.0)] {
        let found = eval_extra("xdelta", &foo, 1_200_000, range_ms);
        assert!((found - expected).abs() < 1e-9, "{range_ms}: {found}");
        let found = eval_extra("xdelta", &bar, 1_200_000, range_ms);
        assert!((found + expected).abs() < 1e-9, "{range_ms}: {found}");
    }
}

#[test]
fn an_increase_counts_from_zero_when_the_series_appears() {
    let one = [(900_000, 5.0)];
    assert_eq!(eval_extra("xincrease", &one, 4_500_000, 4_500_000), 5.0);
    assert_eq!(eval_extra("xincrease", &one, 1_000_000, 50_000), 0.0);
    let flat = counter(30_000, &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(eval_extra("xincrease", &flat, 240_000, 121_000), 1.0);
    assert_eq!(eval_extra("xincrease", &flat, 240_000, 120_000), 0.0);
    let reset = counter(300_000, &[0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0]);
    assert_eq!(eval_extra("xincrease", &reset, 1_800_000, 1_800_000), 7.0);
}

#[test]
fn the_sample_before_may_be_an_hour_away() {
    let samples = [(0, 1.0), (3_600_000, 5.0)];
    let columns = Columns::floats(&[0], &[1.0]);
    assert_eq!(eval_extra("xincrease", &samples, 3_600_000, 1_000), 4.0);
    assert_eq!(
        eval_cells("xincrease", columns, (3_601_000, 1_000), None).0,
        None
    );
}
