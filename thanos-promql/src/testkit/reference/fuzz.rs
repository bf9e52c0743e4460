//! An entry for fuzzers of the engine.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::executor::block_on;
use thanos_core::time::Timestamp;

use super::data;
use crate::engine::{Engine, EngineOptions, Query};
use crate::error::ErrorKind;
use crate::parser;

/// The bytes that a query may hold: little, so that limits are reached.
const QUERY_BYTES_MAX: u64 = 8 << 20;
/// The points that a query may look at, so that no input takes long.
const SAMPLES_MAX: u64 = 200_000;

/// Evaluates `data` over a few random series. The first byte chooses them, the second switches settings, the third
/// chooses the steps; the rest is the expression.
///
/// # Panics
///
/// When the engine calls its failure a bug.
pub fn fuzz_query(data: &[u8]) {
    let Some(([seed, switches, steps], text)) = data.split_first_chunk() else {
        return;
    };
    let is_on = |bit: u8| switches & (1 << bit) != 0;
    let engine = Engine::new(EngineOptions {
        timeout: Duration::from_secs(5),
        samples_max: SAMPLES_MAX,
        threads: NonZeroUsize::MIN,
        query_bytes_max: QUERY_BYTES_MAX,
        delayed_name_removal: is_on(0),
        start_timestamps: is_on(1),
        type_and_unit_labels: is_on(2),
        parser: parser::Options {
            depth_max: 100,
            ..parser::Options::all()
        },
        ..EngineOptions::default()
    });
    let text = String::from_utf8_lossy(text);
    let start = Timestamp::from_millis(data::END_MS / 2);
    let query = if *steps == 0 {
        Query::instant(&*text, start)
    } else {
        let step = Duration::from_millis(if is_on(3) { 15_000 } else { 7 });
        let span = i64::try_from(step.as_millis()).unwrap_or(1) * (i64::from(*steps) - 1);
        let end = Timestamp::from_millis(start.as_millis() + span);
        Query::range(&*text, start, end, step)
    };
    let (stored, _) = data::stored(&data::series(u64::from(*seed)));
    if let Err(error) = block_on(engine.query(&stored.into_queryable(), query)) {
        assert_ne!(error.kind(), ErrorKind::Internal, "{text:?}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Forms of the language whose `?` is replaced by a form again, or by one of `LEAVES` in the end.
    const FORMS: &[&str] = &[
        "?",
        "sum by (job) (?)",
        "topk(3, ?)",
        "limitk(2, ?)",
        "quantile(0.9, ?)",
        "count_values(\"v\", ?)",
        "stddev(?)",
        "avg(?)",
        "(? + ?)",
        "(? / on (job) group_left (zone) ?)",
        "(? == bool ?)",
        "(? and ?)",
        "(? or ?)",
        "(? unless on () ?)",
        "(? </ ?)",
        "(? + fill(0) ?)",
        "-?",
        "(? ^ ?)",
        "rate(?[5m:7s])",
        "max_over_time(?[1m:1s] offset -1m)",
        "quantile_over_time(0.5, ?[1y:1ms])",
        "deriv(?[2m:])",
        "absent(?)",
        "absent_over_time(?[1m:10s])",
        "histogram_quantile(0.9, ?)",
        "histogram_fraction(0, 1, ?)",
        "histogram_count(?)",
        "info(?)",
        "label_replace(?, \"job\", \"$1\", \"instance\", \"(.*)\")",
        "label_join(?, \"le\", \"-\", \"job\", \"zone\")",
        "sort_by_label(?, \"job\")",
        "sort_desc(?)",
        "scalar(?)",
        "vector(?)",
        "clamp(?, -1, 1e300)",
        "round(?, 0)",
        "timestamp(?)",
        "day_of_year(?)",
        "double_exponential_smoothing(?[1m:5s], 0.5, 0.5)",
        "predict_linear(?[1m:5s], 1e300)",
    ];
    const LEAVES: &[&str] = &[
        "load",
        "requests_total",
        "latency_bucket",
        "size",
        "sized",
        "mixed",
        "{job=~\".+\"}",
        "1",
        "NaN",
        "-Inf",
        "time()",
        "rate(requests_total[1m])",
        "rate(size_total[1m] anchored)",
        "increase(mixed[1m] smoothed)",
        "changes(load[1ms])",
        "last_over_time(mixed[20d])",
        "target_info offset 1m",
        "load @ end()",
        "sum(size) offset -1h",
        "xrate(requests_total[30s])",
        "info(load, {zone=~\".*\"})",
        "time",
    ];

    /// Puts forms and leaves together, as `choices` say.
    fn expression(choices: &[usize]) -> String {
        let mut text = "?".to_owned();
        for choice in choices {
            text = text.replacen('?', FORMS[choice % FORMS.len()], 1);
        }
        for choice in choices.iter().cycle() {
            if !text.contains('?') {
                break;
            }
            let leaf = LEAVES[(choice / 7 + text.len()) % LEAVES.len()];
            text = text.replacen('?', leaf, 1);
        }
        text
    }

    #[test]
    fn most_forms_are_valid() {
        let is_valid = |form: &&&str| {
            let text = form.replace('?', "load");
            parser::parse(&text, &parser::Options::all()).is_ok()
        };
        let invalid: Vec<_> = FORMS.iter().filter(|form| !is_valid(form)).collect();
        assert_eq!(invalid, [&"vector(?)"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_expression_is_a_bug(
            settings in any::<[u8; 3]>(),
            choices in proptest::collection::vec(0_usize..1000, 1..5),
        ) {
            fuzz_query(&[&settings, expression(&choices).as_bytes()].concat());
        }

        #[test]
        fn no_bytes_are_a_bug(data in proptest::collection::vec(any::<u8>(), 0..40)) {
            fuzz_query(&data);
        }
    }
}
