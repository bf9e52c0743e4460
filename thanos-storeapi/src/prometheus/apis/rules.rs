//! The JSON of rules, and which of them are wanted.

use serde::Deserialize;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;

use super::super::calls::JsonLabels;
use super::answers::{or_default, time};
use super::with_external;
use crate::apis::rules::{
    AlertInstance, AlertState, AlertingRule, RecordingRule, Rule, RuleGroup, RuleKinds,
    RulesRequest,
};
use crate::store::PartialResponse;

#[derive(Debug, Deserialize)]
pub(super) struct RulesAnswer {
    #[serde(default, deserialize_with = "or_default")]
    groups: Vec<GroupAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GroupAnswer {
    name: String,
    file: String,
    #[serde(deserialize_with = "or_default")]
    rules: Vec<RuleAnswer>,
    interval: f64,
    limit: i64,
    evaluation_time: f64,
    last_evaluation: String,
}

/// The fields of both kinds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuleAnswer {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    query: String,
    labels: JsonLabels,
    health: String,
    last_error: String,
    evaluation_time: f64,
    last_evaluation: String,
    state: String,
    duration: f64,
    keep_firing_for: f64,
    annotations: JsonLabels,
    #[serde(deserialize_with = "or_default")]
    alerts: Vec<AlertAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AlertAnswer {
    labels: JsonLabels,
    annotations: JsonLabels,
    state: String,
    active_at: Option<String>,
    value: String,
}

impl RulesAnswer {
    /// Returns the wanted groups, with the external labels among the labels of their rules.
    pub(super) fn groups(
        self,
        request: &RulesRequest,
        external: &Labels,
    ) -> Result<Vec<RuleGroup>> {
        let is_wanted =
            |wanted: &[String], name: &String| wanted.is_empty() || wanted.contains(name);
        let mut groups = Vec::new();
        for group in self.groups {
            if !is_wanted(&request.rule_groups, &group.name)
                || !is_wanted(&request.files, &group.file)
            {
                continue;
            }
            let name = group.name.clone();
            let group = group
                .group(request, external)
                .map_err(|error| error.context(format!("group {name:?}")))?;
            // A group without rules is what it is, unless something was left out of it.
            groups.extend(group);
        }
        Ok(groups)
    }
}

impl GroupAnswer {
    fn group(self, request: &RulesRequest, external: &Labels) -> Result<Option<RuleGroup>> {
        let had_rules = !self.rules.is_empty();
        let mut rules = Vec::new();
        for rule in self.rules {
            let rule = rule.rule(external)?;
            if is_wanted(&rule, request) {
                rules.push(rule);
            }
        }
        if rules.is_empty() && had_rules {
            return Ok(None);
        }
        Ok(Some(RuleGroup {
            name: self.name,
            file: self.file,
            rules,
            interval_secs: self.interval,
            evaluation_secs: self.evaluation_time,
            last_evaluation: time(&self.last_evaluation)?,
            limit: self.limit,
            // Prometheus knows no partial answers.
            partial_response: PartialResponse::Abort,
        }))
    }
}

/// Old servers do not know every condition, so that all are applied here.
fn is_wanted(rule: &Rule, request: &RulesRequest) -> bool {
    let (name, labels, kind) = match rule {
        Rule::Recording(rule) => (&rule.name, &rule.labels, RuleKinds::Recording),
        Rule::Alerting(rule) => (&rule.name, &rule.labels, RuleKinds::Alerting),
    };
    let labels = labels.as_ref();
    let matches = |set: &Vec<thanos_core::labels::Matcher>| {
        set.iter().all(|matcher| matcher.matches_labels(labels))
    };
    (request.kind == RuleKinds::All || request.kind == kind)
        && (request.rule_names.is_empty() || request.rule_names.contains(name))
        && (request.matchers.is_empty() || request.matchers.iter().any(matches))
}

impl RuleAnswer {
    fn rule(self, external: &Labels) -> Result<Rule> {
        let labels = with_external(&self.labels.0, external);
        let last_evaluation = time(&self.last_evaluation)?;
        match self.kind.as_str() {
            "recording" => Ok(Rule::Recording(RecordingRule {
                name: self.name,
                query: self.query,
                labels,
                health: self.health,
                last_error: self.last_error,
                evaluation_secs: self.evaluation_time,
                last_evaluation,
            })),
            "alerting" => {
                let alerts: Result<Vec<_>> =
                    self.alerts.into_iter().map(AlertAnswer::alert).collect();
                Ok(Rule::Alerting(AlertingRule {
                    state: state(&self.state)?,
                    name: self.name,
                    query: self.query,
                    duration_secs: self.duration,
                    keep_firing_for_secs: self.keep_firing_for,
                    labels,
                    annotations: self.annotations.0,
                    alerts: alerts?,
                    health: self.health,
                    last_error: self.last_error,
                    evaluation_secs: self.evaluation_time,
                    last_evaluation,
                }))
            }
            other => Err(Error::corrupt(format!("rule of type {other:?}"))),
        }
    }
}

impl AlertAnswer {
    fn alert(self) -> Result<AlertInstance> {
        Ok(AlertInstance {
            labels: self.labels.0,
            annotations: self.annotations.0,
            state: state(&self.state)?,
            active_at: self.active_at.as_deref().map(time).transpose()?,
            value: self.value,
            // COMPAT: Thanos has its own strategy for groups alone; alerts have the one that is the default on the wire.
            partial_response: PartialResponse::Warn,
        })
    }
}

fn state(text: &str) -> Result<AlertState> {
    match text {
        "" | "unknown" => Ok(AlertState::Unknown),
        "inactive" => Ok(AlertState::Inactive),
        "pending" => Ok(AlertState::Pending),
        "firing" => Ok(AlertState::Firing),
        other => Err(Error::corrupt(format!("alert in state {other:?}"))),
    }
}
