//! Tables of expressions with what a parser must say about them: one JSON object a line.
//!
//! ```text
//! {"input": "1 + 1", "valid": true}
//! {"input": "1 +", "errors": [{"start": 3, "end": 3, "message": "unexpected end of input"}]}
//! ```
//!
//! An expression that is accepted must also print as a text that means the same.

use serde_json::Value as Json;

use super::{Failure, Report};
use crate::parser::{Expr, Options, ParseErrors, parse};
use crate::testkit::meaning;

/// Returns the parts of the language that are on in the tables of Prometheus' parser tests.
pub fn parser_options() -> Options {
    Options {
        fill_modifiers: false,
        x_functions: false,
        ..Options::all()
    }
}

/// Checks every line of a table.
pub fn run(table: &str, options: &Options) -> Report {
    let mut report = Report::default();
    for (line, text) in (1..).zip(table.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        match check(text, options) {
            Ok(()) => report.passed += 1,
            Err(what) => report.failures.push(Failure { line, what }),
        }
    }
    report
}

fn check(line: &str, options: &Options) -> Result<(), String> {
    let record: Json =
        serde_json::from_str(line).map_err(|error| format!("the line is not JSON: {error}"))?;
    let input = record["input"]
        .as_str()
        .ok_or("the line has no \"input\"")?;
    let expected = match &record["errors"] {
        Json::Null if record["valid"] == Json::Bool(true) => Vec::new(),
        errors => complaints(errors).ok_or("the line has neither \"valid\" nor \"errors\"")?,
    };
    match parse(input, options) {
        Ok(expr) if expected.is_empty() => check_round_trip(&expr, options),
        Ok(_) => Err(format!("{input:?}: accepted, expected {}", list(&expected))),
        Err(errors) => {
            let found = found_complaints(&errors);
            if found == expected {
                return Ok(());
            }
            let (expected, found) = (list(&expected), list(&found));
            Err(format!("{input:?}: expected {expected}, got {found}"))
        }
    }
}

/// A byte range and what is wrong with it.
type Complaint = (u64, u64, String);

fn complaints(errors: &Json) -> Option<Vec<Complaint>> {
    let errors = errors.as_array()?;
    let complaints: Option<Vec<Complaint>> = errors
        .iter()
        .map(|error| {
            let (start, end) = (error["start"].as_u64()?, error["end"].as_u64()?);
            Some((start, end, error["message"].as_str()?.to_owned()))
        })
        .collect();
    complaints.filter(|complaints| !complaints.is_empty())
}

fn found_complaints(errors: &ParseErrors) -> Vec<Complaint> {
    let errors = errors.as_slice().iter();
    errors
        .map(|error| {
            let span = error.span;
            (span.start.into(), span.end.into(), error.message.clone())
        })
        .collect()
}

fn list(complaints: &[Complaint]) -> String {
    if complaints.is_empty() {
        return "no error".to_owned();
    }
    let complaints = complaints
        .iter()
        .map(|(start, end, message)| format!("{start}..{end} {message:?}"));
    complaints.collect::<Vec<_>>().join(" and ")
}

/// Checks that both printed forms of an expression mean what it means.
pub(super) fn check_round_trip(expr: &Expr, options: &Options) -> Result<(), String> {
    let printed = expr.to_string();
    for text in [&printed, &expr.pretty()] {
        match parse(text, options) {
            Ok(again) if again.to_string() == printed && meaning(&again) == meaning(expr) => {}
            Ok(again) => return Err(format!("printed as {text:?}, which means {again}")),
            Err(errors) => return Err(format!("printed as {text:?}, which is wrong: {errors}")),
        }
    }
    Ok(())
}
