//! Whole queries as a gRPC service.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use thanos_core::error::Result;
use tonic::{Request, Response, Status};

use super::call::{log_failure, span_of};
use super::counters::{ServerCounters, count};
use super::service::{answered, tenant_of};
use crate::apis::query::{QueryApi, QueryRequest};
use crate::convert::apis::query::{Answered, Batched, instant_from_pb, range_from_pb};
use crate::convert::status::to_status;
use crate::matchers::MatcherSource;
use crate::pb::thanos::{self as pb, query_server};

/// A [`QueryApi`] behind its service.
pub(super) struct QueryService {
    pub(super) api: Arc<dyn QueryApi>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) matchers: Arc<dyn MatcherSource>,
}

type Messages<M> = BoxStream<'static, std::result::Result<M, Status>>;

impl QueryService {
    async fn call<P: Send, M: Answered + 'static>(
        &self,
        name: &'static str,
        request: Request<P>,
        read: impl FnOnce(P, &dyn MatcherSource) -> Result<QueryRequest> + Send,
    ) -> std::result::Result<Response<Messages<M>>, Status> {
        count(&self.counters.api_calls);
        let tenant = tenant_of(&request);
        let span = span_of(&request, name);
        let message = request.into_inner();
        let mut batched = Batched::No;
        let answer = async {
            let mut request = read(message, &*self.matchers)?;
            request.tenant = tenant?;
            if request.response_batch_size > 1 {
                batched = Batched::Yes;
            }
            self.api.query(request).await
        };
        let events = answered(&self.counters, span, answer).await?;
        let messages = events.flat_map(move |event| {
            let messages: Vec<_> = match event {
                Ok(event) => M::of_event(event, batched).into_iter().map(Ok).collect(),
                Err(error) => {
                    log_failure(&error);
                    // COMPAT: what fails while it is evaluated is aborted (Go pkg/api/query/grpc.go).
                    let text = to_status(&error).message().to_owned();
                    vec![Err(Status::aborted(text))]
                }
            };
            stream::iter(messages)
        });
        Ok(Response::new(messages.boxed()))
    }
}

#[async_trait]
impl query_server::Query for QueryService {
    type QueryStream = Messages<pb::QueryResponse>;
    type QueryRangeStream = Messages<pb::QueryRangeResponse>;

    async fn query(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> std::result::Result<Response<Self::QueryStream>, Status> {
        self.call("/thanos.Query/Query", request, instant_from_pb)
            .await
    }

    async fn query_range(
        &self,
        request: Request<pb::QueryRangeRequest>,
    ) -> std::result::Result<Response<Self::QueryRangeStream>, Status> {
        self.call("/thanos.Query/QueryRange", request, range_from_pb)
            .await
    }
}
