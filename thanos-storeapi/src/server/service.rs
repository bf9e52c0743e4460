//! The calls of the services, answered by a store.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use thanos_core::error::{Error, Result};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

use super::call::{log_failure, span_of};
use super::counters::{ServerCounters, count};
use super::frames::FrameStream;
use crate::apis::Apis;
use crate::convert::request::{
    label_names_request_from_pb, label_values_request_from_pb, series_request_from_pb,
};
use crate::convert::status::to_status;
use crate::matchers::MatcherSource;
use crate::pb::thanos as pb;
use crate::pb::thanos::info as info_pb;
use crate::store::Store;
use crate::tenant::{TENANT_KEY, TenantId};

/// One store behind the services, and what its component answers beside.
pub(super) struct StoreService {
    store: Arc<dyn Store>,
    counters: Arc<ServerCounters>,
    matchers: Arc<dyn MatcherSource>,
    apis: Apis,
}

impl StoreService {
    pub(super) fn new(
        store: Arc<dyn Store>,
        counters: Arc<ServerCounters>,
        matchers: Arc<dyn MatcherSource>,
        apis: Apis,
    ) -> Self {
        Self {
            store,
            counters,
            matchers,
            apis,
        }
    }
}

/// Awaits a call and turns its error, or its panic, into a status; what it logs carries `span`.
pub(super) async fn answered<T>(
    counters: &ServerCounters,
    span: Span,
    call: impl Future<Output = Result<T>>,
) -> Result<T, Status> {
    let call = async {
        // The future is gone after a panic, so nobody sees what it left behind.
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(result) => result.map_err(|error| {
                log_failure(&error);
                to_status(&error)
            }),
            Err(panic) => Err(panic_status(&*panic, counters)),
        }
    };
    let result = call.instrument(span.clone()).await;
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
        count(&counters.failed_calls);
    }
    result
}

/// Returns the tenant that the metadata of `request` names.
pub(super) fn tenant_of<T>(request: &Request<T>) -> Result<TenantId> {
    let mut values = request.metadata().get_all(TENANT_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(TenantId::default());
    };
    if values.any(|other| other != value) {
        return Err(Error::invalid(format!(
            "metadata {TENANT_KEY} names several tenants"
        )));
    }
    let name = value
        .to_str()
        .map_err(|_| Error::invalid(format!("metadata {TENANT_KEY} is not printable ASCII")))?;
    TenantId::parse(name)
}

/// Returns the status for a panic of the store.
pub(super) fn panic_status(panic: &(dyn Any + Send), counters: &ServerCounters) -> Status {
    count(&counters.panics);
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(panic = text, "store panicked, the call fails");
    Status::internal(format!("store panicked: {text}"))
}

#[async_trait]
impl pb::store_server::Store for StoreService {
    type SeriesStream = FrameStream;

    async fn series(
        &self,
        request: Request<pb::SeriesRequest>,
    ) -> Result<Response<FrameStream>, Status> {
        count(&self.counters.series_calls);
        let tenant = tenant_of(&request);
        let span = span_of(&request, "/thanos.Store/Series");
        let request = request.into_inner();
        let answer = answered(&self.counters, span.clone(), async {
            let mut request = series_request_from_pb(request, &*self.matchers)?;
            request.tenant = tenant?;
            let response_batch_size = request.response_batch_size;
            Ok((self.store.series(request).await?, response_batch_size))
        });
        let (events, response_batch_size) = answer.await?;
        let counters = Arc::clone(&self.counters);
        let frames = FrameStream::new(events, response_batch_size, counters, span);
        Ok(Response::new(frames))
    }

    async fn label_names(
        &self,
        request: Request<pb::LabelNamesRequest>,
    ) -> Result<Response<pb::LabelNamesResponse>, Status> {
        count(&self.counters.label_calls);
        let tenant = tenant_of(&request);
        let span = span_of(&request, "/thanos.Store/LabelNames");
        let request = request.into_inner();
        let answer = answered(&self.counters, span, async {
            let mut request = label_names_request_from_pb(request, &*self.matchers)?;
            request.tenant = tenant?;
            self.store.label_names(request).await
        });
        Ok(Response::new(answer.await?.into()))
    }

    async fn label_values(
        &self,
        request: Request<pb::LabelValuesRequest>,
    ) -> Result<Response<pb::LabelValuesResponse>, Status> {
        count(&self.counters.label_calls);
        let tenant = tenant_of(&request);
        let span = span_of(&request, "/thanos.Store/LabelValues");
        let request = request.into_inner();
        let answer = answered(&self.counters, span, async {
            let mut request = label_values_request_from_pb(request, &*self.matchers)?;
            request.tenant = tenant?;
            self.store.label_values(request).await
        });
        Ok(Response::new(answer.await?.into()))
    }
}

#[async_trait]
impl info_pb::info_server::Info for StoreService {
    async fn info(
        &self,
        request: Request<info_pb::InfoRequest>,
    ) -> Result<Response<info_pb::InfoResponse>, Status> {
        let span = span_of(&request, "/thanos.info.Info/Info");
        let mut info = answered(&self.counters, span, self.store.info()).await?;
        info.offers = super::apis::offers(&self.apis, info.offers);
        Ok(Response::new(info.into()))
    }
}
