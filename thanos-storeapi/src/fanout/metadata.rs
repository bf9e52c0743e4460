//! Metadata of many components.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;

use super::Fanout;
use super::tenancy::{Whose, refusal};
use crate::apis::Answer;
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest};

#[async_trait]
impl MetadataApi for Fanout {
    async fn metadata(&self, mut request: MetadataRequest) -> Result<Answer<Metadata>> {
        request.budget = self.request_budget();
        let policy = request.partial_response;
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().metadata.as_ref()?);
            // Metadata has no labels that could say whose it is.
            let whose = self.whose(&request.tenant, &endpoint.info());
            if matches!(whose, Whose::Foreign) {
                return None;
            }
            let request = request.clone();
            let call = async move {
                if matches!(whose, Whose::Mixed) {
                    refusal(&request.tenant)?;
                }
                api.metadata(request).await
            };
            Some(Box::pin(call) as _)
        };
        let what = "fetching metadata";
        let answer: Answer<Vec<Metadata>> = self
            .ask(what, policy, |offers| offers.metadata, call)
            .await?;
        let is_wanted = |name: &String| request.metric.as_ref().is_none_or(|wanted| wanted == name);
        let metrics_max = request.metrics_max.unwrap_or(usize::MAX);
        Ok(answer.map(|answers| {
            let metrics = joined(answers).into_iter();
            let metrics = metrics
                .filter(|(name, _)| is_wanted(name))
                .take(metrics_max);
            metrics.collect()
        }))
    }
}

/// Returns what is known about each metric, the entries that several know once.
fn joined(answers: Vec<Metadata>) -> Metadata {
    let mut all = Metadata::new();
    for (name, entries) in answers.into_iter().flatten() {
        all.entry(name).or_default().extend(entries);
    }
    for entries in all.values_mut() {
        let mut known = HashSet::with_capacity(entries.len());
        entries.retain(|entry| known.insert(entry.clone()));
    }
    all
}
