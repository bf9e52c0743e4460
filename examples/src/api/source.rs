//! What data each request of the API sees.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thanos_core::labels::Matcher;
use thanos_core::query::Queryable;
use thanos_promql::engine::OnPartial;
use thanos_promql::http::{QueryableSource, SourceParams};
use thanos_promql::remote::{RemoteOptions, Remotes};
use thanos_storeapi::gate::Gate;
use thanos_storeapi::limits::{LimitedStore, SelectLimits};
use thanos_storeapi::proxy::Proxy;
use thanos_storeapi::queryable::{DedupFunc, StoreQueryable, StoreQueryableOptions};
use thanos_storeapi::store::PartialResponse;

use super::metrics::ApiMetrics;
use super::resolution::ResolutionFlags;
use crate::roles::query::distributed::DistributedFlags;

/// The stores of a proxy, as each request wants them.
#[derive(Debug)]
pub(super) struct ProxySource {
    pub(super) proxy: Proxy,
    pub(super) limits: SelectLimits,
    pub(super) selects_max: usize,
    pub(super) metrics: ApiMetrics,
    pub(super) replica_labels: Vec<String>,
    pub(super) dedup: DedupFunc,
    pub(super) resolution: ResolutionFlags,
    pub(super) lookback: Duration,
    pub(super) on_partial: OnPartial,
    pub(super) distributed: DistributedFlags,
    /// The label that must have the name of the tenant, if tenancy is enforced.
    pub(super) enforced_label: Option<String>,
}

impl ProxySource {
    fn partial_response(&self, params: &SourceParams) -> PartialResponse {
        let by_default = self.on_partial == OnPartial::Warn;
        match params.partial_response.unwrap_or(by_default) {
            true => PartialResponse::Warn,
            false => PartialResponse::Abort,
        }
    }

    fn replica_labels(&self, params: &SourceParams) -> Vec<String> {
        match (params.dedup.unwrap_or(true), &params.replica_labels) {
            (false, _) => Vec::new(),
            (true, Some(labels)) => labels.clone(),
            (true, None) => self.replica_labels.clone(),
        }
    }

    /// Returns what a tenant's selectors have to match, whatever they say.
    fn enforced(&self, params: &SourceParams) -> Vec<Matcher> {
        let label = self.enforced_label.iter();
        label
            .map(|label| Matcher::equal(label, params.tenant.as_str()))
            .collect()
    }
}

#[async_trait]
impl QueryableSource for ProxySource {
    async fn queryable(
        &self,
        params: &SourceParams,
    ) -> thanos_promql::error::Result<Arc<dyn Queryable>> {
        let options = StoreQueryableOptions {
            partial_response: self.partial_response(params),
            replica_labels: self.replica_labels(params),
            dedup: self.dedup,
            max_resolution_ms: self.resolution.max_ms(params),
            shard: params.shard.clone(),
            tenant: params.tenant.clone(),
            enforced_matchers: self.enforced(params),
            ..StoreQueryableOptions::default()
        };
        if let Some(span) = params.span {
            self.metrics.asked_span(span);
        }
        let store = self.proxy.restricted_to(params.store_matchers.clone());
        let limits = self.metrics.limits.clone();
        let store = LimitedStore::new(Arc::new(store), self.limits, limits);
        let gate = Gate::new(self.selects_max, self.metrics.selects.clone());
        let queryable = StoreQueryable::new(Arc::new(store), options).with_gate(gate);
        Ok(Arc::new(self.metrics.timed(queryable, &params.tenant)))
    }

    async fn remotes(
        &self,
        params: &SourceParams,
    ) -> thanos_promql::error::Result<Option<Remotes>> {
        let options = RemoteOptions {
            replica_labels: self.replica_labels(params),
            partial_response: self.partial_response(params),
            max_resolution_ms: self.resolution.max_ms(params),
            shard: params.shard.clone(),
            tenant: params.tenant.clone(),
            enforced_matchers: self.enforced(params),
            ..RemoteOptions::default()
        };
        let proxy = self.proxy.restricted_to(params.store_matchers.clone());
        Ok(self.distributed.remotes(&proxy, options).await)
    }

    fn lookback(&self, params: &SourceParams) -> Option<Duration> {
        Some(self.resolution.lookback(self.lookback, params))
    }
}
