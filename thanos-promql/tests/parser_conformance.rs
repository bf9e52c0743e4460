//! Holds the parser against expressions recorded with what Prometheus says about them.
//!
//! The recordings are not part of this repository; the tests say so and pass where they are absent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thanos_promql::parser::{Options, ParseErrors, parse};

/// Returns a file or folder beside the workspace, if there is one.
fn beside_workspace(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    if !found.exists() {
        // Not `eprintln!`: what that says is kept back when a test passes.
        let _ = writeln!(io::stderr(), "SKIPPED: {} does not exist", found.display());
        return None;
    }
    Some(found)
}

/// Lines whose recording contradicts Prometheus, with what it really answers.
///
/// Its parser says so with every choice of options, and so do the tests that the table was taken from
/// (promql/parser/parse_test.go, HEAD of August 2026). There, the range of the second error is written in part or
/// left out; the table has the range of the first error with the message of the second.
fn misrecorded(input: &str) -> Option<Value> {
    let error = |start: u32, end: u32, message: &str| json!({ "start": start, "end": end, "message": message });
    Some(match input {
        "foo and bool 10" => json!([
            error(
                4,
                11,
                "bool modifier can only be used on comparison operators"
            ),
            error(
                0,
                15,
                "set operator \"and\" not allowed in binary scalar expression"
            ),
        ]),
        "foo[5s%0d]" => json!([
            error(6, 7, "modulo by zero"),
            error(0, 0, "duration must be greater than 0"),
        ]),
        "foo[9.5e10]" => json!([
            error(4, 10, "duration out of range"),
            error(0, 0, "duration must be greater than 0"),
        ]),
        // Recorded with the Go source of the string in place of its value.
        input if input.starts_with("{'foo\\'bar', ` + ") => {
            json!([error(19, 52, "unknown escape sequence U+0064 'd'")])
        }
        _ => return None,
    })
}

fn to_json(errors: &ParseErrors) -> Value {
    let errors = errors.as_slice().iter().map(|error| {
        json!({
            "start": error.span.start,
            "end": error.span.end,
            "message": error.message,
        })
    });
    errors.collect()
}

#[test]
fn recorded_expressions_are_accepted_or_refused_as_recorded() {
    let Some(path) = beside_workspace("shared/conformance/parser/expressions.jsonl") else {
        return;
    };
    let options = Options {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        ..Options::default()
    };
    let lines = std::fs::read_to_string(path).unwrap();
    let mut differences = Vec::new();
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let input = record["input"].as_str().unwrap();
        let expected = match misrecorded(input) {
            Some(errors) => errors,
            None => record["errors"].clone(),
        };
        let found = match parse(input, &options) {
            Ok(_) => Value::Null,
            Err(errors) => to_json(&errors),
        };
        if found != expected {
            differences.push(format!(
                "{input}\n  expected {expected}\n  found    {found}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
