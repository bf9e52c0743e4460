//! What the components of a deployment answer beside samples: `rules`, `alerts`, `targets`, `status/tsdb`, and, where they
//! are asked for it, `metadata` and `query_exemplars`.
//!
//! Sources: Thanos `pkg/api/query/v1.go`, `pkg/rules/rulespb`, `pkg/targets/targetspb`, `pkg/status`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use thanos_core::labels::Matcher;
use thanos_storeapi::apis::exemplars::{ExemplarsRequest, SeriesExemplars};
use thanos_storeapi::apis::metadata::{Metadata, MetadataRequest};
use thanos_storeapi::apis::rules::{Rule, RuleGroup, RuleKinds, RulesRequest};
use thanos_storeapi::apis::status::{StatusRequest, TsdbStatistics};
use thanos_storeapi::apis::targets::{TargetStates, TargetsRequest};
use thanos_storeapi::apis::{Answer, Apis};
use thanos_storeapi::store::PartialResponse;
use thanos_storeapi::tenancy::enforced;
use thanos_storeapi::tenant::TenantId;

use super::Api;
use super::answer::{Failure, Remarks, array_pieces, json_text, stream_success};
use super::component_json::{alert_json, dropped_json, group_json, statistics_json, target_json};
use super::params::Params;
use crate::engine::missing_texts;
use crate::error::{Error, ErrorKind};

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
    /// The label that holds the tenant (`--query.tenant-label-name`), where nobody may see what is others'. Statistics and
    /// running queries are kept apart here, all else by those who answer.
    pub enforced_label: Option<String>,
}

/// Returns what is asked for, or the failure of a request that nobody can answer.
fn there<'a, A: ?Sized>(api: &'a Option<Arc<A>>, what: &str) -> Result<&'a Arc<A>, Failure> {
    let missing = || {
        let text = format!("there is nobody to ask for {what}");
        Failure::from(Error::new(ErrorKind::NotFound, text))
    };
    api.as_ref().ok_or_else(missing)
}

/// Returns a failure of components: none of the request's fault.
fn failed(what: &str, error: &thanos_core::Error) -> Failure {
    Error::new(ErrorKind::Internal, format!("{what}: {error}")).into()
}

/// Returns what is to be said about an answer, with what is missing.
pub(super) fn warnings<T>(answer: &Answer<T>) -> Vec<String> {
    let missing = missing_texts(&answer.completeness);
    answer.warnings.iter().cloned().chain(missing).collect()
}

/// Returns the answer whose data `pieces` makes; its memory is held until the last piece is sent.
fn answered<T, P>(answer: Answer<T>, pieces: impl FnOnce(T) -> P) -> Response
where
    P: Iterator<Item = Bytes> + Send + 'static,
{
    let remarks = Remarks::warnings(warnings(&answer));
    stream_success(pieces(answer.value), &remarks, answer.held)
}

/// Returns the pieces of the member `name` of an object, a list whose elements `json` makes; `start` and `end` stand around it.
fn member<T: Send + 'static>(
    start: &'static str,
    list: impl IntoIterator<Item = T>,
    json: fn(&T) -> Value,
    end: &'static str,
) -> impl Iterator<Item = Bytes> {
    let write = move |out: &mut Vec<u8>, item: &T| out.extend(json_text(&json(item)));
    let text = |text: &'static str| std::iter::once(Bytes::from_static(text.as_bytes()));
    text(start)
        .chain(array_pieces(list, write))
        .chain(text(end))
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
        member("{\"groups\":", groups, group_json, "}")
    }))
}

pub(super) async fn alerts(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let request = RulesRequest {
        kind: RuleKinds::Alerting,
        ..rules_request(&api, &params)?
    };
    let answer = ask_rules(&api, request).await?;
    Ok(answered(answer, |groups| {
        let rules = groups.into_iter().flat_map(|group| group.rules);
        let alerts = rules.flat_map(|rule| match rule {
            Rule::Alerting(rule) => rule.alerts,
            Rule::Recording(_) => Vec::new(),
        });
        member("{\"alerts\":", alerts, alert_json, "}")
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
        ..TargetsRequest::default()
    };
    let targets = there(&api.components.apis.targets, "targets")?;
    let answer = targets.targets(request).await;
    let answer = answer.map_err(|error| failed("retrieving targets", &error))?;
    Ok(answered(answer, |targets| {
        let active = member("{\"activeTargets\":", targets.active, target_json, "");
        let dropped = member(",\"droppedTargets\":", targets.dropped, dropped_json, "}");
        active.chain(dropped)
    }))
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
        matchers = enforced(matchers, label, &tenant);
    }
    let request = StatusRequest {
        only_tenant: None,
        entries_max,
        matchers,
        partial_response: components.status,
        tenant: tenant.clone(),
        ..StatusRequest::default()
    };
    let status = there(&components.apis.status, "statistics")?;
    let answer = status.tsdb_statistics(request).await;
    let what = "retrieving tsdb statistics";
    let answer = answer.map_err(|error| failed(what, &error))?;
    // The statistics of a Prometheus have no name; its external labels match.
    let is_own = |name: &String| name.is_empty() || name == tenant.as_str();
    if components.enforced_label.is_some() && !answer.value.keys().any(is_own) {
        let error = thanos_core::Error::not_found(format!("{tenant} tenant not found"));
        return Err(failed(what, &error));
    }
    let is_enforced = components.enforced_label.is_some();
    Ok(answered(answer, |mut all| {
        if is_enforced {
            all.retain(|name, _| name.is_empty() || name == tenant.as_str());
        }
        let mut whole = TsdbStatistics::default();
        all.into_values().for_each(|one| whole.add(one));
        let text = json_text(&statistics_json(whole, entries_max));
        std::iter::once(Bytes::from(text))
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
        ..MetadataRequest::default()
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
        ..ExemplarsRequest::default()
    };
    let answer = exemplars.exemplars(request).await;
    let answer = answer.map_err(|error| failed("retrieving exemplars", &error))?;
    Ok(Some(answer))
}
