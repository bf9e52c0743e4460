//! What the components of a deployment answer beside samples: `rules`, `alerts`, `targets`, `status/tsdb`, and, where they
//! are asked for it, `metadata` and `query_exemplars`.
//!
//! Sources: Thanos `pkg/api/query/v1.go`, `pkg/rules/rulespb`, `pkg/targets/targetspb`, `pkg/status`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::time::UtcTime;
use thanos_storeapi::apis::exemplars::{ExemplarsRequest, SeriesExemplars};
use thanos_storeapi::apis::metadata::{Metadata, MetadataRequest};
use thanos_storeapi::apis::rules::{
    AlertInstance, AlertState, AlertingRule, RecordingRule, Rule, RuleGroup, RuleKinds,
    RulesRequest,
};
use thanos_storeapi::apis::status::{Statistic, StatusRequest, TsdbStatistics};
use thanos_storeapi::apis::targets::{
    ActiveTarget, TargetHealth, TargetStates, Targets, TargetsRequest,
};
use thanos_storeapi::apis::{Answer, Apis};
use thanos_storeapi::store::PartialResponse;
use thanos_storeapi::tenant::TenantId;

use super::Api;
use super::answer::{Failure, Remarks, json_text, success};
use super::params::Params;

/// How many entries each list of statistics has when the request does not say.
const STATISTICS_DEFAULT: usize = 10;

/// The components that are asked, and what happens when one of them fails.
#[derive(Debug, Clone, Default)]
pub struct Components {
    /// Whom to ask; what there is nobody for is not found, or asked of the hooks.
    pub apis: Apis,
    /// `--rule.partial-response`: for rules and alerts.
    pub rules: PartialResponse,
    /// `--target.partial-response`.
    pub targets: PartialResponse,
    /// `--metric-metadata.partial-response`.
    pub metadata: PartialResponse,
    /// `--exemplar.partial-response`.
    pub exemplars: PartialResponse,
    /// `--status.partial-response`.
    pub status: PartialResponse,
    /// The label that holds the tenant (`--query.tenant-label-name`), where nobody may see the statistics of others.
    pub enforced_label: Option<String>,
}

/// Returns what is asked for, or the failure of a request that nobody can answer.
fn there<'a, A: ?Sized>(api: &'a Option<Arc<A>>, what: &str) -> Result<&'a Arc<A>, Failure> {
    let missing = || thanos_core::Error::not_found(format!("there is nobody to ask for {what}"));
    api.as_ref().ok_or_else(|| missing().into())
}

/// Returns a failure of components: none of the request's fault.
fn failed(what: &str, error: &thanos_core::Error) -> Failure {
    thanos_core::Error::internal(format!("{what}: {error}")).into()
}

/// Returns what is to be said about an answer, with what is missing.
pub(super) fn warnings<T>(answer: &Answer<T>) -> Vec<String> {
    let missing = answer.completeness.missing().iter();
    let missing = missing.map(|missing| match missing.source.as_str() {
        "" => missing.reason.clone(),
        source => format!("{source}: {}", missing.reason),
    });
    answer.warnings.iter().cloned().chain(missing).collect()
}

/// Returns the answer made of `answer`.
fn answered<T>(answer: Answer<T>, write: impl FnOnce(T) -> Value) -> Response {
    let warnings = warnings(&answer);
    let value = write(answer.value);
    success(json_text(&value), &Remarks::warnings(warnings))
}

pub(super) async fn rules(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let kind = match params.get("type").to_lowercase().as_str() {
        "" | "all" => RuleKinds::All,
        "alert" => RuleKinds::Alerting,
        "record" => RuleKinds::Recording,
        _ => {
            let given = params.get("type");
            let text = format!("invalid rules parameter type='{given}'");
            return Err(Failure::bad_data(text));
        }
    };
    let all = |name| params.all(name).map(str::to_owned).collect();
    let request = RulesRequest {
        kind,
        matchers: matcher_sets(&api, &params)?,
        rule_names: all("rule_name[]"),
        rule_groups: all("rule_group[]"),
        files: all("file[]"),
        ..rules_request(&api, &params)?
    };
    let answer = ask_rules(&api, request).await?;
    Ok(answered(answer, |groups| {
        let groups: Vec<_> = groups.into_iter().map(group_json).collect();
        json!({"groups": groups})
    }))
}

pub(super) async fn alerts(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let request = RulesRequest {
        kind: RuleKinds::Alerting,
        ..rules_request(&api, &params)?
    };
    let answer = ask_rules(&api, request).await?;
    Ok(answered(answer, |groups| {
        let alerts =
            groups
                .into_iter()
                .flat_map(|group| group.rules)
                .filter_map(|rule| match rule {
                    Rule::Alerting(rule) => Some(rule.alerts),
                    Rule::Recording(_) => None,
                });
        let alerts: Vec<_> = alerts.flatten().map(alert_json).collect();
        json!({"alerts": alerts})
    }))
}

fn rules_request(api: &Api, params: &Params) -> Result<RulesRequest, Failure> {
    Ok(RulesRequest {
        partial_response: api.components.rules,
        tenant: tenant(api, params)?,
        ..RulesRequest::default()
    })
}

async fn ask_rules(api: &Api, request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>, Failure> {
    let rules = there(&api.components.apis.rules, "rules")?;
    let answer = rules.rules(request).await;
    answer.map_err(|error| failed("error retrieving rules", &error))
}

fn matcher_sets(api: &Api, params: &Params) -> Result<Vec<Vec<Matcher>>, Failure> {
    let options = &api.engine.options().parser;
    let sets = params.matcher_sets("match[]", options);
    sets.map_err(Failure::bad_data)
}

fn tenant(api: &Api, params: &Params) -> Result<TenantId, Failure> {
    Ok(params.source(api)?.tenant)
}

pub(super) async fn targets(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let state = match params.get("state").to_lowercase().as_str() {
        "" | "any" => TargetStates::Any,
        "active" => TargetStates::Active,
        "dropped" => TargetStates::Dropped,
        _ => {
            let given = params.get("state");
            let text = format!("invalid targets parameter state='{given}'");
            return Err(Failure::bad_data(text));
        }
    };
    let request = TargetsRequest {
        state,
        partial_response: api.components.targets,
        tenant: tenant(&api, &params)?,
    };
    let targets = there(&api.components.apis.targets, "targets")?;
    let answer = targets.targets(request).await;
    let answer = answer.map_err(|error| failed("retrieving targets", &error))?;
    Ok(answered(answer, targets_json))
}

pub(super) async fn tsdb_status(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let entries_max = match params.limit()? {
        0 => STATISTICS_DEFAULT,
        limit => limit,
    };
    let components = &api.components;
    let sets = matcher_sets(&api, &params)?;
    let mut matchers: Vec<Matcher> = sets.into_iter().flatten().collect();
    let tenant = tenant(&api, &params)?;
    if let Some(label) = &components.enforced_label {
        matchers.push(Matcher::new(MatchOp::Equal, label, tenant.as_str())?);
    }
    let request = StatusRequest {
        only_tenant: None,
        entries_max,
        matchers,
        partial_response: components.status,
        tenant: tenant.clone(),
    };
    let status = there(&components.apis.status, "statistics")?;
    let answer = status.tsdb_statistics(request).await;
    let what = "retrieving tsdb statistics";
    let answer = answer.map_err(|error| failed(what, &error))?;
    if components.enforced_label.is_some() && !answer.value.contains_key(tenant.as_str()) {
        let error = thanos_core::Error::not_found(format!("{tenant} tenant not found"));
        return Err(failed(what, &error));
    }
    let is_enforced = components.enforced_label.is_some();
    Ok(answered(answer, |mut all| {
        if is_enforced {
            all.retain(|name, _| name == tenant.as_str());
        }
        let mut whole = TsdbStatistics::default();
        all.into_values().for_each(|one| whole.add(one));
        statistics_json(whole, entries_max)
    }))
}

/// Returns what the components know about metrics, or nothing when there is nobody to ask.
pub(super) async fn metadata(
    api: &Api,
    params: &Params,
    metric: Option<String>,
    metrics_max: Option<usize>,
) -> Result<Option<Answer<Metadata>>, Failure> {
    let Some(metadata) = &api.components.apis.metadata else {
        return Ok(None);
    };
    let request = MetadataRequest {
        metric,
        metrics_max,
        partial_response: api.components.metadata,
        tenant: tenant(api, params)?,
    };
    let answer = metadata.metadata(request).await;
    let answer = answer.map_err(|error| failed("retrieving metadata", &error))?;
    Ok(Some(answer))
}

/// Returns the exemplars of the components, or nothing when there is nobody to ask.
pub(super) async fn exemplars(
    api: &Api,
    params: &Params,
    range: thanos_core::time::TimeRange,
) -> Result<Option<Answer<Vec<SeriesExemplars>>>, Failure> {
    let Some(exemplars) = &api.components.apis.exemplars else {
        return Ok(None);
    };
    let request = ExemplarsRequest {
        query: params.get("query").to_owned(),
        range,
        partial_response: api.components.exemplars,
        tenant: tenant(api, params)?,
    };
    let answer = exemplars.exemplars(request).await;
    let answer = answer.map_err(|error| failed("retrieving exemplars", &error))?;
    Ok(Some(answer))
}

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

fn group_json(group: RuleGroup) -> Value {
    let rules: Vec<_> = group.rules.into_iter().map(rule_json).collect();
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

fn rule_json(rule: Rule) -> Value {
    let (mut rule, last_error) = match rule {
        Rule::Recording(rule) => recording_json(rule),
        Rule::Alerting(rule) => alerting_json(rule),
    };
    if !last_error.is_empty() {
        rule.insert("lastError".into(), last_error.into());
    }
    Value::Object(rule)
}

fn recording_json(rule: RecordingRule) -> (Map<String, Value>, String) {
    let members = [
        ("type", json!("recording")),
        ("name", json!(rule.name)),
        ("query", json!(rule.query)),
        ("labels", labels_json(&rule.labels)),
        ("health", json!(rule.health)),
        ("evaluationTime", number(rule.evaluation_secs)),
        ("lastEvaluation", time(rule.last_evaluation)),
    ];
    (object(members), rule.last_error)
}

fn alerting_json(rule: AlertingRule) -> (Map<String, Value>, String) {
    let alerts: Vec<_> = rule.alerts.into_iter().map(alert_json).collect();
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
    (object(members), rule.last_error)
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn alert_json(alert: AlertInstance) -> Value {
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

fn targets_json(targets: Targets) -> Value {
    let active: Vec<_> = targets.active.into_iter().map(target_json).collect();
    let dropped: Vec<_> = targets
        .dropped
        .iter()
        .map(|target| json!({"discoveredLabels": labels_json(&target.discovered_labels)}))
        .collect();
    json!({"activeTargets": active, "droppedTargets": dropped})
}

fn target_json(target: ActiveTarget) -> Value {
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

fn statistics_json(statistics: TsdbStatistics, entries_max: usize) -> Value {
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
