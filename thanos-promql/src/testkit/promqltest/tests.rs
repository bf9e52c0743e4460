//! The runner on scripts that hold, scripts that do not, and texts that are no scripts.

use futures::executor::block_on;
use proptest::prelude::*;

use super::*;

fn run(script: &str) -> Report {
    block_on(Runner::default().run(script))
}

/// Runs a script with one evaluation that fails; returns its message.
fn failure_of(script: &str) -> (usize, String) {
    let report = run(script);
    assert_eq!(report.failures.len(), 1, "{script}\n{report:?}");
    let failure = report.failures.into_iter().next().unwrap();
    (failure.line, failure.what)
}

const LOAD: &str = "load 1m\n  x{a=\"1\"} 0 1 2 3\n  x{a=\"2\"} 0 10 20 _ 40\n\n";

#[test]
fn our_scripts_hold() {
    let count = hold("promqltest", &Runner::default());
    assert!(count > 200, "only {count} evaluations were found");
}

#[test]
fn our_scripts_hold_when_names_are_dropped_at_once() {
    let runner = Runner::new(Engine::new(EngineOptions {
        delayed_name_removal: false,
        type_and_unit_labels: true,
        ..engine_options()
    }));
    let count = hold("promqltest_early_names", &runner);
    assert!(count > 60, "only {count} evaluations were found");
}

/// Runs all scripts of a folder and returns the number of evaluations.
fn hold(folder: &str, runner: &Runner) -> usize {
    let folder = format!("{}/testdata/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let report = block_on(runner.run(&std::fs::read_to_string(&path).unwrap()));
        assert_eq!(report.failures, [], "{}", path.display());
        count += report.passed;
    }
    count
}

#[test]
fn every_difference_is_told_with_its_place() {
    for (evaluation, line, messages) in [
        (
            "eval instant at 1m sum(x)\n  {} 12",
            5,
            vec!["sum(x) at 1m: {}: expected 12, got 11"],
        ),
        (
            "eval instant at 1m x\n  x{a=\"1\"} 1\n  x{a=\"3\"} 5",
            5,
            vec![
                "2 differences",
                "\n    unexpected {__name__=\"x\", a=\"2\"} with 10",
                "\n    {__name__=\"x\", a=\"3\"}: expected 5, got nothing",
            ],
        ),
        (
            "eval range from 1m to 3m step 1m x{a=\"2\"}\n  x{a=\"2\"} 10 21 _",
            5,
            vec![
                "from 1m to 3m",
                "at 2m: expected 21, got 20",
                "at 3m: expected no sample, got 20",
            ],
        ),
        (
            "eval range from 1m to 2m step 1m x{a=\"2\"}\n  x{a=\"2\"} 10 20 30",
            5,
            vec!["3 points are expected, more than there are steps"],
        ),
        (
            "eval range from 0 to 1m step 1m x{a=\"1\"}\n  x{a=\"1\"} 0 {{}}",
            5,
            vec!["at 1m: expected {{}}, got 1"],
        ),
        (
            "eval instant at 1m 1 + 1\n  3",
            5,
            vec!["expected scalar 3, got 2"],
        ),
        (
            "eval instant at 1m 1 + 1\n  {} 2",
            5,
            vec!["expected a vector or matrix, got a scalar"],
        ),
        (
            "eval instant at 1m x\n  2",
            5,
            vec!["expected a scalar, got a vector"],
        ),
        (
            "eval instant at 1m \"b\"\n  expect string \"a\"",
            5,
            vec!["expected string \"a\", got \"b\""],
        ),
        (
            "eval instant at 1m x\n  expect fail",
            5,
            vec!["expected an error, got none"],
        ),
        (
            "eval instant at 1m sort_desc(x)\n  expect ordered\n  x{a=\"1\"} 1\n  x{a=\"2\"} 10",
            5,
            vec!["expected at position 2, got at 1"],
        ),
        (
            "eval instant at 1m rate(x{a=\"1\"}[2m])\n  expect no_info\n  {a=\"1\"} 0.008333333",
            5,
            vec![
                "unexpected info annotation \"PromQL info: metric might not be a counter",
                "(1:6)",
            ],
        ),
        (
            "eval instant at 1m x{a=\"1\"}\n  expect warn msg: w\n  x{a=\"1\"} 1",
            5,
            vec!["expected warn annotation \"w\", got none"],
        ),
        (
            "eval instant at 1m label_replace(x, \"a\", \"\", \"\", \"\")\n  expect fail msg: w",
            5,
            vec!["expected the error \"w\", got \"vector cannot contain metrics"],
        ),
        (
            "eval instant at 1m x[1m]\n  expect range vector from 1m to 1m step 1m\n  x{a=\"1\"} 1",
            5,
            vec!["unexpected {__name__=\"x\", a=\"2\"} with 10 at 1m"],
        ),
    ] {
        let (at, what) = failure_of(&format!("{LOAD}{evaluation}\n"));
        assert_eq!(at, line, "{evaluation}");
        for message in messages {
            assert!(what.contains(message), "{evaluation}\n{what}");
        }
    }
}

#[test]
fn lines_that_are_no_commands_are_told_and_skipped() {
    for (script, at, message) in [
        ("lode 5m", 1, "invalid command \"lode 5m\""),
        ("load", 1, "invalid load command"),
        (
            "load 5q\n  x 1",
            1,
            "invalid step definition \"5q\": unknown unit",
        ),
        ("load 5m\n  x 1 y", 2, "unexpected identifier \"y\""),
        (
            "load 5m\n  x 1x99999999999",
            2,
            "at most 1000000 are allowed",
        ),
        (
            "load 5m\n  x@st 1m",
            2,
            "@st line has no following sample line",
        ),
        ("load 5m\n  x@st 1m\n  y 1", 2, "@st metric does not match"),
        (
            "load 5m\n  x@st 1m 2m\n  x 1",
            2,
            "@st line has 2 values but sample line has 1",
        ),
        (
            "load_with_nhcb 5m\n  x_bucket 1",
            1,
            "expected bucket label",
        ),
        (
            "load 5m\n  x 1\n\nload 5m\n  x 3",
            4,
            "second value at 0 ms",
        ),
        (
            "load 5m\n  x {{count:1 buckets:[-1]}}",
            1,
            "observation count of -1",
        ),
        ("eval instant 1 + 1", 1, "invalid evaluation command"),
        (
            "eval_ordered range from 0 to 1m step 1m 1",
            1,
            "invalid evaluation command",
        ),
        ("eval_bad instant at 0 1", 1, "invalid evaluation command"),
        (
            "eval instant at x 1",
            1,
            "invalid timestamp definition \"x\"",
        ),
        (
            "eval range from 2m to 1m step 1m 1",
            1,
            "is before start timestamp",
        ),
        (
            "eval instant at 0 1 +",
            1,
            "1 +: 1:4: parse error: unexpected end of input",
        ),
        (
            "eval instant at 0 x\n  x 1 2",
            2,
            "expecting multiple values in instant evaluation",
        ),
        (
            "eval instant at 0 x\n  expect nothing",
            2,
            "invalid expect statement",
        ),
        (
            "eval instant at 0 x\n  expect warn msg:",
            2,
            "invalid expect statement",
        ),
        (
            "eval instant at 0 x\n  expect warn regex: (",
            2,
            "invalid regex (",
        ),
        (
            "eval instant at 0 x\n  expect warn\n  expect no_warn",
            3,
            "cannot be used together",
        ),
        (
            "eval instant at 0 x\n  expect fail\n  expect fail",
            3,
            "multiple expect fail",
        ),
        (
            "eval instant at 0 \"x\"\n  expect string x",
            2,
            "correctly quoted",
        ),
        (
            "eval instant at 0 \"x\"\n  expect string",
            2,
            "a quoted string literal is required",
        ),
        (
            "eval instant at 0 x[1m]\n  expect range vector from 1m",
            2,
            "invalid range vector",
        ),
    ] {
        let script = format!("{script}\n\neval instant at 0 1\n  1\n");
        let (line, what) = failure_of(&script);
        assert_eq!(line, at, "{script}");
        assert!(what.contains(message), "{script}\n{what}");
        assert_eq!(run(&script).passed, 1, "{script}");
    }
}

#[test]
fn tables_of_expressions_are_checked() {
    let table = r#"
{"input": "1 + 1", "valid": true}
{"input": "1 +", "errors": [{"start": 3, "end": 3, "message": "unexpected end of input"}]}
{"input": "1 +", "valid": true}
{"input": "1", "errors": [{"start": 3, "end": 3, "message": "unexpected end of input"}]}
{"input": "1 +", "errors": [{"start": 2, "end": 3, "message": "unexpected end of input"}]}
{"input": "1"}
nothing
"#;
    let report = expressions::run(table, &expressions::parser_options());
    assert_eq!(report.passed, 2);
    let lines: Vec<usize> = report.failures.iter().map(|failure| failure.line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8], "{report:?}");
}

/// Pieces of the language, so that many texts are nearly scripts.
const PIECES: &[&str] = &[
    "load 1m\n",
    "load_with_nhcb 30s\n",
    "clear\n",
    "eval instant at 1m x\n",
    "eval instant at 0 ",
    "eval range from 0 to 2m step 1m ",
    "eval_fail instant at 1m ",
    "rate(x[5m])",
    "h",
    "x{a=\"b\"} ",
    "{} ",
    "h_bucket{le=\"1\"} ",
    "h_count ",
    "x@st ",
    "-1m",
    "-30s-1mx3 ",
    "1+2x3 ",
    "_x2 ",
    "stale ",
    "NaN ",
    "-Inf ",
    "{{count:1 buckets:[1]}} ",
    "{{schema:1}}+{{sum:1}}x2 ",
    "{{schema:-53 custom_values:[1] buckets:[1 2]}} ",
    "expect fail\n",
    "expect warn msg: a\n",
    "expect info regex: (\n",
    "expect no_warn\n",
    "expect ordered\n",
    "expect string \"a\"\n",
    "expect range vector from 0 to 1m step 30s\n",
    "expected_fail_regexp a\n",
    "# a\n",
    "\n",
    "\n\n",
    "5",
    "\u{e9}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_runner_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..20),
    ) {
        let script = pieces.concat();
        let lines = script.lines().count();
        for failure in run(&script).failures {
            prop_assert!((1..=lines).contains(&failure.line), "{}\n{:?}", script, failure);
            prop_assert!(!failure.what.contains("panicked"), "{}\n{:?}", script, failure);
        }
    }
}
