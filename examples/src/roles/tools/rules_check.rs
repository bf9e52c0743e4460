//! `thanos tools rules-check`: reads files of rules, strictly, and validates them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{ArgAction, Args};
use serde::{Deserialize, Deserializer, Serialize};
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};
use thanos_promql::parser::Options;
use thanos_promql::rules::{Rule, RuleGroup};

use super::flags::Report;
use super::output;
use crate::glob::glob;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Flags of `thanos tools rules-check`.
#[derive(Debug, Clone, Args)]
pub(super) struct RulesCheckFlags {
    /// The rule files glob to check (repeated).
    #[arg(long, value_name = "GLOB", action = ArgAction::Append, required = true)]
    rules: Vec<String>,
    /// Whether to print what was found.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

/// What is known about a file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    rules: usize,
    errors: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileYaml {
    #[serde(default)]
    groups: Option<Vec<GroupYaml>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GroupYaml {
    name: Option<String>,
    #[serde(rename = "interval", deserialize_with = "duration_ms")]
    _interval: i64,
    #[serde(rename = "query_offset", deserialize_with = "duration_ms")]
    _query_offset: i64,
    #[serde(rename = "limit")]
    _limit: i64,
    rules: Option<Vec<RuleYaml>>,
    labels: Option<BTreeMap<String, String>>,
    partial_response_strategy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleYaml {
    record: Option<String>,
    alert: Option<String>,
    expr: Option<String>,
    #[serde(rename = "for", deserialize_with = "duration_ms")]
    for_ms: i64,
    #[serde(rename = "keep_firing_for", deserialize_with = "duration_ms")]
    keep_firing_for_ms: i64,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

fn duration_ms<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<i64, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let parsed = SignedDuration::parse_prometheus(&text).map(SignedDuration::as_millis);
    parsed.map_err(serde::de::Error::custom)
}

impl From<GroupYaml> for RuleGroup {
    fn from(yaml: GroupYaml) -> Self {
        Self {
            name: yaml.name.unwrap_or_default(),
            labels: yaml.labels.unwrap_or_default(),
            rules: yaml
                .rules
                .unwrap_or_default()
                .into_iter()
                .map(Rule::from)
                .collect(),
        }
    }
}

impl From<RuleYaml> for Rule {
    fn from(yaml: RuleYaml) -> Self {
        Self {
            record: yaml.record.unwrap_or_default(),
            alert: yaml.alert.unwrap_or_default(),
            expr: yaml.expr.unwrap_or_default(),
            for_ms: yaml.for_ms,
            keep_firing_for_ms: yaml.keep_firing_for_ms,
            labels: yaml.labels.unwrap_or_default(),
            annotations: yaml.annotations.unwrap_or_default(),
        }
    }
}

pub(super) fn run(flags: &RulesCheckFlags) -> Result<()> {
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for pattern in &flags.rules {
        tracing::info!(pattern, "checking");
        let files = glob(pattern).unwrap_or_default();
        if files.is_empty() {
            tracing::error!(
                result = "FAILED",
                error = "matching file not found",
                "checked"
            );
            failed.push("matching file not found".to_owned());
        }
        for file in files {
            let checked = check(&file);
            log(&checked);
            failed.extend(checked.errors.iter().cloned());
            all.push(checked);
        }
    }
    if flags.output == Report::Json {
        output::print(&output::json(&all)?)?;
    }
    match &failed[..] {
        [] => Ok(()),
        [only] => Err(Error::invalid(only.clone())),
        many => Err(Error::invalid(format!(
            "{} errors: {}",
            many.len(),
            many.join("; ")
        ))),
    }
}

fn log(checked: &Checked) {
    let filename = checked.file.as_str();
    if checked.errors.is_empty() {
        tracing::info!(
            filename,
            result = "SUCCESS",
            rulesfound = checked.rules,
            "checked"
        );
        return;
    }
    tracing::error!(filename, result = "FAILED", "checked");
    for error in &checked.errors {
        tracing::error!(filename, error, "invalid");
    }
}

fn check(path: &Path) -> Checked {
    let file = path.display().to_string();
    let (rules, errors) = match read(path) {
        Ok(groups) => validate(groups),
        Err(error) => (0, vec![error.to_string()]),
    };
    Checked {
        file,
        rules,
        errors,
    }
}

fn read(path: &Path) -> Result<Vec<GroupYaml>> {
    let len = std::fs::metadata(path)?.len();
    if len > FILE_BYTES_MAX {
        return Err(Error::limit_exceeded(format!(
            "file of {len} bytes is too large"
        )));
    }
    let text = std::fs::read_to_string(path)?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<GroupYaml>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let parsed: std::result::Result<Option<FileYaml>, _> =
        serde_saphyr::from_str_with_options(text, options);
    let file = parsed.map_err(|error| Error::invalid(format!("yaml: {error}")))?;
    Ok(file.and_then(|file| file.groups).unwrap_or_default())
}

fn validate(groups: Vec<GroupYaml>) -> (usize, Vec<String>) {
    let (mut count, mut errors) = (0, Vec::new());
    let mut names = BTreeSet::new();
    for yaml in groups {
        let strategy = yaml.partial_response_strategy.clone().unwrap_or_default();
        if !["", "ABORT", "WARN"].contains(&strategy.to_uppercase().as_str()) {
            errors.push(format!(
                "failed to unmarshal {strategy:?} as 'partial_response_strategy'. Possible values are ABORT,WARN"
            ));
        }
        let group = RuleGroup::from(yaml);
        let problems = group.validate(&Options::default());
        errors.extend(problems.iter().map(ToString::to_string));
        // Thanos takes them here, and its ruler refuses them: one file is loaded for each strategy.
        if !names.insert((group.name.clone(), strategy.to_uppercase() == "WARN")) {
            errors.push(format!(
                "groupname: {:?} is repeated in the same file",
                group.name
            ));
        }
        count += group.rules.len();
    }
    if !errors.is_empty() {
        count = 0;
    }
    (count, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> String {
        match parse(text) {
            Err(error) => error.to_string(),
            Ok(groups) => {
                let (count, errors) = validate(groups);
                if errors.is_empty() {
                    count.to_string()
                } else {
                    errors.join("; ")
                }
            }
        }
    }

    /// T-32, T-33: files are read strictly, and groups have strategies.
    #[test]
    fn files_are_read_strictly() {
        let rule = "rules: [{record: x, expr: up, labels: {a: 1}}]";
        assert_eq!(checked(""), "0");
        assert_eq!(checked("groups:"), "0");
        assert_eq!(
            checked(&format!(
                "groups: [{{name: a, interval: 1m, limit: 2, {rule}}}]"
            )),
            "1"
        );
        for strategy in ["warn", "ABORT", ""] {
            let text =
                format!("groups: [{{name: a, partial_response_strategy: \"{strategy}\", {rule}}}]");
            assert_eq!(checked(&text), "1", "{strategy}");
        }
        let cases = [
            (
                format!("groups: [{{name: a, nope: 1, {rule}}}]"),
                "unknown field `nope`",
            ),
            (
                "groups: [{name: a, rules: [{record: x, expr: up, nope: 1}]}]".to_owned(),
                "unknown field `nope`",
            ),
            ("nope: []".to_owned(), "unknown field `nope`"),
            (
                format!("groups: [{{name: a, interval: soon, {rule}}}]"),
                "soon",
            ),
            (
                format!("groups: [{{name: \"\", {rule}}}]"),
                "Groupname should not be empty",
            ),
            (
                format!("groups: [{{name: a, {rule}}}, {{name: a, {rule}}}]"),
                "groupname: \"a\" is repeated in the same file",
            ),
            (
                format!("groups: [{{name: a, partial_response_strategy: bogus, {rule}}}]"),
                "failed to unmarshal \"bogus\" as 'partial_response_strategy'. Possible values are ABORT,WARN",
            ),
        ];
        for (text, expected) in cases {
            let found = checked(&text);
            assert!(found.contains(expected), "{text}: {found}");
        }
        let two = format!(
            "groups: [{{name: a, {rule}}}, {{name: a, partial_response_strategy: warn, {rule}}}]"
        );
        assert_eq!(checked(&two), "2");
    }
}
