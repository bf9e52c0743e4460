//! What a component answers beside series, as gRPC services.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use thanos_core::error::Result;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::call::span_of;
use super::counters::{ServerCounters, count};
use super::query::QueryService;
use super::service::{answered, tenant_of};
use crate::apis::exemplars::{ExemplarsApi, ExemplarsRequest};
use crate::apis::metadata::{MetadataApi, MetadataRequest};
use crate::apis::rules::RulesApi;
use crate::apis::status::StatusApi;
use crate::apis::targets::{TargetsApi, TargetsRequest};
use crate::apis::{Answer, Apis, Offers};
use crate::convert::apis::Streamed;
use crate::convert::apis::rules::rules_request_from_pb;
use crate::convert::apis::status::status_request_from_pb;
use crate::matchers::MatcherSource;
use crate::pb::thanos::{self as pb, exemplars_server, metadata_server, rules_server};
use crate::pb::thanos::{query_server, status_server, targets_server};
use crate::wire::warning_text;
use thanos_core::time::TimeRange;

/// A streamed answer.
type Messages<M> = BoxStream<'static, std::result::Result<M, Status>>;

/// One API behind its service.
struct ApiService<A: ?Sized> {
    api: Arc<A>,
    counters: Arc<ServerCounters>,
    matchers: Arc<dyn MatcherSource>,
}

/// What all services of a component share.
pub(super) struct Shared {
    pub(super) counters: Arc<ServerCounters>,
    pub(super) matchers: Arc<dyn MatcherSource>,
    pub(super) message_bytes_max: usize,
}

impl Shared {
    fn service<A: ?Sized>(&self, api: &Arc<A>) -> Arc<ApiService<A>> {
        Arc::new(ApiService {
            api: Arc::clone(api),
            counters: Arc::clone(&self.counters),
            matchers: Arc::clone(&self.matchers),
        })
    }
}

/// Adds a service for each API that there is.
pub(super) fn add_services(mut routes: Routes, apis: &Apis, shared: &Shared) -> Routes {
    let bytes_max = shared.message_bytes_max;
    macro_rules! add {
        ($api:expr, $server:path) => {
            if let Some(api) = $api {
                let service = <$server>::from_arc(shared.service(api))
                    .max_decoding_message_size(bytes_max)
                    .max_encoding_message_size(usize::MAX);
                routes = routes.add_service(service);
            }
        };
    }
    add!(&apis.exemplars, exemplars_server::ExemplarsServer<_>);
    add!(&apis.metadata, metadata_server::MetadataServer<_>);
    if let Some(api) = &apis.query {
        let service = QueryService {
            api: Arc::clone(api),
            counters: Arc::clone(&shared.counters),
            matchers: Arc::clone(&shared.matchers),
        };
        let service = query_server::QueryServer::new(service)
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        routes = routes.add_service(service);
    }
    add!(&apis.rules, rules_server::RulesServer<_>);
    add!(&apis.status, status_server::StatusServer<_>);
    add!(&apis.targets, targets_server::TargetsServer<_>);
    routes
}

/// Returns the names of the services of `apis`.
pub(super) fn service_names(apis: &Apis) -> Vec<&'static str> {
    let names = [
        (apis.exemplars.is_some(), exemplars_server::SERVICE_NAME),
        (apis.metadata.is_some(), metadata_server::SERVICE_NAME),
        (apis.query.is_some(), query_server::SERVICE_NAME),
        (apis.rules.is_some(), rules_server::SERVICE_NAME),
        (apis.status.is_some(), status_server::SERVICE_NAME),
        (apis.targets.is_some(), targets_server::SERVICE_NAME),
    ];
    let offered = names.into_iter().filter(|(is_there, _)| *is_there);
    offered.map(|(_, name)| name).collect()
}

/// Returns what a component offers whose store says `offers`.
pub(super) fn offers(apis: &Apis, offers: Offers) -> Offers {
    let exemplars = apis.exemplars.as_ref().map(|_| TimeRange::ALL);
    Offers {
        store: offers.store,
        rules: offers.rules || apis.rules.is_some(),
        targets: offers.targets || apis.targets.is_some(),
        metadata: offers.metadata || apis.metadata.is_some(),
        exemplars: offers.exemplars.or(exemplars),
        status: offers.status || apis.status.is_some(),
        query: offers.query || apis.query.is_some(),
    }
}

impl<A: ?Sized> ApiService<A> {
    /// Makes the call of the method at `path`: reads the tenant and then what `read` makes of the message, and streams what `ask` answers.
    async fn call<P, R, T, M, F, I>(
        &self,
        path: &'static str,
        request: Request<P>,
        read: impl FnOnce(P, &dyn MatcherSource) -> Result<R> + Send,
        ask: impl FnOnce(R, crate::tenant::TenantId) -> F + Send,
        messages: impl FnOnce(T) -> I + Send,
    ) -> std::result::Result<Response<Messages<M>>, Status>
    where
        P: Send,
        F: Future<Output = Result<Answer<T>>> + Send,
        M: Streamed + 'static,
        I: Iterator<Item = M::Value> + Send + 'static,
    {
        count(&self.counters.api_calls);
        let tenant = tenant_of(&request);
        let span = span_of(&request, path);
        let message = request.into_inner();
        let answer = async {
            let request = read(message, &*self.matchers)?;
            ask(request, tenant?).await
        };
        let answer = answered(&self.counters, span, answer).await?;
        let missing = answer.completeness.missing().iter().map(warning_text);
        let warnings: Vec<_> = answer.warnings.into_iter().chain(missing).collect();
        let held = answer.held;
        // Each message is made when the one before it is on its way.
        let values = messages(answer.value).map(move |value| {
            let _held = &held;
            M::of_value(value)
        });
        let pieces = warnings
            .into_iter()
            .map(M::of_warning)
            .chain(values)
            .map(Ok);
        Ok(Response::new(stream::iter(pieces).boxed()))
    }
}

#[async_trait]
impl rules_server::Rules for ApiService<dyn RulesApi> {
    type RulesStream = Messages<pb::RulesResponse>;

    async fn rules(
        &self,
        request: Request<pb::RulesRequest>,
    ) -> std::result::Result<Response<Self::RulesStream>, Status> {
        let ask = |mut request: crate::apis::rules::RulesRequest, tenant| {
            request.tenant = tenant;
            self.api.rules(request)
        };
        let messages = |groups: Vec<_>| groups.into_iter().map(Into::into);
        self.call(
            "/thanos.Rules/Rules",
            request,
            rules_request_from_pb,
            ask,
            messages,
        )
        .await
    }
}

#[async_trait]
impl targets_server::Targets for ApiService<dyn TargetsApi> {
    type TargetsStream = Messages<pb::TargetsResponse>;

    async fn targets(
        &self,
        request: Request<pb::TargetsRequest>,
    ) -> std::result::Result<Response<Self::TargetsStream>, Status> {
        let ask = |mut request: TargetsRequest, tenant| {
            request.tenant = tenant;
            self.api.targets(request)
        };
        let read = |message: pb::TargetsRequest, _: &dyn MatcherSource| message.try_into();
        let messages =
            |targets: crate::apis::targets::Targets| std::iter::once_with(move || targets.into());
        self.call("/thanos.Targets/Targets", request, read, ask, messages)
            .await
    }
}

#[async_trait]
impl metadata_server::Metadata for ApiService<dyn MetadataApi> {
    type MetricMetadataStream = Messages<pb::MetricMetadataResponse>;

    async fn metric_metadata(
        &self,
        request: Request<pb::MetricMetadataRequest>,
    ) -> std::result::Result<Response<Self::MetricMetadataStream>, Status> {
        let ask = |mut request: MetadataRequest, tenant| {
            request.tenant = tenant;
            self.api.metadata(request)
        };
        let read = |message: pb::MetricMetadataRequest, _: &dyn MatcherSource| Ok(message.into());
        let messages = |metadata: crate::apis::metadata::Metadata| {
            std::iter::once_with(move || metadata.into())
        };
        self.call(
            "/thanos.Metadata/MetricMetadata",
            request,
            read,
            ask,
            messages,
        )
        .await
    }
}

#[async_trait]
impl exemplars_server::Exemplars for ApiService<dyn ExemplarsApi> {
    type ExemplarsStream = Messages<pb::ExemplarsResponse>;

    async fn exemplars(
        &self,
        request: Request<pb::ExemplarsRequest>,
    ) -> std::result::Result<Response<Self::ExemplarsStream>, Status> {
        let ask = |mut request: ExemplarsRequest, tenant| {
            request.tenant = tenant;
            self.api.exemplars(request)
        };
        let read = |message: pb::ExemplarsRequest, _: &dyn MatcherSource| Ok(message.into());
        let messages = |series: Vec<_>| series.into_iter().map(Into::into);
        self.call("/thanos.Exemplars/Exemplars", request, read, ask, messages)
            .await
    }
}

#[async_trait]
impl status_server::Status for ApiService<dyn StatusApi> {
    type TSDBStatisticsStream = Messages<pb::TsdbStatisticsResponse>;

    async fn tsdb_statistics(
        &self,
        request: Request<pb::TsdbStatisticsRequest>,
    ) -> std::result::Result<Response<Self::TSDBStatisticsStream>, Status> {
        let ask = |mut request: crate::apis::status::StatusRequest, tenant| {
            request.tenant = tenant;
            self.api.tsdb_statistics(request)
        };
        let read = |message, source: &dyn MatcherSource| status_request_from_pb(&message, source);
        let messages = |statistics: crate::apis::status::TenantStatistics| {
            std::iter::once_with(move || statistics.into())
        };
        self.call(
            "/thanos.Status/TSDBStatistics",
            request,
            read,
            ask,
            messages,
        )
        .await
    }
}
