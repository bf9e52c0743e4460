//! Against what Prometheus computed, and against exact sums.

use super::*;
use crate::histogram::golden::{self, FIELDS, parse};

#[test]
fn sums_and_means_are_upstreams_to_the_last_bit() {
    let text = golden::read("histogram-sums.txt");
    let mut operands: Vec<Arc<FloatHistogram>> = Vec::new();
    let mut sum = None;
    let mut checked = 0;
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let histogram = parse(&fields[1..=FIELDS]);
        let found = match fields[0] {
            "h" => {
                operands.push(Arc::new(histogram));
                continue;
            }
            "sum" => {
                let (total, flags) = sum_of(&operands);
                assert_eq!(flags, fields[FIELDS + 1], "line {}", number + 1);
                sum = Some(total.clone());
                total
            }
            "compact" => {
                let mut compact = sum.take().unwrap();
                compact.compact(0);
                assert_eq!(compact.layout(), histogram.layout());
                compact
            }
            _ => mean_of(&std::mem::take(&mut operands)),
        };
        let equal = found.same_data(&histogram) || has_nan_sum(&found, &histogram);
        assert!(equal, "line {}:\n{found:?}\n{histogram:?}", number + 1);
        assert_eq!(found.counter_reset_hint, histogram.counter_reset_hint);
        checked += 1;
    }
    assert!(operands.is_empty() && checked % 3 == 0 && checked >= 270);
}

/// Compares without the sum of observations when it is any NaN.
fn has_nan_sum(found: &FloatHistogram, expected: &FloatHistogram) -> bool {
    let without_sum = |histogram: &FloatHistogram| {
        let mut histogram = histogram.clone();
        histogram.sum = 0.0;
        histogram
    };
    found.sum.is_nan()
        && expected.sum.is_nan()
        && without_sum(found).same_data(&without_sum(expected))
}

fn sum_of(operands: &[Arc<FloatHistogram>]) -> (FloatHistogram, String) {
    let mut sum = HistogramSum::new(Arc::clone(&operands[0]));
    let mut flags = String::new();
    for operand in &operands[1..] {
        let combined = sum.add(operand).unwrap();
        flags.push(if combined.hint_collision { '1' } else { '0' });
        flags.push(if combined.bounds_reconciled { '1' } else { '0' });
    }
    if flags.is_empty() {
        flags.push('-');
    }
    (FloatHistogram::clone(&sum.total()), flags)
}

fn mean_of(operands: &[Arc<FloatHistogram>]) -> FloatHistogram {
    let mut mean = HistogramMean::new(Arc::clone(&operands[0]));
    for operand in &operands[1..] {
        mean.add(operand).unwrap();
    }
    FloatHistogram::clone(&mean.mean())
}
