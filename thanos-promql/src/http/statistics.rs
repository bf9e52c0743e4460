//! Statistics of a query as JSON, what its operators did, and the endpoints that explain a query.
//!
//! Source: Prometheus `util/stats/query_stats.go`; Thanos `pkg/api/query/v1.go`, `queryTelemetry`.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};
use thanos_core::query::{SourcePlan, SourceUse};
use thanos_core::text::{FloatFormat, push_float};
use thanos_core::time::SignedDuration;

use super::Api;
use super::answer::{Failure, Remarks, json_text, success};
use super::params::Params;
use super::query::{instant_query, prepare, range_query};
use crate::engine::Query;
use crate::value::{OperatorStats, QueryStats, StepStats};

/// Writes the statistics of a query that waited for its place as long as `queued`.
pub(super) fn write_stats(out: &mut Vec<u8>, stats: &QueryStats, queued: Duration) {
    let timings = stats.timings;
    let eval = timings.prepare + timings.evaluate + timings.sort;
    out.extend_from_slice(b"{\"timings\":{");
    for (i, (name, time)) in [
        ("evalTotalTime", eval),
        ("resultSortTime", timings.sort),
        ("queryPreparationTime", timings.prepare),
        ("innerEvalTime", timings.evaluate),
        ("execQueueTime", queued),
        ("execTotalTime", eval + queued),
    ]
    .into_iter()
    .enumerate()
    {
        put(out, if i > 0 { ",\"" } else { "\"" });
        put(out, name);
        put(out, "\":");
        push_float(out, time.as_secs_f64(), FloatFormat::Json);
    }
    put(out, "},\"samples\":{");
    let steps = stats.steps.as_ref();
    write_steps(out, "totalQueryableSamplesPerStep", steps, |steps| {
        &steps.samples
    });
    write_count(out, "totalQueryableSamples", stats.samples);
    put(out, ",");
    write_steps(out, "samplesReadPerStep", steps, |steps| {
        &steps.samples_read
    });
    write_count(out, "samplesRead", stats.samples_read);
    put(out, ",");
    write_count(out, "peakSamples", stats.peak_samples());
    put(out, "}}");
}

fn write_count(out: &mut Vec<u8>, name: &str, count: u64) {
    put(out, "\"");
    put(out, name);
    put(out, "\":");
    put(out, itoa::Buffer::new().format(count));
}

fn write_steps(
    out: &mut Vec<u8>,
    name: &str,
    steps: Option<&StepStats>,
    counts: impl Fn(&StepStats) -> &[u64],
) {
    let Some(steps) = steps else {
        return;
    };
    put(out, "\"");
    put(out, name);
    put(out, "\":[");
    let mut ms = steps.start.as_millis();
    for (i, count) in counts(steps).iter().enumerate() {
        put(out, if i > 0 { ",[" } else { "[" });
        push_float(
            out,
            crate::functions::math::millis_to_secs(ms),
            FloatFormat::Json,
        );
        put(out, ",");
        put(out, itoa::Buffer::new().format(*count));
        put(out, "]");
        ms = ms.saturating_add(steps.step_ms);
    }
    put(out, "],");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Returns what the operators of a query did. Members that say nothing are left out, as in Thanos.
pub(super) fn analysis(stats: &OperatorStats) -> Json {
    let mut node = Map::new();
    node.insert("name".into(), stats.name.clone().into());
    node.insert("executionTime".into(), go_duration(stats.elapsed));
    node.insert("selfTime".into(), go_duration(stats.elapsed_self));
    if !stats.compute.is_zero() {
        node.insert("computeTime".into(), go_duration(stats.compute));
    }
    for (name, count) in [
        ("peakSamples", stats.samples_peak),
        ("totalSamples", stats.samples),
        ("series", stats.series),
        ("bytes", stats.bytes),
    ] {
        if count > 0 {
            node.insert(name.into(), count.into());
        }
    }
    if !stats.fanout.is_empty() {
        let fanout: Vec<Json> = stats.fanout.iter().map(fanout).collect();
        node.insert("fanout".into(), fanout.into());
    }
    add_children(&mut node, stats, analysis);
    node.into()
}

/// Returns what a store has given. Members that say nothing are left out, as in Thanos.
fn fanout(answer: &SourceUse) -> Json {
    let mut node = Map::new();
    node.insert("endpointAddr".into(), answer.source.clone().into());
    node.insert("duration".into(), go_duration(answer.elapsed));
    for (name, count) in [
        ("bytesProcessed", answer.bytes),
        ("numResponses", answer.responses),
        ("series", answer.series),
        ("chunks", answer.chunks),
        ("samples", answer.samples),
    ] {
        if count > 0 {
            node.insert(name.into(), count.into());
        }
    }
    node.into()
}

/// Returns whom a selector would ask, and why not: more than Thanos tells.
fn sources(plans: &[SourcePlan]) -> Json {
    let one = |plan: &SourcePlan| {
        let mut node = Map::new();
        node.insert("source".into(), plan.source.clone().into());
        if let Some(reason) = &plan.skipped {
            node.insert("skipped".into(), reason.clone().into());
        }
        if let Some(cost) = plan.cost {
            let cost = json!({"series": cost.series, "bytes": cost.bytes});
            node.insert("estimate".into(), cost);
        }
        if !plan.parts.is_empty() {
            node.insert("parts".into(), sources(&plan.parts));
        }
        Json::Object(node)
    };
    plans.iter().map(one).collect()
}

/// Leaves out whom a query does not ask: why tells what others have.
fn hide_skipped(stats: &mut OperatorStats) {
    stats.sources = SourcePlan::asked_of(std::mem::take(&mut stats.sources));
    stats.children.iter_mut().for_each(hide_skipped);
}

/// Returns the operators of a query.
fn explanation(stats: &OperatorStats) -> Json {
    let mut node = Map::new();
    node.insert("name".into(), stats.name.clone().into());
    if stats.span.end > stats.span.start {
        let position = json!({"start": stats.span.start, "end": stats.span.end});
        node.insert("position".into(), position);
    }
    if !stats.sources.is_empty() {
        node.insert("sources".into(), sources(&stats.sources));
    }
    add_children(&mut node, stats, explanation);
    node.into()
}

fn add_children(
    node: &mut Map<String, Json>,
    stats: &OperatorStats,
    json: fn(&OperatorStats) -> Json,
) {
    if !stats.children.is_empty() {
        let children: Vec<Json> = stats.children.iter().map(json).collect();
        node.insert("children".into(), children.into());
    }
}

fn go_duration(duration: Duration) -> Json {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    SignedDuration::from_nanos(nanos).go().to_string().into()
}

pub(super) async fn explain_instant(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let query = instant_query(&api, &params)?;
    explain(&api, &params, &query).await
}

pub(super) async fn explain_range(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let query = range_query(&api, &params)?;
    explain(&api, &params, &query).await
}

async fn explain(api: &Api, params: &Params, query: &Query) -> Result<Response, Failure> {
    let source = params.source(api)?;
    // There is one engine here; whoever asks for the other one by name does not expect its plan.
    if source.engine.as_deref() == Some("prometheus") {
        return Err(Failure::bad_data("engine type must be 'thanos'"));
    }
    let prepared = prepare(api, query, &source).await?;
    let ticket = api.places.ticket(&source.tenant);
    let place = api.place(&query.text, prepared.timeout(), ticket).await?;
    let queryable = api.source.queryable(&source).await?;
    let explaining = async move { prepared.explain_over(queryable).await };
    let mut operators = place.run(explaining).await?;
    if api.components.enforced_label.is_some() {
        hide_skipped(&mut operators);
    }
    let data = json_text(&explanation(&operators));
    Ok(success(data, &Remarks::default()))
}

#[cfg(test)]
mod tests {
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::value::Timings;

    /// Q-39.
    #[test]
    fn statistics_have_the_members_of_prometheus() {
        let stats = QueryStats {
            samples: 7,
            samples_read: 5,
            peak_bytes: 160,
            steps: Some(StepStats {
                start: Timestamp::from_millis(1500),
                step_ms: 500,
                samples: vec![3, 4],
                samples_read: vec![3, 2],
            }),
            timings: Timings {
                prepare: Duration::from_micros(500),
                evaluate: Duration::from_millis(2),
                sort: Duration::ZERO,
            },
            ..QueryStats::default()
        };
        let mut out = Vec::new();
        write_stats(&mut out, &stats, Duration::from_nanos(100));
        let expected = concat!(
            r#"{"timings":{"evalTotalTime":0.0025,"resultSortTime":0,"queryPreparationTime":0.0005,"#,
            r#""innerEvalTime":0.002,"execQueueTime":1e-07,"execTotalTime":0.0025001},"#,
            r#""samples":{"totalQueryableSamplesPerStep":[[1.5,3],[2,4]],"totalQueryableSamples":7,"#,
            r#""samplesReadPerStep":[[1.5,3],[2,2]],"samplesRead":5,"peakSamples":10}}"#,
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
