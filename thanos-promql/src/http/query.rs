//! `query` and `query_range`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures::future::{self, Either};
use thanos_core::time::SignedDuration;
use tokio::sync::oneshot;

use super::Api;
use super::answer::{Failure, Remarks, stream_success};
use super::params::{Params, invalid};
use crate::annotations::Severity;
use crate::engine::{OnPartial, PreparedQuery, Query};
use crate::error::{Error, ErrorKind};
use crate::json::ResultJson;
use crate::value::QueryResult;

/// The most points of a series that a range query may give.
const POINTS_MAX: i64 = 11_000;
/// The most warnings, and the most infos, of an answer that are about the query itself.
const REMARKS_MAX: usize = 10;

pub(super) async fn instant(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let time = params.time_or("time", api.engine.now())?;
    let timeout = params.timeout()?;
    let mut query = Query::instant(params.get("query"), time);
    (query.timeout, query.lookback) = (timeout, params.lookback()?);
    answer(&api, &params, query, limit).await
}

pub(super) async fn range(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        let text = "end timestamp must not be before start time";
        return Err(invalid("end", text));
    }
    let step = params.duration("step")?;
    check_step(step, end - start)?;
    let timeout = params.timeout()?;
    let mut query = Query::range(
        params.get("query"),
        start,
        end,
        step.to_std().unwrap_or(Duration::ZERO),
    );
    (query.timeout, query.lookback) = (timeout, params.lookback()?);
    answer(&api, &params, query, limit).await
}

fn check_step(step: SignedDuration, span_ms: i64) -> Result<(), Failure> {
    if step.as_nanos() <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", text));
    }
    let span_nanos = i128::from(span_ms) * 1_000_000;
    if span_nanos / i128::from(step.as_nanos()) > i128::from(POINTS_MAX) {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    Ok(())
}

async fn answer(
    api: &Api,
    params: &Params,
    mut query: Query,
    limit: usize,
) -> Result<Response, Failure> {
    let mut source = params.source(&api.engine.options().parser)?;
    source.step_ms = query
        .step
        .map(|step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX));
    query.on_partial = Some(match source.partial_response {
        None => api.options.on_partial,
        Some(true) => OnPartial::Warn,
        Some(false) => OnPartial::Fail,
    });
    let prepared = api
        .engine
        .prepare(&query)
        .map_err(|error| match error.kind() {
            ErrorKind::Invalid => invalid("query", error.message()),
            _ => Failure::from(error),
        })?;
    let mut result = evaluate(api, prepared, source).await?;
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
    let (value, lease) = result.into_parts();
    Ok(stream_success(ResultJson::new(value), &remarks, lease))
}

/// Evaluates on a thread for blocking work; dropping this future stops the evaluation.
async fn evaluate(
    api: &Api,
    prepared: PreparedQuery,
    source: super::SourceParams,
) -> Result<QueryResult, Error> {
    let internal = |what: &str| Error::new(ErrorKind::Internal, what);
    let timeout = prepared.timeout();
    let free = Arc::clone(&api.slots).acquire_owned();
    let slot = tokio::time::timeout(timeout, free)
        .await
        .map_err(|_| Error::timeout("query queue"))?
        .map_err(|_| internal("the query slots were closed"))?;
    let queryable = api.source.queryable(&source).await?;
    // Dropped with this future, and then the evaluation hears of it.
    let (_alive, abandoned) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Handle::current();
    let _stop = prepared.stop_on_drop();
    let evaluation = tokio::task::spawn_blocking(move || {
        // An evaluation that goes on for a while after its request has ended counts as long as it does.
        let _slot = slot;
        let run = std::pin::pin!(prepared.run(queryable));
        let first = future::select(run, abandoned);
        match runtime.block_on(first) {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::cancelled("expression evaluation")),
        }
    });
    match tokio::time::timeout(timeout, evaluation).await {
        Err(_) => Err(Error::timeout("expression evaluation")),
        Ok(Err(_)) => Err(internal("the evaluation panicked")),
        Ok(Ok(result)) => result,
    }
}
