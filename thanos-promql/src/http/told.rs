//! What the [`Hooks`](super::Hooks) tell: `metadata`, `query_exemplars` and the pages under `status`.

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::response::Response;
use serde_json::json;
use thanos_core::text::{FloatFormat, push_float};
use thanos_core::time::{Clock, TimeRange, Timestamp, UtcTime};
use thanos_storeapi::apis::Held;

use super::answer::{
    Failure, Remarks, array_pieces, json_text, no_data, object_pieces, stream_success, success,
};
use super::hooks::{
    Exemplar, ExemplarRequest, Hooks, Metadata, MetadataRequest, MetricMetadata, SeriesExemplars,
    Told,
};
use super::options::Dialect;
use super::params::{Params, invalid};
use super::{Api, components};
use crate::error::{Error, ErrorKind};
use crate::json::{write_labels, write_string, write_time};
use crate::parser;

pub(super) async fn metadata(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let metrics_max = most(&params, "limit", Zero::IsNone)?;
    let entries_max = most(&params, "limit_per_metric", Zero::IsAll)?;
    let metric = Some(params.get("metric").to_owned()).filter(|metric| !metric.is_empty());
    let request = MetadataRequest {
        metric,
        metrics_max,
        entries_max,
        source: params.source(&api)?,
    };
    let (told, held) = told_metadata(&api, &params, &request).await?;
    let wanted = told
        .value
        .into_iter()
        .filter(move |(name, _)| request.metric.as_ref().is_none_or(|metric| metric == name));
    let write = move |out: &mut Vec<u8>, (name, entries): &(String, Vec<MetricMetadata>)| {
        let entries = entries.iter().take(entries_max.unwrap_or(usize::MAX));
        let entries: Vec<_> = entries
            .map(|one| json!({"type": one.metric_type, "unit": one.unit, "help": one.help}))
            .collect();
        write_string(out, name);
        out.push(b':');
        out.extend(json_text(&entries.into()));
    };
    let pieces = object_pieces(wanted.take(metrics_max.unwrap_or(usize::MAX)), write);
    Ok(stream_success(
        pieces,
        &Remarks::warnings(told.warnings),
        held,
    ))
}

/// Asks the components, or the hooks where there are none.
async fn told_metadata(
    api: &Api,
    params: &Params,
    request: &MetadataRequest,
) -> Result<(Told<Metadata>, Held), Failure> {
    let (metric, metrics_max) = (request.metric.clone(), request.metrics_max);
    let Some(answer) = components::metadata(api, params, metric, metrics_max).await? else {
        return Ok((api.hooks.metadata(request).await?, Held::default()));
    };
    let warnings = components::warnings(&answer);
    let entry = |entry: thanos_storeapi::apis::metadata::MetricMetadata| MetricMetadata {
        metric_type: entry.metric_type,
        unit: entry.unit,
        help: entry.help,
    };
    let value = answer.value.into_iter();
    let value = value.map(|(name, entries)| (name, entries.into_iter().map(entry).collect()));
    let told = Told {
        value: value.collect(),
        warnings,
    };
    Ok((told, answer.held))
}

/// What a limit of zero means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zero {
    IsNone,
    IsAll,
}

/// Returns the limit in `name`; negative means that there is none.
///
/// Source: Prometheus `web/api/v1/api.go`, `metricMetadata`.
fn most(params: &Params, name: &str, zero: Zero) -> Result<Option<usize>, Failure> {
    let text = params.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let limit: i64 = text
        .parse()
        .map_err(|_| Failure::bad_data(format!("{name} must be a number")))?;
    let limit = usize::try_from(limit).ok();
    Ok(limit.filter(|limit| *limit > 0 || zero == Zero::IsNone))
}

pub(super) async fn exemplars(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let range = TimeRange {
        min: params.time_or("start", Timestamp::MIN)?,
        max: params.time_or("end", Timestamp::MAX)?,
    };
    if range.max < range.min {
        let text = "end timestamp must not be before start timestamp";
        return Err(Failure::bad_data(text));
    }
    let options = &api.engine.options().parser;
    let expr = parser::parse(params.get("query"), options)
        .map_err(|error| Failure::bad_data(error.to_string()))?;
    let selectors = expr
        .selectors()
        .into_iter()
        .map(parser::VectorSelector::compile_matchers)
        .collect::<thanos_core::Result<Vec<_>>>()
        .map_err(|error| invalid("query", &error.to_string()))?;
    if selectors.is_empty() {
        return Ok(match api.options.dialect {
            Dialect::Prometheus => no_data(),
            Dialect::Thanos { .. } => success(b"[]".to_vec(), &Remarks::default()),
        });
    }
    let request = ExemplarRequest {
        selectors,
        range,
        source: params.source(&api)?,
    };
    let (told, held) = match components::exemplars(&api, &params, request.range).await? {
        None => (api.hooks.exemplars(&request).await?, Held::default()),
        Some(answer) => {
            let told = Told {
                warnings: components::warnings(&answer),
                value: answer.value.into_iter().map(series_exemplars).collect(),
            };
            (told, answer.held)
        }
    };
    let remarks = Remarks::warnings(told.warnings);
    let pieces = array_pieces(told.value, write_series_exemplars);
    Ok(stream_success(pieces, &remarks, held))
}

fn series_exemplars(series: thanos_storeapi::apis::exemplars::SeriesExemplars) -> SeriesExemplars {
    let exemplar = |exemplar: thanos_storeapi::apis::exemplars::Exemplar| Exemplar {
        labels: exemplar.labels,
        value: exemplar.value,
        time: exemplar.time,
    };
    SeriesExemplars {
        labels: series.labels,
        exemplars: series.exemplars.into_iter().map(exemplar).collect(),
    }
}

fn write_series_exemplars(out: &mut Vec<u8>, series: &SeriesExemplars) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    write_labels(out, series.labels.as_ref());
    out.extend_from_slice(b",\"exemplars\":[");
    for (i, exemplar) in series.exemplars.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_exemplar(out, exemplar);
    }
    out.extend_from_slice(b"]}");
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(b"{\"labels\":");
    write_labels(out, exemplar.labels.as_ref());
    out.extend_from_slice(b",\"value\":\"");
    push_float(out, exemplar.value, FloatFormat::Json);
    out.extend_from_slice(b"\",\"timestamp\":");
    write_time(out, exemplar.time);
    out.push(b'}');
}

/// What the pages about the process are made of.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) started: Timestamp,
}

impl FromRef<Api> for Process {
    fn from_ref(api: &Api) -> Self {
        Self {
            hooks: Arc::clone(&api.hooks),
            clock: api.engine.clock(),
            started: api.started,
        }
    }
}

pub(super) async fn build_info(State(process): State<Process>) -> Response {
    let info = process.hooks.build_info();
    told(&json!({
        "version": info.version,
        "revision": info.revision,
        "branch": info.branch,
        "buildUser": info.build_user,
        "buildDate": info.build_date,
        // Clients of Prometheus expect the member.
        "goVersion": "",
    }))
}

pub(super) async fn runtime_info(State(process): State<Process>) -> Response {
    let info = process.hooks.runtime_info();
    let time = |time| UtcTime::from_timestamp(time).to_string();
    let started = time(info.start_time.unwrap_or(process.started));
    told(&json!({
        "startTime": started,
        "CWD": info.working_dir,
        "hostname": info.hostname,
        "serverTime": time(process.clock.now()),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": info.threads_max,
        "GOMEMLIMIT": info.memory_bytes_max.unwrap_or(i64::MAX as u64),
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": info.storage_retention,
    }))
}

pub(super) async fn flags(State(process): State<Process>) -> Response {
    told(&json!(process.hooks.flags()))
}

pub(super) async fn config(State(api): State<Api>) -> Response {
    told(&json!({"yaml": api.hooks.config_yaml()}))
}

/// The queries that run; not an endpoint of Prometheus, which only has a file.
pub(super) async fn active_queries(State(api): State<Api>) -> Result<Response, Failure> {
    if api.components.enforced_label.is_some() {
        let text = "the queries of others are not shown: tenancy is enforced";
        return Err(Error::new(ErrorKind::NotFound, text).into());
    }
    let now = api.engine.now();
    let queries: Vec<_> = api
        .active
        .list()
        .iter()
        .map(|query| {
            json!({
                "id": query.id,
                "query": query.text,
                "startTime": UtcTime::from_timestamp(query.started).to_string(),
                "durationMs": now - query.started,
            })
        })
        .collect();
    Ok(told(&queries.into()))
}

fn told(value: &serde_json::Value) -> Response {
    success(json_text(value), &Remarks::default())
}

/// Returns hooks that tell nothing.
pub(super) fn silent() -> Arc<dyn Hooks> {
    Arc::new(super::hooks::NoHooks)
}
