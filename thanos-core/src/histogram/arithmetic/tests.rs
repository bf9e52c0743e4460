//! Against what Prometheus' histogram package computed from the same random operands.

use super::*;
use crate::histogram::golden::{self, parse};

#[test]
fn sums_differences_and_resets_are_upstreams() {
    let text = golden::read("histogram-arithmetic.txt");
    let (mut a, mut b) = (FloatHistogram::stale(), FloatHistogram::stale());
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[0] {
            "a" => a = parse(&fields[1..]),
            "b" => b = parse(&fields[1..]),
            "reset" => {
                let found = (a.detect_reset(&b), b.detect_reset(&a));
                let expected = (fields[1] == "true", fields[2] == "true");
                assert_eq!(found, expected, "line {}: {a:?} {b:?}", number + 1);
            }
            operation => {
                let mut result = a.clone();
                let told = if operation == "add" {
                    result.add(&b)
                } else {
                    result.subtract(&b)
                };
                result.compact(0);
                let expected = parse(&fields[1..12]);
                let agree = golden::agree(&result, &expected)
                    && result.layout() == expected.layout()
                    && result.counter_reset_hint == expected.counter_reset_hint;
                assert!(
                    agree,
                    "line {}: {a:?}\n{b:?}\n{result:?}\n{expected:?}",
                    number + 1
                );
                let expected = Combined {
                    hint_collision: fields[12] == "true",
                    bounds_reconciled: fields[13] == "true",
                };
                assert_eq!(told.unwrap(), expected, "line {}", number + 1);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 300);
}

#[test]
fn equal_layouts_stay_shared() {
    let layout = Arc::new(BucketLayout {
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        ..BucketLayout::default()
    });
    let mut a = FloatHistogram::new(Arc::clone(&layout), &[1.0, 2.0], &[]).unwrap();
    a.add(&a.clone()).unwrap();
    a.multiply(1.5);
    assert_eq!(a.buckets(), [3.0, 6.0]);
    assert!(Arc::ptr_eq(a.layout(), &layout));
}

#[test]
fn scaling_by_a_negative_number_makes_a_gauge_and_by_zero_no_buckets() {
    let layout = Arc::new(BucketLayout {
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        ..BucketLayout::default()
    });
    let mut a = FloatHistogram::new(layout, &[1.0, 2.0], &[]).unwrap();
    a.count = 3.0;
    a.multiply(-2.0);
    assert_eq!(
        (a.count, a.counter_reset_hint),
        (-6.0, CounterResetHint::Gauge)
    );
    a.divide(0.0);
    assert_eq!(a.count, f64::NEG_INFINITY);
    assert!(a.buckets().is_empty() && a.layout().positive_spans.is_empty());
}

#[test]
fn custom_and_exponential_buckets_do_not_mix() {
    let custom = Arc::new(BucketLayout {
        schema: crate::histogram::CUSTOM_BUCKETS_SCHEMA,
        ..BucketLayout::default()
    });
    let mut a = FloatHistogram::new(custom, &[], &[]).unwrap();
    let b = FloatHistogram::new(Arc::default(), &[], &[]).unwrap();
    assert!(a.add(&b).is_err());
}
