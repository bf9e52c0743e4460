//! What another component answers beside series.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::budget::MemoryBudget;
use thanos_core::error::Result;
use thanos_core::query::Completeness;
use tonic::{Response, Status, Streaming};

use super::charge::Charge;
use super::{RemoteStore, for_tenant};
use crate::apis::exemplars::{ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest};
use crate::apis::rules::{RuleGroup, RulesApi, RulesRequest};
use crate::apis::status::{StatusApi, StatusRequest, TenantStatistics, add_tenants};
use crate::apis::targets::{Targets, TargetsApi, TargetsRequest};
use crate::apis::{Answer, Apis};
use crate::convert::apis::{Piece, Streamed};
use crate::pb::thanos as pb;
use crate::pb::thanos::exemplars_client::ExemplarsClient;
use crate::pb::thanos::metadata_client::MetadataClient;
use crate::pb::thanos::rules_client::RulesClient;
use crate::pb::thanos::status_client::StatusClient;
use crate::pb::thanos::targets_client::TargetsClient;
use crate::store::SeriesEvent;
use crate::tenant::TenantId;
use crate::wire::warning_event;

impl RemoteStore {
    /// Returns everything that the component may answer beside series, over the same connection. Its info says what of it
    /// there is.
    pub fn apis(&self) -> Apis {
        let remote = Arc::new(self.clone());
        Apis {
            rules: Some(Arc::clone(&remote) as _),
            targets: Some(Arc::clone(&remote) as _),
            metadata: Some(Arc::clone(&remote) as _),
            exemplars: Some(Arc::clone(&remote) as _),
            status: Some(Arc::clone(&remote) as _),
            query: Some(remote),
        }
    }

    /// Returns the call whose answer is charged for.
    fn charged<T>(
        &self,
        message: T,
        tenant: &TenantId,
        budget: &MemoryBudget,
    ) -> Result<(tonic::Request<T>, Charge)> {
        let charge = Charge::new(budget, self.inner.settings.answer_bytes_max)?;
        let mut request = for_tenant(message, tenant);
        request.extensions_mut().insert(charge.clone());
        Ok((request, charge))
    }

    /// Reads a streamed answer to its end; `add` takes each part of the value.
    async fn collect<M, T>(
        &self,
        answer: std::result::Result<Response<Streaming<M>>, Status>,
        charge: Charge,
        mut value: T,
        add: impl Fn(&mut T, M::Value),
    ) -> Result<Answer<T>>
    where
        M: Streamed + Default + 'static,
    {
        let mut messages = answer.map_err(|status| self.error(status))?.into_inner();
        let mut warnings = Vec::new();
        let mut completeness = Completeness::Complete;
        while let Some(message) = messages
            .message()
            .await
            .map_err(|status| self.error(status))?
        {
            match message.piece() {
                Piece::Value(part) => add(&mut value, part),
                Piece::Warning(text) => match warning_event(text, None, self.address()) {
                    SeriesEvent::Missing(missing) => completeness.add(missing),
                    SeriesEvent::Warning(text) => warnings.push(text),
                    SeriesEvent::Batch(_) | SeriesEvent::Hints(_) => {}
                },
                Piece::Unknown => {}
            }
        }
        Ok(Answer {
            value,
            warnings,
            completeness,
            held: charge.held(),
        })
    }
}

/// Returns a client of the service `$client` over the connection of `$remote`. No message is larger than a whole answer.
macro_rules! client {
    ($client:ident, $remote:expr) => {{
        let settings = &$remote.inner.settings;
        $client::new($remote.channel())
            .max_decoding_message_size(settings.message_bytes_max.min(settings.answer_bytes_max))
            .max_encoding_message_size(usize::MAX)
    }};
}

#[async_trait]
impl RulesApi for RemoteStore {
    async fn rules(&self, request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
        let (tenant, budget) = (request.tenant.clone(), request.budget.clone());
        let (request, charge) = self.charged(pb::RulesRequest::from(request), &tenant, &budget)?;
        let answer = client!(RulesClient, self).rules(request).await;
        let add = |groups: &mut Vec<RuleGroup>, group: pb::RuleGroup| groups.push(group.into());
        self.collect(answer, charge, Vec::new(), add).await
    }
}

#[async_trait]
impl TargetsApi for RemoteStore {
    async fn targets(&self, request: TargetsRequest) -> Result<Answer<Targets>> {
        let (tenant, budget) = (request.tenant.clone(), request.budget.clone());
        let (request, charge) =
            self.charged(pb::TargetsRequest::from(request), &tenant, &budget)?;
        let answer = client!(TargetsClient, self).targets(request).await;
        let add = |targets: &mut Targets, more: pb::TargetDiscovery| {
            let more = Targets::from(more);
            targets.active.extend(more.active);
            targets.dropped.extend(more.dropped);
        };
        self.collect(answer, charge, Targets::default(), add).await
    }
}

#[async_trait]
impl MetadataApi for RemoteStore {
    async fn metadata(&self, request: MetadataRequest) -> Result<Answer<Metadata>> {
        let (tenant, budget) = (request.tenant.clone(), request.budget.clone());
        let (request, charge) =
            self.charged(pb::MetricMetadataRequest::from(request), &tenant, &budget)?;
        let answer = client!(MetadataClient, self).metric_metadata(request).await;
        let add = |metadata: &mut Metadata, more: pb::MetricMetadata| {
            for (name, entries) in Metadata::from(more) {
                metadata.entry(name).or_default().extend(entries);
            }
        };
        self.collect(answer, charge, Metadata::new(), add).await
    }
}

#[async_trait]
impl ExemplarsApi for RemoteStore {
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        let (tenant, budget) = (request.tenant.clone(), request.budget.clone());
        let (request, charge) =
            self.charged(pb::ExemplarsRequest::from(request), &tenant, &budget)?;
        let answer = client!(ExemplarsClient, self).exemplars(request).await;
        let add = |all: &mut Vec<SeriesExemplars>, more: pb::ExemplarData| all.push(more.into());
        self.collect(answer, charge, Vec::new(), add).await
    }
}

#[async_trait]
impl StatusApi for RemoteStore {
    async fn tsdb_statistics(&self, request: StatusRequest) -> Result<Answer<TenantStatistics>> {
        let (tenant, budget) = (request.tenant.clone(), request.budget.clone());
        let (request, charge) =
            self.charged(pb::TsdbStatisticsRequest::from(request), &tenant, &budget)?;
        let answer = client!(StatusClient, self).tsdb_statistics(request).await;
        let add = |all: &mut TenantStatistics, more: pb::TsdbStatistics| {
            // One message for each component behind the other one, of equal tenants.
            add_tenants(all, TenantStatistics::from(more));
        };
        self.collect(answer, charge, TenantStatistics::new(), add)
            .await
    }
}
