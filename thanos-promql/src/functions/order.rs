//! The orders that Go's sorting of samples has: NaN comes first, ties keep their place.

use std::cmp::Ordering;

/// Compares ascending with NaN below everything.
pub(crate) fn nan_first(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
    }
}

/// Compares ascending with NaN above everything.
pub(crate) fn nan_last(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
    }
}

/// Compares descending with NaN above everything.
pub(crate) fn descending_nan_last(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => b.partial_cmp(&a).expect("neither is NaN"),
        _ => nan_last(a, b),
    }
}

/// Compares texts as people do: runs of digits by their number.
///
/// Source: the `natsort` package that Prometheus sorts labels with; equal numbers of different lengths fall
/// back to the order of bytes.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a.as_bytes(), b.as_bytes());
    while !rest_a.is_empty() && !rest_b.is_empty() {
        let (run_a, after_a) = split_run(rest_a);
        let (run_b, after_b) = split_run(rest_b);
        let both_numbers = run_a[0].is_ascii_digit() && run_b[0].is_ascii_digit();
        let order = if both_numbers {
            compare_digits(run_a, run_b)
        } else {
            run_a.cmp(run_b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (rest_a, rest_b) = (after_a, after_b);
    }
    rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b))
}

fn split_run(text: &[u8]) -> (&[u8], &[u8]) {
    let is_digit = text[0].is_ascii_digit();
    let end = text
        .iter()
        .position(|byte| byte.is_ascii_digit() != is_digit)
        .unwrap_or(text.len());
    text.split_at(end)
}

/// COMPAT: what does not fit 64 bits is a text for `natsort`.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i64>().ok();
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut texts = ["a10", "a9", "b", "a", "a1b2", "a1b10", "10", "9"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["9", "10", "a", "a1b2", "a1b10", "a9", "a10", "b"]);
        let long = "12345678901234567890";
        assert_eq!(natural("9", "10"), Ordering::Less);
        assert_eq!(natural("9", long), Ordering::Greater);
        assert_eq!(natural("007", "8"), Ordering::Less);
    }

    #[test]
    fn nan_has_its_place() {
        let mut values = [2.0, f64::NAN, 1.0];
        values.sort_by(|a, b| nan_first(*a, *b));
        assert!(values[0].is_nan());
        values.sort_by(|a, b| descending_nan_last(*a, *b));
        assert_eq!(values[..2], [2.0, 1.0]);
    }
}
