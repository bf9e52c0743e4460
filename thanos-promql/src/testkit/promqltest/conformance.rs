//! Runs the scripts that lie beside this repository, or where `PROMQL_CONFORMANCE` says.
//!
//! They are not part of the repository; the tests say so and pass where they are absent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::executor::block_on;

use super::Runner;
use super::expressions::{self, check_round_trip};
use super::script::{self, Command};
use crate::parser::{Options, parse};

/// Prints a line also when the test passes, unlike `eprintln!`.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns the scripts, unless there are none.
fn scripts() -> Option<Vec<(PathBuf, String)>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/promql");
    let folder = std::env::var_os("PROMQL_CONFORMANCE").map_or_else(beside, PathBuf::from);
    if !folder.exists() {
        say(&format!("SKIPPED: {} does not exist", folder.display()));
        return None;
    }
    let files = std::fs::read_dir(folder).unwrap();
    let mut scripts: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "test")
        })
        .map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    scripts.sort();
    Some(scripts)
}

#[test]
fn conformance_scripts_hold() {
    let Some(scripts) = scripts() else {
        return;
    };
    let mut failures = Vec::new();
    let mut passed = 0;
    for (path, script) in scripts {
        let report = block_on(Runner::default().run(&script));
        passed += report.passed;
        failures.extend(
            report
                .failures
                .into_iter()
                .map(|failure| format!("{}:{}: {}", path.display(), failure.line, failure.what)),
        );
    }
    say(&format!(
        "{passed} evaluations of conformance scripts passed"
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 0, "the folder of conformance scripts is empty");
}

#[test]
fn conformance_scripts_hold_for_the_naive_evaluator() {
    let mut failures = Vec::new();
    let mut passed = 0;
    for (path, script) in scripts().into_iter().flatten() {
        let report = block_on(Runner::default().run_naive(&script));
        passed += report.passed;
        let failed = report.failures.into_iter();
        // It does not know `info`, and always reads buckets, so that it is told of no resets between samples.
        let known = failed.filter(|failure| {
            let is_of_hints = failure.what.starts_with("histogram_count(")
                && failure.what.contains("expected warn annotations");
            !failure.what.contains("unimplemented") && !is_of_hints
        });
        failures.extend(known.map(|one| format!("{}:{}: {}", path.display(), one.line, one.what)));
    }
    say(&format!(
        "{passed} evaluations of conformance scripts passed on the naive evaluator"
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn expressions_of_conformance_scripts_print_as_text_that_means_the_same() {
    let options = Options::all();
    for (path, script) in scripts().into_iter().flatten() {
        for command in script::parse(&script, &options) {
            if let Command::Eval(eval) = command
                && let Err(what) = check_round_trip(&eval.expr, &options)
            {
                panic!("{}:{}: {}: {what}", path.display(), eval.line, eval.text);
            }
        }
    }
}

#[test]
fn valid_expressions_of_the_table_print_as_text_that_means_the_same() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(table) =
        std::fs::read_to_string(beside.join("../../shared/conformance/parser/expressions.jsonl"))
    else {
        say("SKIPPED: there is no table of expressions beside the repository");
        return;
    };
    let options = expressions::parser_options();
    for line in table.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let input = record["input"].as_str().unwrap();
        if let Ok(expr) = parse(input, &options) {
            check_round_trip(&expr, &options).unwrap_or_else(|what| panic!("{input}: {what}"));
        }
    }
}
