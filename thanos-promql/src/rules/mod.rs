//! Recording and alerting rules: what they say, and whether they make sense.
//!
//! Reading a file of rules is up to whoever has one; nothing here evaluates rules.
//!
//! Source: Prometheus `model/rulefmt`, and Thanos `pkg/rules/manager.go` for how it uses that.

pub mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use thanos_core::labels::METRIC_NAME;

use crate::parser;

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// Labels that all its rules get.
    pub labels: BTreeMap<String, String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule: recording when it has a record name, alerting when it has the name of an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The metric that it records; empty in alerting rules.
    pub record: String,
    /// The alert that it raises; empty in recording rules.
    pub alert: String,
    /// The expression.
    pub expr: String,
    /// How long the expression must hold before the alert fires, in milliseconds.
    pub for_ms: i64,
    /// How long the alert fires on, in milliseconds.
    pub keep_firing_for_ms: i64,
    /// Labels that it sets; templates in alerting rules.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert, templates.
    pub annotations: BTreeMap<String, String>,
}

/// What is wrong with a group or a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The group.
    pub group: String,
    /// The rule in it, counted from 0, and its name; `None` when it is about the group.
    pub rule: Option<(usize, String)>,
    /// What is wrong, in Prometheus' words.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, name)) = &self.rule {
            let group = &self.group;
            write!(f, "group {group:?}, rule {number}, {name:?}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for RuleError {}

impl RuleGroup {
    /// Returns everything that is wrong with the group.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_promql::parser::Options;
    /// use thanos_promql::rules::{Rule, RuleGroup};
    ///
    /// let rule = Rule { alert: "Down".into(), expr: "up == ".into(), ..Rule::default() };
    /// let group = RuleGroup { name: "g".into(), rules: vec![rule], ..RuleGroup::default() };
    /// let errors = group.validate(&Options::default());
    /// assert!(errors[0].to_string().starts_with(r#"group "g", rule 0, "Down": could not parse expression: "#));
    /// ```
    pub fn validate(&self, options: &parser::Options) -> Vec<RuleError> {
        let of_group = |message: String| RuleError {
            group: self.name.clone(),
            rule: None,
            message,
        };
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(of_group("Groupname should not be empty".to_owned()));
        }
        errors.extend(bad_label_names(&self.labels).map(of_group));
        for (number, rule) in self.rules.iter().enumerate() {
            let name = if rule.alert.is_empty() {
                &rule.record
            } else {
                &rule.alert
            };
            let of_rule = |message| RuleError {
                group: self.name.clone(),
                rule: Some((number, name.clone())),
                message,
            };
            errors.extend(rule.validate(options).into_iter().map(of_rule));
        }
        errors
    }
}

impl Rule {
    /// Returns everything that is wrong with the rule, in Prometheus' words.
    pub fn validate(&self, options: &parser::Options) -> Vec<String> {
        let mut errors = Vec::new();
        let mut say = |is_wrong: bool, what: &str| {
            if is_wrong {
                errors.push(what.to_owned());
            }
        };
        let (records, alerts) = (!self.record.is_empty(), !self.alert.is_empty());
        say(
            records && alerts,
            "only one of 'record' and 'alert' must be set",
        );
        say(
            !records && !alerts,
            "one of 'record' or 'alert' must be set",
        );
        say(self.expr.is_empty(), "field 'expr' must be set in rule");
        if !self.expr.is_empty()
            && let Err(error) = parser::parse(&self.expr, options)
        {
            say(true, &format!("could not parse expression: {error}"));
        }
        if records {
            say(
                !self.annotations.is_empty(),
                "invalid field 'annotations' in recording rule",
            );
            say(self.for_ms != 0, "invalid field 'for' in recording rule");
            say(
                self.keep_firing_for_ms != 0,
                "invalid field 'keep_firing_for' in recording rule",
            );
            let braces = "braces present in the recording rule name; should it be in expr?: ";
            say(
                self.record.contains(['{', '}']),
                &format!("{braces}{}", self.record),
            );
        }
        errors.extend(bad_label_names(&self.labels));
        if self.annotations.contains_key("") {
            errors.push("invalid annotation name: ".to_owned());
        }
        errors.extend(self.bad_templates());
        errors
    }

    /// Only alerting rules have templates.
    fn bad_templates(&self) -> Vec<String> {
        if self.alert.is_empty() {
            return Vec::new();
        }
        let name = format!("__alert_{}", self.alert);
        let labels = self.labels.iter().map(|(key, text)| ("label", key, text));
        let annotations = self.annotations.iter();
        let annotations = annotations.map(|(key, text)| ("annotation", key, text));
        let failed = labels.chain(annotations).filter_map(|(kind, key, text)| {
            let error = template::check(text, &template::ALERT_VARIABLES).err()?;
            Some(format!(
                "{kind} {key:?}: template: {name}:{}: {}",
                error.line, error.message
            ))
        });
        failed.collect()
    }
}

/// Any text may name a label but the empty one and that of the metric name.
fn bad_label_names(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let is_bad = |name: &&String| name.is_empty() || *name == METRIC_NAME;
    labels
        .keys()
        .filter(is_bad)
        .map(|name| format!("invalid label name: {name}"))
}
