//! Against what Prometheus computed.

use crate::histogram::golden::{self, FIELDS, float, parse};
use crate::histogram::{CounterResetHint, FloatHistogram, Keep, NanObservations};

/// Reports whether both are the same number up to the last bits of logarithms, whose difference magnifies them.
fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-11 * a.abs().max(b.abs())
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

fn nan_observations(text: &str) -> NanObservations {
    match text {
        "0" => NanObservations::None,
        "1" => NanObservations::Skew,
        _ => NanObservations::Result,
    }
}

#[test]
fn quantiles_fractions_moments_and_texts_are_upstreams() {
    let text = golden::read("histogram-statistics.txt");
    let mut histogram = FloatHistogram::stale();
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let at = || format!("line {}: {histogram}", number + 1);
        match fields[0] {
            "h" => {
                histogram = parse(&fields[1..]);
                continue;
            }
            "quantile" => {
                let found = histogram.quantile(float(fields[1]));
                assert!(close(found.value, float(fields[2])), "{found:?} {}", at());
                assert_eq!(
                    found.nan_observations,
                    nan_observations(fields[3]),
                    "{}",
                    at()
                );
            }
            "fraction" => {
                let found = histogram.fraction(float(fields[1]), float(fields[2]));
                let error = (found.value - float(fields[3])).abs();
                assert!(
                    error < 1e-14 || close(found.value, float(fields[3])),
                    "{found:?} {}",
                    at()
                );
                assert_eq!(
                    found.nan_observations,
                    nan_observations(fields[4]),
                    "{}",
                    at()
                );
            }
            "moments" => {
                assert!(same(histogram.average(), float(fields[1])), "{}", at());
                assert!(same(histogram.variance(), float(fields[2])), "{}", at());
                assert!(
                    same(histogram.standard_deviation(), float(fields[3])),
                    "{}",
                    at()
                );
            }
            _ => {
                assert_eq!(histogram.size_bytes(), fields[1].parse::<usize>().unwrap());
                let (plain, literal) = line.split_once(" | ").unwrap();
                assert!(plain.ends_with(&histogram.to_string()), "{}", at());
                assert_eq!(histogram.literal().to_string(), literal, "{}", at());
            }
        }
        checked += 1;
    }
    assert!(checked >= 400);
}

#[test]
fn trims_and_multiples_are_upstreams() {
    let text = golden::read("histogram-trims.txt");
    let mut histogram = FloatHistogram::stale();
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        if fields[0] == "h" {
            histogram = parse(&fields[1..=FIELDS]);
            continue;
        }
        let by = float(fields[1]);
        let expected = parse(&fields[2..]);
        let mut found = histogram.clone();
        match fields[0] {
            "below" => found.trim(Keep::Below, by),
            "above" => found.trim(Keep::Above, by),
            "multiply" => found.multiply(by),
            _ => found.divide(by),
        }
        if matches!(fields[0], "multiply" | "divide") {
            found.compact(0);
        }
        let at = || format!("line {}: {line}\n{histogram:?}\n{found:?}", number + 1);
        assert!(golden::same_layout(&found, &expected), "{}", at());
        assert!(
            golden::numbers(&found)
                .zip(golden::numbers(&expected))
                .all(|(a, b)| close(a, b)),
            "{}",
            at()
        );
        assert_eq!(found.counter_reset_hint, expected.counter_reset_hint);
        checked += 1;
    }
    assert!(checked >= 400);
}

#[test]
fn subtraction_keeps_the_rules_of_hints() {
    use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
    let table = [
        (Unknown, CounterReset, Unknown, false),
        (CounterReset, Unknown, Unknown, false),
        (CounterReset, NotCounterReset, Unknown, true),
        (NotCounterReset, CounterReset, Unknown, true),
        (NotCounterReset, NotCounterReset, NotCounterReset, false),
        (Gauge, CounterReset, Gauge, false),
        (Unknown, Gauge, Gauge, false),
        (NotCounterReset, Gauge, Gauge, false),
    ];
    for (own, other, expected, collides) in table {
        let histogram = |hint| {
            let mut histogram = FloatHistogram::new(std::sync::Arc::default(), &[], &[]).unwrap();
            histogram.counter_reset_hint = hint;
            histogram
        };
        let (mut sum, mut difference) = (histogram(own), histogram(own));
        let combined = [
            sum.add(&histogram(other)).unwrap(),
            difference.subtract(&histogram(other)).unwrap(),
        ];
        assert!(
            combined
                .iter()
                .all(|combined| combined.hint_collision == collides)
        );
        assert_eq!(
            [sum.counter_reset_hint, difference.counter_reset_hint],
            [expected; 2]
        );
    }
}
