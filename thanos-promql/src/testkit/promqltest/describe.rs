//! Values as people read them in a test report.

use std::fmt::Write as _;

use thanos_core::histogram::{CounterResetHint, FloatHistogram, SideBuckets};
use thanos_core::text::{FloatFormat, GoFloat};
use thanos_core::time::{SignedDuration, Timestamp};

use super::values::Slot;
use crate::value::SampleValue;

/// Returns a float as Go prints it.
pub(super) fn float(value: f64) -> String {
    if thanos_core::histogram::is_stale_nan(value) {
        return "stale".to_owned();
    }
    GoFloat(value, FloatFormat::General).to_string()
}

/// Returns a time as the duration since the epoch that scripts write.
pub(super) fn time(time: Timestamp) -> String {
    SignedDuration::from_millis(time.as_millis())
        .prometheus()
        .to_string()
}

pub(super) fn value(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => float(*value),
        SampleValue::Histogram(value) => histogram(value),
    }
}

pub(super) fn slot(slot: &Slot) -> String {
    match slot {
        Slot::Omitted => "no sample".to_owned(),
        Slot::Float(value) => float(*value),
        Slot::Histogram {
            histogram: value, ..
        } => histogram(value),
    }
}

/// Returns a histogram in the words of scripts.
///
/// Source: Prometheus model/histogram, `FloatHistogram.TestExpression`.
pub(super) fn histogram(histogram: &FloatHistogram) -> String {
    let layout = histogram.layout();
    let mut words = Vec::new();
    if layout.schema != 0 {
        words.push(format!("schema:{}", layout.schema));
    }
    for (name, value) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", layout.zero_threshold),
    ] {
        if value != 0.0 {
            words.push(format!("{name}:{}", float(value)));
        }
    }
    if layout.has_custom_buckets() {
        let bounds = layout.custom_values.iter().copied();
        words.push(format!("custom_values:{}", list(bounds)));
    }
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::CounterReset => words.push("counter_reset_hint:reset".to_owned()),
        CounterResetHint::NotCounterReset => words.push("counter_reset_hint:not_reset".to_owned()),
        CounterResetHint::Gauge => words.push("counter_reset_hint:gauge".to_owned()),
    }
    push_side(&mut words, ["offset", "buckets"], histogram.positive());
    push_side(&mut words, ["n_offset", "n_buckets"], histogram.negative());
    format!("{{{{{}}}}}", words.join(" "))
}

/// The most buckets that are written out; gaps between buckets count.
const BUCKETS_MAX: usize = 1000;

fn push_side(words: &mut Vec<String>, [offset, buckets]: [&str; 2], side: SideBuckets<'_>) {
    let mut counts = Vec::new();
    let mut next = None;
    for bucket in side {
        match next {
            None if bucket.index != 0 => words.push(format!("{offset}:{}", bucket.index)),
            None => {}
            Some(next) => {
                let gap = usize::try_from(bucket.index - next).unwrap_or(0);
                counts.resize(counts.len() + gap.min(BUCKETS_MAX), 0.0);
            }
        }
        counts.push(bucket.count);
        next = Some(bucket.index + 1);
        if counts.len() > BUCKETS_MAX {
            break;
        }
    }
    if !counts.is_empty() {
        words.push(format!("{buckets}:{}", list(counts.into_iter())));
    }
}

fn list(values: impl Iterator<Item = f64>) -> String {
    let mut text = String::from("[");
    for (at, value) in values.enumerate() {
        let space = if at == 0 { "" } else { " " };
        write!(text, "{space}{}", float(value)).expect("writing to a string cannot fail");
    }
    text + "]"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Options, series};

    #[test]
    fn a_histogram_is_described_as_scripts_write_it() {
        for text in [
            "{{}}",
            "{{schema:1 count:5 sum:2.5 z_bucket:1 z_bucket_w:0.001 offset:-1 buckets:[1 0 2] n_offset:2 n_buckets:[1]}}",
            "{{schema:-53 count:3 custom_values:[0.5 1] counter_reset_hint:gauge buckets:[1 2]}}",
        ] {
            let series = series::parse(&format!("x {text}"), &Options::default()).unwrap();
            let series::SampleRun::Histograms(run) = &series.runs[0] else {
                panic!("{text} is a histogram");
            };
            assert_eq!(histogram(&run.first), text);
        }
    }
}
