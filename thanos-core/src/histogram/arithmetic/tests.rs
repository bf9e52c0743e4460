//! Against what Prometheus' histogram package computed from the same random operands.

use super::*;

fn list<T>(text: &str, parse: impl Fn(&str) -> T) -> Vec<T> {
    text.split(',')
        .filter(|item| *item != "-")
        .map(parse)
        .collect()
}

fn spans(text: &str) -> Vec<Span> {
    list(text, |item| {
        let (offset, length) = item.split_once(':').unwrap();
        Span {
            offset: offset.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    })
}

fn parse(fields: &[&str]) -> FloatHistogram {
    let float = |text: &str| text.parse::<f64>().unwrap();
    let layout = BucketLayout {
        schema: fields[1].parse().unwrap(),
        zero_threshold: float(fields[2]),
        positive_spans: spans(fields[6]),
        negative_spans: spans(fields[7]),
        custom_values: list(fields[10], float),
    };
    let (positive, negative) = (list(fields[8], float), list(fields[9], float));
    let mut histogram = FloatHistogram::new(Arc::new(layout), &positive, &negative).unwrap();
    histogram.counter_reset_hint = match fields[0] {
        "0" => CounterResetHint::Unknown,
        "1" => CounterResetHint::CounterReset,
        "2" => CounterResetHint::NotCounterReset,
        _ => CounterResetHint::Gauge,
    };
    histogram.zero_count = float(fields[3]);
    histogram.count = float(fields[4]);
    histogram.sum = float(fields[5]);
    histogram
}

#[test]
fn sums_differences_and_resets_are_upstreams() {
    let path = format!(
        "{}/testdata/chunks/histogram-arithmetic.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
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
                assert_eq!(result, expected, "line {}: {a:?} {b:?}", number + 1);
                assert!(result.same_data(&expected));
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
