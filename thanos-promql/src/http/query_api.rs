//! The engine as a [`QueryApi`]: whole queries that come from other components instead of over HTTP.
//!
//! They wait for the same places, see the same data and are listed among the same active queries as those of the
//! HTTP API. Source: Thanos `pkg/api/query/grpc.go`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::Either;
use futures::{StreamExt, stream};
use thanos_core::query::Missing;
use thanos_storeapi::apis::query::{QueryApi, QueryEvent, QueryRequest, QueryStream, QueryTimes};
use thanos_storeapi::store::PartialResponse;

use super::Api;
use super::params::MaxSourceResolution;
use super::source::SourceParams;
use crate::admission::Ticket;
use crate::engine::{OnPartial, PreparedQuery, Query};
use crate::error::Result;
use crate::plan_json;
use crate::remote::answer::{events, to_data_error};
use crate::value::QueryResult;

/// An [`Api`] that is asked by other components.
#[derive(Debug)]
struct OfApi(Api);

impl Api {
    /// Returns what answers queries of other components: in the same places, over the same data.
    pub fn query_api(&self) -> Arc<dyn QueryApi> {
        Arc::new(OfApi(self.clone()))
    }

    /// Returns the query of `request` and what it says about its data.
    fn read(&self, request: &QueryRequest) -> (Query, SourceParams) {
        // A plan that is not understood is said once more as text.
        let planned = request.plan.as_deref().filter(|plan| !plan.is_empty());
        let text = planned.and_then(|plan| match plan_json::to_query(plan) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::debug!(%error, "the text of the query is taken in place of its plan");
                None
            }
        });
        let text = text.unwrap_or_else(|| request.query.clone());
        let mut query = match request.times {
            QueryTimes::Instant(time) => Query::instant(text, time),
            QueryTimes::Range {
                start,
                end,
                step_ms,
            } => {
                let step = Duration::from_millis(u64::try_from(step_ms).unwrap_or(0));
                Query::range(text, start, end, step)
            }
        };
        let allows_partial = request.partial_response == PartialResponse::Warn;
        let source = SourceParams {
            dedup: Some(request.dedup),
            replica_labels: Some(request.replica_labels.clone())
                .filter(|labels| !labels.is_empty()),
            partial_response: Some(allows_partial),
            max_source_resolution: resolution(request),
            store_matchers: request.store_matchers.clone(),
            shard: request.shard.clone(),
            engine: None,
            step_ms: query
                .step
                .map(|step| i64::try_from(step.as_millis()).unwrap_or(i64::MAX)),
            span: None,
            tenant: request.tenant.clone(),
        };
        query.timeout = request.timeout;
        query.lookback = request
            .lookback_delta
            .or_else(|| self.source.lookback(&source));
        query.on_partial = Some(if allows_partial {
            OnPartial::Warn
        } else {
            OnPartial::Fail
        });
        (query, source)
    }

    async fn evaluate_request(
        &self,
        text: String,
        prepared: PreparedQuery,
        source: SourceParams,
        ticket: Arc<Ticket>,
    ) -> Result<QueryResult> {
        let place = self.place(&text, prepared.timeout(), ticket).await?;
        let queryable = self.source.queryable(&source).await?;
        let _stop = prepared.stop_on_drop();
        place.run(prepared.run(queryable)).await
    }
}

/// Zero leaves the resolution of an instant query to the flags, and means raw data in a range query, which has no
/// other default there.
fn resolution(request: &QueryRequest) -> Option<MaxSourceResolution> {
    match (request.max_resolution_ms, request.times) {
        (0, QueryTimes::Instant(_)) => None,
        (ms, _) => Some(MaxSourceResolution::Millis(ms)),
    }
}

#[async_trait]
impl QueryApi for OfApi {
    async fn query(&self, request: QueryRequest) -> thanos_core::Result<QueryStream> {
        let (mut query, source) = self.0.read(&request);
        let ticket = self.0.places.ticket(&source.tenant);
        query.admission = Some(Arc::<Ticket>::clone(&ticket));
        let prepared = self
            .0
            .prepare(&query, &source)
            .await
            .map_err(to_data_error)?;
        let api = self.0.clone();
        let text = query.text.clone();
        let may_miss_all = request.partial_response == PartialResponse::Warn
            && matches!(request.times, QueryTimes::Instant(_));
        let batch = usize::try_from(request.response_batch_size)
            .unwrap_or(usize::MAX)
            .max(1);
        let answer = async move {
            match api
                .evaluate_request(text.clone(), prepared, source, ticket)
                .await
            {
                Ok(result) => Either::Left(events(result, &text, batch)),
                // COMPAT: a failed instant query is an answer without data where that is allowed.
                Err(error) if may_miss_all => {
                    let missing = Missing {
                        source: String::new(),
                        reason: error.to_string(),
                    };
                    let event = Ok(QueryEvent::Missing(missing));
                    Either::Right(stream::iter([event]))
                }
                Err(error) => Either::Right(stream::iter([Err(to_data_error(error))])),
            }
        };
        Ok(stream::once(answer).flatten().boxed())
    }
}
