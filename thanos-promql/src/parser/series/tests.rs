//! Values and messages are those of Prometheus (HEAD of August 2026) for the same input.

use thanos_core::histogram::{CounterResetHint, is_stale_nan};

use super::{HistogramRun, SampleRun, SeriesDescription, parse};
use crate::parser::{Options, UnaryOp};

fn described(text: &str) -> SeriesDescription {
    parse(text, &Options::default()).unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

/// Writes all samples of the floats and gaps in `text`.
fn samples(text: &str) -> Vec<String> {
    let mut samples = Vec::new();
    for run in described(text).runs {
        match run {
            SampleRun::Omitted { count } => samples.extend((0..count).map(|_| "_".to_owned())),
            SampleRun::Floats(run) => samples.extend(run.samples().map(|value| {
                if is_stale_nan(value) {
                    "stale".to_owned()
                } else {
                    value.to_string()
                }
            })),
            SampleRun::Histograms(run) => panic!("{run:?}"),
        }
    }
    samples
}

fn histograms(text: &str) -> Vec<HistogramRun> {
    let runs = described(text).runs.into_iter();
    runs.map(|run| match run {
        SampleRun::Histograms(run) => run,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn labels_stand_in_front() {
    for (text, labels) in [
        ("", "{}"),
        ("m", "{__name__=\"m\"}"),
        ("{} 1", "{}"),
        ("m{b=\"2\",a='1',} 1", "{__name__=\"m\", a=\"1\", b=\"2\"}"),
        (
            "{\"m.x\", \"a b\"=`1`} 1",
            "{__name__=\"m.x\", \"a b\"=\"1\"}",
        ),
        ("sum{by=\"x\"} 1", "{__name__=\"sum\", by=\"x\"}"),
        ("a:b 1", "{__name__=\"a:b\"}"),
    ] {
        assert_eq!(described(text).labels.to_string(), labels, "{text}");
    }
}

#[test]
fn floats_repeat_and_step() {
    for (text, expected) in [
        ("m", ""),
        ("m   ", ""),
        ("m 1 -2 +.5 1e3", "1 -2 0.5 1000"),
        ("m 1x3", "1 1 1 1"),
        ("m 1x0", "1"),
        ("m 0+10x3", "0 10 20 30"),
        ("m -1-2x2", "-1 -3 -5"),
        ("m 0+0.1x3", "0 0.1 0.2 0.30000000000000004"),
        ("m _ 1 _x2 stale", "_ 1 _ _ stale"),
        ("m -inf Inf NaN+1x1", "-inf inf NaN NaN"),
        ("m\t1\n2", "1 2"),
    ] {
        assert_eq!(samples(text).join(" "), expected, "{text}");
    }
}

#[test]
fn repetitions_are_not_written_out() {
    let description = described("m 1x18446744073709551615 _x9999999999999");
    let counts: Vec<_> = description
        .runs
        .iter()
        .map(|run| match run {
            SampleRun::Omitted { count } => *count,
            SampleRun::Floats(run) => run.count,
            SampleRun::Histograms(run) => run.count,
        })
        .collect();
    assert_eq!(counts, [u64::MAX, 9_999_999_999_999]);
}

#[test]
fn histograms_have_all_fields() {
    let text = "m {{schema:1 sum:-0.3 count:3.1 z_bucket:7.1 z_bucket_w:0.05 buckets:[5.1 10 7 ] \
        offset:-3  n_buckets:[4.1 -5] n_offset:5 counter_reset_hint:gauge }}";
    let runs = histograms(text);
    let histogram = &runs[0].first;
    assert_eq!((histogram.sum, histogram.count), (-0.3, 3.1));
    assert_eq!(histogram.zero_count, 7.1);
    assert_eq!(histogram.positive_buckets(), [5.1, 10.0, 7.0]);
    assert_eq!(histogram.negative_buckets(), [4.1, -5.0]);
    assert_eq!(histogram.counter_reset_hint, CounterResetHint::Gauge);
    assert!(runs[0].is_hint_written);
    let layout = histogram.layout();
    assert_eq!((layout.schema, layout.zero_threshold), (1, 0.05));
    let span = |spans: &[thanos_core::histogram::Span]| (spans[0].offset, spans[0].length);
    assert_eq!(span(&layout.positive_spans), (-3, 3));
    assert_eq!(span(&layout.negative_spans), (5, 2));
}

#[test]
fn histograms_may_be_empty_custom_and_repeated() {
    let runs = histograms(
        "m {{}} {{ }}x2 {{schema:-53 custom_values:[1 2.5] buckets:[1 inf]}} \
         {{sum:1}}+{{sum:2 counter_reset_hint:reset}}x3 {{count:5}}-{{count:1}}x1",
    );
    assert_eq!(
        runs.iter().map(|run| run.count).collect::<Vec<_>>(),
        [1, 3, 1, 4, 2]
    );
    assert!(runs[0].first.buckets().is_empty());
    assert_eq!(runs[2].first.layout().custom_values, [1.0, 2.5]);
    assert_eq!(runs[2].first.positive_buckets(), [1.0, f64::INFINITY]);
    let step = |run: &HistogramRun| {
        run.step
            .clone()
            .map(|(op, step)| (op, step.sum, step.count))
    };
    assert_eq!(step(&runs[3]), Some((UnaryOp::Plus, 2.0, 0.0)));
    assert_eq!(step(&runs[4]), Some((UnaryOp::Minus, 0.0, 1.0)));
    assert!(runs[3].is_hint_written && !runs[4].is_hint_written);
}

#[test]
fn printed_histograms_read_as_the_same() {
    for text in [
        "{{}}",
        "{{count:1}}",
        "{{schema:3 count:4.5 sum:-0.25 z_bucket:1 z_bucket_w:0.001 offset:-2 buckets:[1 0 2.5] n_offset:7 n_buckets:[1e-07]}}",
        "{{count:NaN sum:1 counter_reset_hint:gauge}}",
        "{{schema:-53 count:6 sum:1e+30 custom_values:[-0.5 10] counter_reset_hint:reset buckets:[1 2 3]}}",
        "{{schema:-53 custom_values:[1 2] counter_reset_hint:not_reset offset:2 buckets:[3]}}",
    ] {
        let run = &histograms(&format!("m {text}"))[0];
        assert_eq!(run.first.literal().to_string(), text);
    }
    let padded = &histograms("m {{buckets:[0 0 1 0 2 0] n_buckets:[0]}}")[0];
    let text = padded.first.literal().to_string();
    assert_eq!(text, "{{offset:2 buckets:[1 0 2]}}");
}

#[test]
fn messages() {
    for (text, expected) in [
        (
            "m stalex1",
            "2..9 unexpected identifier \"stalex1\" in series values, expected number or \"stale\"",
        ),
        (
            "m a",
            "2..3 unexpected identifier \"a\" in series values, expected number or \"stale\"",
        ),
        (
            "m 1 b 2",
            "4..5 unexpected identifier \"b\" in series values, expected number or \"stale\"",
        ),
        ("m 1)", "3..4 unexpected character in series sequence: ')'"),
        ("m 1y", "2..4 bad number syntax: \"1\""),
        ("m +", "3..3 unexpected end of input in series values"),
        ("m 1+ 2", "4..5 unexpected \" \" in series values"),
        ("m 1+2", "5..5 unexpected end of input in series values"),
        ("m 1x", "4..4 unexpected end of input in series values"),
        (
            "m 1x1.5",
            "4..7 invalid repetition in series values: strconv.ParseUint: parsing \"1.5\": invalid syntax",
        ),
        ("m _x", "4..4 unexpected end of input in series values"),
        ("m x3", "2..3 unexpected \"x\""),
        ("m {", "2..3 unexpected character in series sequence: '{'"),
        (
            "m {{",
            "4..4 histogram description incomplete unexpected: '\u{fffd}'",
        ),
        (
            "m {{}",
            "4..5 histogram description incomplete unexpected: '}'",
        ),
        ("m {{schema}}", "4..12 missing `:` for histogram descriptor"),
        (
            "m {{foo:1}}",
            "4..11 bad histogram descriptor found: \"foo\"",
        ),
        (
            "m {{schema: 1}}",
            "11..12 unexpected \" \" in series values\n\
             13..15 unexpected \"}}\"",
        ),
        (
            "m {{buckets:[ 1]}}",
            "13..14 unexpected \" \" in series values\n\
             15..16 unexpected \"]\"",
        ),
        (
            "m {{ schema:1}}",
            "5..11 unexpected \"<Item 57372>\" \"schema\" in series values",
        ),
        (
            "m {{schema:1 schema:2}}",
            "0..0 duplicate key \"schema\" in histogram",
        ),
        (
            "m {{schema:1 2}}",
            "13..14 unexpected number \"2\" in histogram description, expected histogram description key, e.g. buckets:[5 10 7]",
        ),
        (
            "m {{buckets:[a]}}",
            "13..15 unexpected \"a]\" in series values",
        ),
        (
            "m {{counter_reset_hint:foo}}",
            "23..28 bad histogram descriptor found: \"foo\"",
        ),
        (
            "m {{buckets:[5] schema:1}}+{{buckets:[1] schema:0}}x2",
            "52..53 error combining histograms: cannot merge from schema 0 to 1",
        ),
        (
            "m {{schema:-53 custom_values:[1] buckets:[1]}}+{{buckets:[1]}}x2",
            "63..64 cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
        ),
        (
            "m {{}}+{{}}",
            "11..11 unexpected end of input in series values",
        ),
        (
            "m{a} 1",
            "3..4 unexpected \"}\" in label set, expected \"=\"",
        ),
        (
            "m{a=} 1",
            "4..5 unexpected \"}\" in label set, expected string",
        ),
        (
            "m{a=\"1\" b=\"2\"} 1",
            "8..9 unexpected identifier \"b\" in label set, expected \",\" or \"}\"",
        ),
        (
            "m{\"a\"xx} 1",
            "5..7 unexpected identifier \"xx\" in label set, expected \",\" or \"}\"",
        ),
        ("{\"a} 1", "1..6 unterminated quoted string"),
        (
            "m{,} 1",
            "2..3 unexpected \",\" in label set, expected identifier or \"}\"",
        ),
        ("1 2", "0..1 unexpected number \"1\" in series values"),
        ("m on", "2..4 unexpected <on>"),
        ("m{a=\"1\"", "7..7 unexpected end of input inside braces"),
    ] {
        let errors = parse(text, &Options::default()).unwrap_err();
        let lines = errors.as_slice().iter().map(|error| {
            let span = error.span;
            format!("{}..{} {}", span.start, span.end, error.message)
        });
        assert_eq!(lines.collect::<Vec<_>>().join("\n"), expected, "{text}");
    }
}

#[test]
fn bucket_offsets_beyond_any_float_are_refused() {
    let errors = parse("m {{buckets:[1] offset:3000000000}}", &Options::default());
    assert!(errors.is_err());
}

#[test]
fn short_texts_ask_for_little_memory() {
    let text = format!("m {}", "1x99999999999 ".repeat(1000));
    assert_eq!(described(&text).runs.len(), 1000);
}
