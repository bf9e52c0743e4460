//! Rules and alerts.

use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};

use super::selector::{matchers_of, selector_text};
use super::{
    known_time, labels, policy_from_pb, policy_to_pb, some_labels, some_time, streamed, time,
};
use crate::apis::rules::{
    AlertInstance, AlertState, AlertingRule, RecordingRule, Rule, RuleGroup, RuleKinds,
    RulesRequest,
};
use crate::matchers::MatcherSource;
use crate::pb::thanos as pb;
use crate::tenant::TenantId;
use pb::rules_request::Type;

streamed!(RulesResponse, rules_response::Group(RuleGroup));

impl From<RulesRequest> for pb::RulesRequest {
    fn from(request: RulesRequest) -> Self {
        let kind = match request.kind {
            RuleKinds::All => Type::All,
            RuleKinds::Alerting => Type::Alert,
            RuleKinds::Recording => Type::Record,
        };
        let sets = request.matchers.iter();
        Self {
            r#type: kind.into(),
            partial_response_strategy: policy_to_pb(request.partial_response),
            matcher_string: sets.map(|set| selector_text(set)).collect(),
            rule_name: request.rule_names,
            rule_group: request.rule_groups,
            file: request.files,
        }
    }
}

/// Returns the request, its matchers made by `source`.
pub(crate) fn rules_request_from_pb(
    request: pb::RulesRequest,
    source: &dyn MatcherSource,
) -> Result<RulesRequest> {
    let kind = Type::try_from(request.r#type)
        .map_err(|_| Error::invalid(format!("unknown type of rules {}", request.r#type)))?;
    let selectors = request.matcher_string.iter();
    Ok(RulesRequest {
        kind: match kind {
            Type::All => RuleKinds::All,
            Type::Alert => RuleKinds::Alerting,
            Type::Record => RuleKinds::Recording,
        },
        matchers: selectors
            .map(|text| matchers_of(text, source))
            .collect::<Result<_>>()?,
        rule_names: request.rule_name,
        rule_groups: request.rule_group,
        files: request.file,
        partial_response: policy_from_pb(request.partial_response_strategy),
        tenant: TenantId::default(),
        budget: MemoryBudget::default(),
    })
}

impl From<RuleGroup> for pb::RuleGroup {
    fn from(group: RuleGroup) -> Self {
        Self {
            name: group.name,
            file: group.file,
            rules: group.rules.into_iter().map(Into::into).collect(),
            interval: group.interval_secs,
            evaluation_duration_seconds: group.evaluation_secs,
            last_evaluation: some_time(group.last_evaluation),
            limit: group.limit,
            partial_response_strategy: policy_to_pb(group.partial_response),
        }
    }
}

/// A rule of a kind that this version does not know is left out.
impl From<pb::RuleGroup> for RuleGroup {
    fn from(group: pb::RuleGroup) -> Self {
        Self {
            last_evaluation: time(group.last_evaluation.as_ref()),
            partial_response: policy_from_pb(group.partial_response_strategy),
            name: group.name,
            file: group.file,
            rules: group.rules.into_iter().filter_map(rule_from_pb).collect(),
            interval_secs: group.interval,
            evaluation_secs: group.evaluation_duration_seconds,
            limit: group.limit,
        }
    }
}

impl From<Rule> for pb::Rule {
    fn from(rule: Rule) -> Self {
        let result = match rule {
            Rule::Recording(rule) => pb::rule::Result::Recording(rule.into()),
            Rule::Alerting(rule) => pb::rule::Result::Alert(rule.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

fn rule_from_pb(rule: pb::Rule) -> Option<Rule> {
    Some(match rule.result? {
        pb::rule::Result::Recording(rule) => Rule::Recording(rule.into()),
        pb::rule::Result::Alert(rule) => Rule::Alerting(rule.into()),
    })
}

impl From<RecordingRule> for pb::RecordingRule {
    fn from(rule: RecordingRule) -> Self {
        Self {
            name: rule.name,
            query: rule.query,
            labels: some_labels(&rule.labels),
            health: rule.health,
            last_error: rule.last_error,
            evaluation_duration_seconds: rule.evaluation_secs,
            last_evaluation: some_time(rule.last_evaluation),
        }
    }
}

impl From<pb::RecordingRule> for RecordingRule {
    fn from(rule: pb::RecordingRule) -> Self {
        Self {
            labels: labels(rule.labels.as_ref()),
            last_evaluation: time(rule.last_evaluation.as_ref()),
            name: rule.name,
            query: rule.query,
            health: rule.health,
            last_error: rule.last_error,
            evaluation_secs: rule.evaluation_duration_seconds,
        }
    }
}

impl From<AlertingRule> for pb::Alert {
    fn from(rule: AlertingRule) -> Self {
        Self {
            state: state_to_pb(rule.state),
            name: rule.name,
            query: rule.query,
            duration_seconds: rule.duration_secs,
            labels: some_labels(&rule.labels),
            annotations: some_labels(&rule.annotations),
            alerts: rule.alerts.into_iter().map(Into::into).collect(),
            health: rule.health,
            last_error: rule.last_error,
            evaluation_duration_seconds: rule.evaluation_secs,
            last_evaluation: some_time(rule.last_evaluation),
            keep_firing_for_seconds: rule.keep_firing_for_secs,
        }
    }
}

impl From<pb::Alert> for AlertingRule {
    fn from(rule: pb::Alert) -> Self {
        Self {
            state: state_from_pb(rule.state()),
            labels: labels(rule.labels.as_ref()),
            annotations: labels(rule.annotations.as_ref()),
            last_evaluation: time(rule.last_evaluation.as_ref()),
            alerts: rule.alerts.into_iter().map(Into::into).collect(),
            name: rule.name,
            query: rule.query,
            duration_secs: rule.duration_seconds,
            keep_firing_for_secs: rule.keep_firing_for_seconds,
            health: rule.health,
            last_error: rule.last_error,
            evaluation_secs: rule.evaluation_duration_seconds,
        }
    }
}

impl From<AlertInstance> for pb::AlertInstance {
    fn from(alert: AlertInstance) -> Self {
        Self {
            labels: some_labels(&alert.labels),
            annotations: some_labels(&alert.annotations),
            state: state_to_pb(alert.state),
            active_at: alert.active_at.and_then(some_time),
            value: alert.value,
            partial_response_strategy: policy_to_pb(alert.partial_response),
        }
    }
}

impl From<pb::AlertInstance> for AlertInstance {
    fn from(alert: pb::AlertInstance) -> Self {
        Self {
            labels: labels(alert.labels.as_ref()),
            annotations: labels(alert.annotations.as_ref()),
            state: state_from_pb(alert.state()),
            active_at: alert.active_at.as_ref().and_then(known_time),
            value: alert.value,
            partial_response: policy_from_pb(alert.partial_response_strategy),
        }
    }
}

fn state_to_pb(state: AlertState) -> i32 {
    match state {
        AlertState::Unknown => pb::AlertState::Unknown,
        AlertState::Inactive => pb::AlertState::Inactive,
        AlertState::Pending => pb::AlertState::Pending,
        AlertState::Firing => pb::AlertState::Firing,
    }
    .into()
}

fn state_from_pb(state: pb::AlertState) -> AlertState {
    match state {
        pb::AlertState::Unknown => AlertState::Unknown,
        pb::AlertState::Inactive => AlertState::Inactive,
        pb::AlertState::Pending => AlertState::Pending,
        pb::AlertState::Firing => AlertState::Firing,
    }
}
