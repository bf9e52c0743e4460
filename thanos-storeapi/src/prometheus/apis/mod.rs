//! What a Prometheus answers beside series, with its external labels added.

mod answers;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::time::TimeRange;

use self::answers::{ExemplarSeries, MetadataEntry, StatusAnswer, TargetsAnswer};
use self::rules::RulesAnswer;
use super::calls::OrNull;
use super::client::Parameters;
use super::server::PrometheusServer;
use crate::apis::exemplars::{ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest};
use crate::apis::rules::{RuleGroup, RuleKinds, RulesApi, RulesRequest};
use crate::apis::status::{StatusApi, StatusRequest, TenantStatistics};
use crate::apis::targets::{TargetStates, Targets, TargetsApi, TargetsRequest};
use crate::apis::{Answer, Apis, Held, Offers};

/// Rules, targets, metadata, exemplars and statistics of a Prometheus server.
#[derive(Debug, Clone)]
pub struct PrometheusApis {
    server: PrometheusServer,
}

impl PrometheusApis {
    /// Returns the APIs of `server`.
    pub fn new(server: PrometheusServer) -> Self {
        Self { server }
    }

    /// Returns what the component announces: these, and a store.
    pub fn offers() -> Offers {
        Offers {
            store: true,
            rules: true,
            targets: true,
            metadata: true,
            exemplars: Some(TimeRange::ALL),
            status: true,
            query: false,
        }
    }

    /// Returns them as what a component has.
    pub fn apis(&self) -> Apis {
        let apis = Arc::new(self.clone());
        Apis {
            rules: Some(Arc::clone(&apis) as Arc<dyn RulesApi>),
            targets: Some(Arc::clone(&apis) as Arc<dyn TargetsApi>),
            metadata: Some(Arc::clone(&apis) as Arc<dyn MetadataApi>),
            exemplars: Some(Arc::clone(&apis) as Arc<dyn ExemplarsApi>),
            status: Some(apis),
            query: None,
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        parameters: &Parameters,
    ) -> Result<Answer<T>> {
        let client = self.server.client();
        let (value, warnings, lease) = client.get_on_lease(path, parameters).await?;
        Ok(Answer {
            warnings,
            held: Held::from(lease),
            ..Answer::complete(value)
        })
    }

    fn external_labels(&self) -> Labels {
        self.server.facts().external_labels.clone()
    }
}

/// Returns `labels` with `external`, which win.
fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    for (name, value) in external.iter() {
        builder.set(&name, &value);
    }
    builder.build()
}

#[async_trait]
impl RulesApi for PrometheusApis {
    async fn rules(&self, request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
        let parameters = match request.kind {
            RuleKinds::All => Parameters::default(),
            RuleKinds::Alerting => Parameters::default().with("type", "alert"),
            RuleKinds::Recording => Parameters::default().with("type", "record"),
        };
        let path = "api/v1/rules";
        let answer = self.get::<RulesAnswer>(path, &parameters).await?;
        let external = self.external_labels();
        let groups = answer.try_map(|rules| rules.groups(&request, &external));
        groups.map_err(|error| self.in_context(error, path))
    }
}

impl PrometheusApis {
    fn in_context(&self, error: Error, path: &str) -> Error {
        error.context(format!("{}/{path}", self.server.client().url()))
    }
}

#[async_trait]
impl TargetsApi for PrometheusApis {
    async fn targets(&self, request: TargetsRequest) -> Result<Answer<Targets>> {
        let parameters = match request.state {
            TargetStates::Any => Parameters::default(),
            TargetStates::Active => Parameters::default().with("state", "active"),
            TargetStates::Dropped => Parameters::default().with("state", "dropped"),
        };
        let path = "api/v1/targets";
        let answer = self.get::<TargetsAnswer>(path, &parameters).await?;
        let external = self.external_labels();
        let targets = answer.try_map(|targets| targets.targets(&external));
        targets.map_err(|error| self.in_context(error, path))
    }
}

#[async_trait]
impl MetadataApi for PrometheusApis {
    async fn metadata(&self, request: MetadataRequest) -> Result<Answer<Metadata>> {
        let mut parameters = Parameters::default();
        if let Some(metric) = &request.metric {
            parameters = parameters.with("metric", metric);
        }
        if let Some(most) = request.metrics_max {
            parameters = parameters.with("limit", &most.to_string());
        }
        let answer = self
            .get::<std::collections::BTreeMap<String, Vec<MetadataEntry>>>(
                "api/v1/metadata",
                &parameters,
            )
            .await?;
        let of_metric = |(metric, entries): (String, Vec<MetadataEntry>)| {
            let entries = entries.into_iter().map(Into::into);
            (metric, entries.collect())
        };
        Ok(answer.map(|found| found.into_iter().map(of_metric).collect()))
    }
}

#[async_trait]
impl ExemplarsApi for PrometheusApis {
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        let parameters = Parameters::default()
            .with("query", &request.query)
            .within_all(request.range);
        let path = "api/v1/query_exemplars";
        let answer = self
            .get::<OrNull<Vec<ExemplarSeries>>>(path, &parameters)
            .await?;
        let external = self.external_labels();
        let read = |found: OrNull<Vec<ExemplarSeries>>| {
            let series = found.0.into_iter();
            let series: Result<Vec<_>> = series.map(|series| series.exemplars(&external)).collect();
            let mut series = series?;
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok(series)
        };
        let series = answer.try_map(read);
        series.map_err(|error| self.in_context(error, path))
    }
}

#[async_trait]
impl StatusApi for PrometheusApis {
    async fn tsdb_statistics(&self, request: StatusRequest) -> Result<Answer<TenantStatistics>> {
        let facts = self.server.facts();
        if !facts.is_up {
            return Err(Error::unavailable("not ready"));
        }
        let external = facts.external_labels.as_ref();
        let is_other_tenant = request
            .only_tenant
            .as_ref()
            .is_some_and(|tenant| !tenant.as_str().is_empty());
        let matches = request
            .matchers
            .iter()
            .all(|matcher| matcher.matches_labels(external));
        if is_other_tenant || !matches {
            return Ok(Answer::complete(TenantStatistics::new()));
        }
        let limit = u64::try_from(request.entries_max).unwrap_or(u64::MAX);
        let parameters = Parameters::default().at_most(limit);
        let answer = self
            .get::<StatusAnswer>("api/v1/status/tsdb", &parameters)
            .await?;
        Ok(answer.map(|status| {
            let statistics = status.statistics(request.entries_max);
            TenantStatistics::from([(String::new(), statistics)])
        }))
    }
}
