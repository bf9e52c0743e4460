//! Lines `metric@st -1m _x3 -30s-1mx2`: start timestamps, relative to the samples of the next line.

use thanos_core::labels::Labels;
use thanos_core::time::SignedDuration;

use super::script::Problem;
use super::values;
use crate::parser;

/// The most start timestamps of one line.
const COUNT_MAX: u64 = 1_000_000;

/// The start timestamps of a series; none where the line has `_`.
#[derive(Debug)]
pub(super) struct StartTimes {
    pub(super) line: usize,
    pub(super) labels: Labels,
    pub(super) offsets_ms: Vec<Option<i64>>,
}

/// Reports whether a line gives start timestamps.
pub(super) fn is_start_times(text: &str) -> bool {
    split(text).is_some()
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (metric, offsets) = text.trim().split_once([' ', '\t'])?;
    Some((metric.strip_suffix("@st")?, offsets))
}

/// Reads a line for which [`is_start_times`] holds.
pub(super) fn parse(
    line: usize,
    text: &str,
    options: &parser::Options,
) -> Result<StartTimes, Problem> {
    let (metric, offsets) =
        split(text).ok_or_else(|| Problem::new(line, "not a line of start timestamps"))?;
    let (labels, _) = values::parse(line, &format!("{metric} _"), options).map_err(|problem| {
        let reason = problem.what;
        Problem::new(
            line,
            format!("invalid @st line metric {metric:?}: {reason}"),
        )
    })?;
    let mut offsets_ms = Vec::new();
    for item in offsets.split_whitespace() {
        push_item(item, &mut offsets_ms)
            .map_err(|why| Problem::new(line, format!("invalid @st item {item:?}: {why}")))?;
    }
    Ok(StartTimes {
        line,
        labels,
        offsets_ms,
    })
}

fn push_item(item: &str, offsets_ms: &mut Vec<Option<i64>>) -> Result<(), String> {
    if item == "_" {
        offsets_ms.push(None);
        return Ok(());
    }
    if let Some(count) = item.strip_prefix("_x") {
        let count = repetitions(count, offsets_ms.len())?;
        if count == 0 {
            return Err("invalid repeat count".to_owned());
        }
        offsets_ms.extend((0..count).map(|_| None));
        return Ok(());
    }
    let (first, rest) = offset_prefix(item)?;
    let (step, rest) = match rest.chars().next() {
        None => {
            offsets_ms.push(Some(first));
            return Ok(());
        }
        Some('x') => (0, rest),
        // The sign belongs to the step.
        Some('+' | '-') => offset_prefix(rest)?,
        Some(other) => return Err(format!("unexpected character {other:?} after duration")),
    };
    let count = rest
        .strip_prefix('x')
        .ok_or("expected 'x<count>' after step duration")?;
    // The first is written, the others are its repetitions.
    let count = repetitions(count, offsets_ms.len())? + 1;
    let steps = (0..count).map(|at| {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        Some(first.saturating_add(step.saturating_mul(at)))
    });
    offsets_ms.extend(steps);
    Ok(())
}

fn repetitions(text: &str, known: usize) -> Result<u64, String> {
    let count: u64 = text.parse().map_err(|_| "invalid repeat count")?;
    if count.saturating_add(known as u64) >= COUNT_MAX {
        return Err(format!("more than {COUNT_MAX} values"));
    }
    Ok(count)
}

/// Reads a duration of one unit with an optional sign; returns milliseconds and the rest.
fn offset_prefix(text: &str) -> Result<(i64, &str), String> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(format!("expected digits in duration {text:?}"));
    }
    // No unit has an x: it begins the count of repetitions.
    let is_unit = |byte: &u8| byte.is_ascii_alphabetic() && *byte != b'x';
    let unit = rest[digits..].bytes().take_while(is_unit).count();
    let (duration, rest) = rest.split_at(digits + unit);
    let ms = SignedDuration::parse_prometheus(duration)
        .map_err(|error| error.to_string())?
        .as_millis();
    Ok((if is_negative { -ms } else { ms }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_repeated_and_stepped() {
        let text = "x{a=\"b\"}@st \t _ _x2 -1m 5sx1 -30s-1mx2 0+1msx1 -0ms";
        assert!(is_start_times(text));
        let parsed = parse(1, text, &parser::Options::all()).unwrap();
        assert_eq!(parsed.labels.get("a").as_deref(), Some("b"));
        let expected = [
            None,
            None,
            None,
            Some(-60_000),
            Some(5_000),
            Some(5_000),
            Some(-30_000),
            Some(-90_000),
            Some(-150_000),
            Some(0),
            Some(1),
            Some(0),
        ];
        assert_eq!(parsed.offsets_ms, expected);
    }

    #[test]
    fn other_lines_and_wrong_items_are_refused() {
        for other in ["x 1 2", "x@st", "x @st 1m"] {
            assert!(!is_start_times(other), "{other}");
        }
        for (item, why) in [
            ("1m2", "unexpected character '2'"),
            ("1m+2mx", "invalid repeat count"),
            ("1m+2m", "expected 'x<count>'"),
            ("_x0", "invalid repeat count"),
            ("5q", "unknown unit"),
            ("m", "expected digits"),
            ("1mx99999999999", "more than 1000000"),
        ] {
            let text = format!("x@st {item}");
            let problem = parse(7, &text, &parser::Options::all()).unwrap_err();
            assert!(problem.what.contains(why), "{}", problem.what);
            assert_eq!(problem.line, 7);
        }
    }
}
