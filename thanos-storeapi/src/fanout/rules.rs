//! Rules of many components.
//!
//! Source: Thanos' `pkg/rules/rules.go` and `pkg/rules/rulespb/custom.go`.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::labels::{Labels, Matcher};

use super::Fanout;
use crate::apis::Answer;
use crate::apis::rules::{Rule, RuleGroup, RuleKinds, RulesApi, RulesRequest};
use crate::tenant::TenantId;

#[async_trait]
impl RulesApi for Fanout {
    async fn rules(&self, mut request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
        request.budget = self.request_budget();
        let policy = request.partial_response;
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().rules.as_ref()?);
            let request = request.clone();
            let call = async move { api.rules(request).await };
            Some(Box::pin(call) as _)
        };
        let what = "fetching rules";
        let answer: Answer<Vec<Vec<RuleGroup>>> =
            self.ask(what, policy, |offers| offers.rules, call).await?;
        // Whoever has no filters has sent everything.
        let wanted = |groups: Vec<Vec<RuleGroup>>| {
            let groups = groups.into_iter().flatten();
            let groups = groups.filter_map(|group| self.seen(group, &request.tenant));
            self.merged(groups.filter_map(|group| filtered(group, &request)))
        };
        Ok(answer.map(wanted))
    }
}

impl Fanout {
    /// Returns what `tenant` may see of a group, if there is anything.
    fn seen(&self, mut group: RuleGroup, tenant: &TenantId) -> Option<RuleGroup> {
        if self.options.enforced_label.is_none() {
            return Some(group);
        }
        group
            .rules
            .retain(|rule| self.may_see(tenant, labels_of(rule)));
        (!group.rules.is_empty()).then_some(group)
    }

    /// Makes one group of those with equal file and name, and one rule of those that replicas have.
    fn merged(&self, groups: impl Iterator<Item = RuleGroup>) -> Vec<RuleGroup> {
        let mut by_key: BTreeMap<(String, String), RuleGroup> = BTreeMap::new();
        for mut group in groups {
            for rule in &mut group.rules {
                let labels = self.without_replicas(labels_of(rule));
                *labels_of_mut(rule) = labels;
            }
            let key = (group.file.clone(), group.name.clone());
            match by_key.get_mut(&key) {
                Some(first) => first.rules.append(&mut group.rules),
                None => {
                    by_key.insert(key, group);
                }
            }
        }
        let mut groups: Vec<_> = by_key.into_values().collect();
        for group in &mut groups {
            group
                .rules
                .sort_by(|a, b| compare(a, b).then_with(|| prefer(a, b)));
            group.rules.dedup_by(|b, a| compare(a, b).is_eq());
        }
        groups
    }
}

/// Orders rules; those of replicas are equal.
fn compare(a: &Rule, b: &Rule) -> Ordering {
    let key = |rule: &Rule| match rule {
        Rule::Alerting(rule) => (0, rule.duration_secs),
        Rule::Recording(_) => (1, 0.0),
    };
    let ((kind_a, duration_a), (kind_b, duration_b)) = (key(a), key(b));
    kind_a
        .cmp(&kind_b)
        .then_with(|| name_of(a).cmp(name_of(b)))
        .then_with(|| labels_of(a).cmp(labels_of(b)))
        .then_with(|| query_of(a).cmp(query_of(b)))
        .then_with(|| duration_a.total_cmp(&duration_b))
}

/// Orders equal rules: first the one to keep, the most urgent and then the one that was evaluated last.
fn prefer(a: &Rule, b: &Rule) -> Ordering {
    let key = |rule: &Rule| match rule {
        Rule::Alerting(rule) => Reverse((Some(rule.state), rule.last_evaluation)),
        Rule::Recording(rule) => Reverse((None, rule.last_evaluation)),
    };
    key(a).cmp(&key(b)).then_with(|| said(a).cmp(&said(b)))
}

/// What tells replicas apart that are as good as each other, so that the order in which they come does not.
fn said(rule: &Rule) -> (Vec<(&Labels, &str)>, &str, &str) {
    match rule {
        Rule::Alerting(rule) => {
            let alerts = rule.alerts.iter();
            let alerts = alerts.map(|alert| (&alert.labels, alert.value.as_str()));
            (alerts.collect(), &rule.health, &rule.last_error)
        }
        Rule::Recording(rule) => (Vec::new(), &rule.health, &rule.last_error),
    }
}

fn name_of(rule: &Rule) -> &str {
    match rule {
        Rule::Recording(rule) => &rule.name,
        Rule::Alerting(rule) => &rule.name,
    }
}

fn query_of(rule: &Rule) -> &str {
    match rule {
        Rule::Recording(rule) => &rule.query,
        Rule::Alerting(rule) => &rule.query,
    }
}

fn labels_of(rule: &Rule) -> &Labels {
    match rule {
        Rule::Recording(rule) => &rule.labels,
        Rule::Alerting(rule) => &rule.labels,
    }
}

fn labels_of_mut(rule: &mut Rule) -> &mut Labels {
    match rule {
        Rule::Recording(rule) => &mut rule.labels,
        Rule::Alerting(rule) => &mut rule.labels,
    }
}

/// Returns what is wanted of a group, or nothing when no rule is.
fn filtered(mut group: RuleGroup, request: &RulesRequest) -> Option<RuleGroup> {
    let names = |wanted: &[String], name: &String| wanted.is_empty() || wanted.contains(name);
    if !names(&request.rule_groups, &group.name) || !names(&request.files, &group.file) {
        return None;
    }
    let is_wanted = |rule: &Rule| {
        let has_kind = match request.kind {
            RuleKinds::All => true,
            RuleKinds::Alerting => matches!(rule, Rule::Alerting(_)),
            RuleKinds::Recording => matches!(rule, Rule::Recording(_)),
        };
        has_kind
            && (request.rule_names.is_empty()
                || request.rule_names.iter().any(|name| name == name_of(rule)))
            && fits(labels_of(rule), &request.matchers)
    };
    group.rules.retain(is_wanted);
    let filters = request.kind != RuleKinds::All
        || !request.matchers.is_empty()
        || !request.rule_names.is_empty();
    (!filters || !group.rules.is_empty()).then_some(group)
}

/// Reports whether labels satisfy all sets. A label whose value is a template has no value yet.
fn fits(labels: &Labels, sets: &[Vec<Matcher>]) -> bool {
    sets.iter().flatten().all(|matcher| {
        let value = labels.get(matcher.name()).unwrap_or_default();
        let value = if value.contains("{{") { "" } else { &*value };
        matcher.matches(value)
    })
}
