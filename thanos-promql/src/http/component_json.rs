//! The JSON of rules, alerts, targets and statistics, member by member as Thanos writes it.
//!
//! Sources: Thanos `pkg/rules/rulespb/custom.go`, `pkg/targets/targetspb/custom.go`, `pkg/api/query/v1.go`.

use serde_json::{Map, Value, json};
use thanos_core::labels::Labels;
use thanos_core::time::UtcTime;
use thanos_storeapi::apis::rules::{
    AlertInstance, AlertState, AlertingRule, RecordingRule, Rule, RuleGroup,
};
use thanos_storeapi::apis::status::{Statistic, TsdbStatistics};
use thanos_storeapi::apis::targets::{ActiveTarget, DroppedTarget, TargetHealth};
use thanos_storeapi::store::PartialResponse;

/// Returns a number as Go writes it: whole ones without a point.
fn number(value: f64) -> Value {
    /// Floats below hold every whole number.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
    if value.trunc() == value && value.abs() < WHOLE_MAX {
        return json!(value as i64);
    }
    json!(value)
}

fn time(time: UtcTime) -> Value {
    json!(time.to_string())
}

fn labels_json(labels: &Labels) -> Value {
    let pair = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        (name.into_owned(), Value::from(value.into_owned()))
    };
    Value::Object(labels.iter().map(pair).collect())
}

fn policy(policy: PartialResponse) -> &'static str {
    match policy {
        PartialResponse::Warn => "WARN",
        PartialResponse::Abort => "ABORT",
    }
}

fn state(state: AlertState) -> &'static str {
    match state {
        AlertState::Unknown => "unknown",
        AlertState::Inactive => "inactive",
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
    }
}

pub(super) fn group_json(group: &RuleGroup) -> Value {
    let rules: Vec<_> = group.rules.iter().map(rule_json).collect();
    json!({
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": number(group.interval_secs),
        "evaluationTime": number(group.evaluation_secs),
        "lastEvaluation": time(group.last_evaluation),
        "limit": group.limit,
        "partialResponseStrategy": policy(group.partial_response),
    })
}

fn rule_json(rule: &Rule) -> Value {
    let (mut rule, last_error) = match rule {
        Rule::Recording(rule) => recording_json(rule),
        Rule::Alerting(rule) => alerting_json(rule),
    };
    if !last_error.is_empty() {
        rule.insert("lastError".into(), last_error.into());
    }
    Value::Object(rule)
}

fn recording_json(rule: &RecordingRule) -> (Map<String, Value>, &str) {
    let members = [
        ("type", json!("recording")),
        ("name", json!(rule.name)),
        ("query", json!(rule.query)),
        ("labels", labels_json(&rule.labels)),
        ("health", json!(rule.health)),
        ("evaluationTime", number(rule.evaluation_secs)),
        ("lastEvaluation", time(rule.last_evaluation)),
    ];
    (object(members), &rule.last_error)
}

fn alerting_json(rule: &AlertingRule) -> (Map<String, Value>, &str) {
    let alerts: Vec<_> = rule.alerts.iter().map(alert_json).collect();
    let members = [
        ("type", json!("alerting")),
        ("state", json!(state(rule.state))),
        ("name", json!(rule.name)),
        ("query", json!(rule.query)),
        ("duration", number(rule.duration_secs)),
        ("keepFiringFor", number(rule.keep_firing_for_secs)),
        ("labels", labels_json(&rule.labels)),
        ("annotations", labels_json(&rule.annotations)),
        ("alerts", alerts.into()),
        ("health", json!(rule.health)),
        ("evaluationTime", number(rule.evaluation_secs)),
        ("lastEvaluation", time(rule.last_evaluation)),
    ];
    (object(members), &rule.last_error)
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(super) fn alert_json(alert: &AlertInstance) -> Value {
    let mut members = object([
        ("labels", labels_json(&alert.labels)),
        ("annotations", labels_json(&alert.annotations)),
        ("state", json!(state(alert.state))),
        ("value", json!(alert.value)),
        (
            "partialResponseStrategy",
            json!(policy(alert.partial_response)),
        ),
    ]);
    if let Some(since) = alert.active_at {
        members.insert("activeAt".into(), time(since));
    }
    Value::Object(members)
}

pub(super) fn dropped_json(target: &DroppedTarget) -> Value {
    json!({"discoveredLabels": labels_json(&target.discovered_labels)})
}

pub(super) fn target_json(target: &ActiveTarget) -> Value {
    let health = match target.health {
        TargetHealth::Down => "down",
        TargetHealth::Up => "up",
        TargetHealth::Unknown => "unknown",
    };
    json!({
        "discoveredLabels": labels_json(&target.discovered_labels),
        "labels": labels_json(&target.labels),
        "scrapePool": target.scrape_pool,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.global_url,
        "lastError": target.last_error,
        "lastScrape": time(target.last_scrape),
        "lastScrapeDuration": number(target.last_scrape_secs),
        "health": health,
    })
}

pub(super) fn statistics_json(statistics: TsdbStatistics, entries_max: usize) -> Value {
    let list = |list: Vec<Statistic>| {
        let list = list.into_iter().take(entries_max);
        let list = list.map(|entry| json!({"name": entry.name, "value": entry.value}));
        list.collect::<Vec<_>>()
    };
    let head = &statistics.head;
    json!({
        "headStats": {
            "numSeries": head.series,
            "numLabelPairs": head.label_pairs,
            "chunkCount": head.chunks,
            "minTime": head.range.min.as_millis(),
            "maxTime": head.range.max.as_millis(),
        },
        "seriesCountByMetricName": list(statistics.series_by_metric_name),
        "labelValueCountByLabelName": list(statistics.values_by_label_name),
        "memoryInBytesByLabelName": list(statistics.bytes_by_label_name),
        "seriesCountByLabelValuePair": list(statistics.series_by_label_pair),
    })
}
