//! Whether a text is a template of Go, as alerting rules have them: syntax, functions and variables.
//!
//! Nothing is expanded here. A template that Prometheus refuses is refused, with its words; see [`check`] for what is
//! left out.
//!
//! Source: Go `text/template/parse` and Prometheus `template/template.go`.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use self::parser::Parser;

/// The variables that every template of an alert has.
pub const ALERT_VARIABLES: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// Those of Go, then those of Prometheus.
///
/// COMPAT: without `tmpl`, which Prometheus knows when it expands a template and not when it checks one.
const FUNCTIONS: [&str; 48] = [
    "and",
    "call",
    "eq",
    "ge",
    "gt",
    "html",
    "index",
    "js",
    "le",
    "len",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
    "slice",
    "urlquery", //
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the text, counted from 1.
    pub line: usize,
    /// What is wrong, in Go's words.
    pub message: String,
}

/// Checks that `text` is a template whose functions are known and whose variables are declared, by itself or among
/// `variables`.
///
/// It does not check what Go tells only when a template is expanded: fields, and the number and kind of arguments.
///
/// # Errors
///
/// The first thing that is wrong.
///
/// # Example
///
/// ```
/// use thanos_promql::rules::template::{ALERT_VARIABLES, check};
///
/// check("{{ $labels.job }} is at {{ $value | humanize }}", &ALERT_VARIABLES).unwrap();
/// let error = check("{{ $lables.job }}", &ALERT_VARIABLES).unwrap_err();
/// assert_eq!(error.message, r#"undefined variable "$lables""#);
/// ```
pub fn check(text: &str, variables: &[&str]) -> Result<(), TemplateError> {
    Parser::new(lexer::tokens(text), variables).whole()
}
