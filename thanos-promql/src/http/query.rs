//! `query` and `query_range`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use thanos_core::text::write_go_quoted;
use thanos_core::time::SignedDuration;

use super::Api;
use super::answer::{Failure, Remarks, json_text, stream_success};
use super::options::Dialect;
use super::params::{Params, invalid};
use super::source::SourceParams;
use super::statistics::{analysis, write_stats};
use crate::admission::Ticket;
use crate::annotations::Severity;
use crate::engine::{Detail, OnPartial, PreparedQuery, Query};
use crate::error::{Error, ErrorKind};
use crate::json::ResultJson;
use crate::value::QueryResult;

/// The most warnings, and the most infos, of an answer that are about the query itself.
const REMARKS_MAX: usize = 10;
/// The steps of a range query that does not say, as Thanos' pages draw them.
const DEFAULT_STEPS: i64 = 250;

pub(super) async fn instant(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let query = instant_query(&api, &params)?;
    answer(&api, &params, query, limit).await
}

pub(super) async fn range(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let query = range_query(&api, &params)?;
    answer(&api, &params, query, limit).await
}

/// Returns the instant query that a request asks.
pub(super) fn instant_query(api: &Api, params: &Params) -> Result<Query, Failure> {
    let time = params.time_or("time", api.engine.now())?;
    let timeout = params.timeout()?;
    let mut query = Query::instant(params.get("query"), time);
    (query.timeout, query.lookback) = (timeout, params.lookback()?);
    Ok(query)
}

/// Returns the range query that a request asks.
pub(super) fn range_query(api: &Api, params: &Params) -> Result<Query, Failure> {
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        let text = "end timestamp must not be before start time";
        return Err(invalid("end", text));
    }
    let step = step(api, params, end - start)?;
    check_step(step, end - start, api.options.steps_max)?;
    let timeout = params.timeout()?;
    let mut query = Query::range(
        params.get("query"),
        start,
        end,
        step.to_std().unwrap_or(Duration::ZERO),
    );
    (query.timeout, query.lookback) = (timeout, params.lookback()?);
    Ok(query)
}

/// Source: Thanos `pkg/api/query/v1.go`, `parseStep`.
fn step(api: &Api, params: &Params, span_ms: i64) -> Result<SignedDuration, Failure> {
    match api.options.dialect {
        Dialect::Thanos { default_step } if params.get("step").is_empty() => {
            let default_secs = i64::try_from(default_step.as_secs()).unwrap_or(i64::MAX);
            let secs = (span_ms / 1000 / DEFAULT_STEPS).max(default_secs);
            Ok(SignedDuration::from_nanos(
                secs.saturating_mul(1_000_000_000),
            ))
        }
        Dialect::Thanos { .. } | Dialect::Prometheus => params.duration("step"),
    }
}

fn check_step(step: SignedDuration, span_ms: i64, steps_max: u64) -> Result<(), Failure> {
    if step.as_nanos() <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", text));
    }
    let span_nanos = i128::from(span_ms) * 1_000_000;
    if span_nanos / i128::from(step.as_nanos()) > i128::from(steps_max) {
        let steps_max = with_commas(steps_max);
        return Err(Failure::bad_data(format!(
            "exceeded maximum resolution of {steps_max} points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        )));
    }
    Ok(())
}

/// Writes 11000 as `11,000`.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Parses and plans `query`.
pub(super) async fn prepare(
    api: &Api,
    query: &Query,
    source: &SourceParams,
) -> Result<PreparedQuery, Failure> {
    let prepared = api.prepare(query, source).await;
    prepared.map_err(|error| match error.kind() {
        ErrorKind::Invalid => invalid("query", error.message()),
        _ => Failure::from(error),
    })
}

async fn answer(
    api: &Api,
    params: &Params,
    mut query: Query,
    limit: usize,
) -> Result<Response, Failure> {
    let mut source = params.source(api)?;
    source.step_ms = query
        .step
        .map(|step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
    let span_ms = u64::try_from(query.end - query.start).unwrap_or(0);
    source.span = query.step.map(|_| Duration::from_millis(span_ms));
    query.lookback = query.lookback.or_else(|| api.source.lookback(&source));
    query.on_partial = Some(api.on_partial(&source));
    let stats = params.get("stats");
    let wants_analysis = matches!(params.get("analyze"), "true" | "1");
    query.detail = Detail {
        steps: stats == "all" && api.options.step_stats,
        operators: wants_analysis && source.engine.as_deref() != Some("prometheus"),
    };
    let ticket = api.places.ticket(&source.tenant);
    query.admission = Some(Arc::<Ticket>::clone(&ticket));
    let prepared = prepare(api, &query, &source).await?;
    let (mut result, queued) = evaluate(api, &query.text, prepared, source, ticket).await?;
    let mut remarks = Remarks {
        warnings: result
            .annotations
            .render(Severity::Warning, &query.text, REMARKS_MAX),
        infos: result
            .annotations
            .render(Severity::Info, &query.text, REMARKS_MAX),
    };
    if limit > 0 && result.value.truncate(limit) {
        remarks
            .warnings
            .push("results truncated due to limit".into());
    }
    if !matches!(stats, "" | "true" | "all") {
        remarks.warnings.push(deprecated_stats(stats));
    }
    if wants_analysis && result.analysis.is_none() {
        let text = "Query not analyzable; change engine to 'thanos'.";
        remarks.warnings.push(text.into());
    }
    let mut members: Vec<(&str, Vec<u8>)> = Vec::new();
    if !stats.is_empty() {
        let mut out = Vec::new();
        write_stats(&mut out, &result.stats, queued);
        members.push(("stats", out));
    }
    if let Some(operators) = &result.analysis {
        members.push(("analysis", json_text(&analysis(operators))));
    }
    let (value, lease) = result.into_parts();
    let json = members
        .iter()
        .fold(ResultJson::new(value), |json, (name, value)| {
            json.with_member(name, value)
        });
    Ok(stream_success(json, &remarks, lease))
}

/// Source: Prometheus `web/api/v1/api.go`, `statsParamWarning`.
fn deprecated_stats(value: &str) -> String {
    let mut text = "value ".to_owned();
    write_go_quoted(&mut text, value).expect("writing to a string cannot fail");
    text.push_str(
        " for parameter \"stats\" is deprecated and will be rejected in the next major release, \
         use \"true\" or \"all\"",
    );
    text
}

impl Api {
    /// Parses and plans `query` over the data that `source` describes.
    pub(super) async fn prepare(
        &self,
        query: &Query,
        source: &SourceParams,
    ) -> Result<PreparedQuery, Error> {
        match self.source.remotes(source).await? {
            None => self.engine.prepare(query),
            Some(remotes) => self.engine.prepare_distributed(query, &remotes),
        }
    }

    /// Returns what happens to an answer that lacks data.
    pub(super) fn on_partial(&self, source: &SourceParams) -> OnPartial {
        match source.partial_response {
            None => self.options.on_partial,
            Some(true) => OnPartial::Warn,
            Some(false) => OnPartial::Fail,
        }
    }
}

/// Returns the result and the time that it waited for a place; dropping this future stops the evaluation.
async fn evaluate(
    api: &Api,
    text: &str,
    prepared: PreparedQuery,
    source: SourceParams,
    ticket: Arc<Ticket>,
) -> Result<(QueryResult, Duration), Error> {
    let place = api.place(text, prepared.timeout(), ticket).await?;
    let queryable = api.source.queryable(&source).await?;
    let _stop = prepared.stop_on_drop();
    let queued = place.waited;
    let result = place.run(prepared.run(queryable)).await?;
    Ok((result, queued))
}
