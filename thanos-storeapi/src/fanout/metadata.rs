//! Metadata of many components.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;

use super::Fanout;
use crate::apis::Answer;
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest};

#[async_trait]
impl MetadataApi for Fanout {
    async fn metadata(&self, request: MetadataRequest) -> Result<Answer<Metadata>> {
        let policy = request.partial_response;
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().metadata.as_ref()?);
            let request = request.clone();
            let call = async move { api.metadata(request).await };
            Some(Box::pin(call) as _)
        };
        let what = "fetching metadata";
        let answer: Answer<Vec<Metadata>> = self
            .ask(what, policy, |offers| offers.metadata, call)
            .await?;
        let mut all = Metadata::new();
        for (name, entries) in answer.value.into_iter().flatten() {
            let known = all.entry(name).or_default();
            for entry in entries {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
        }
        all.retain(|name, _| request.metric.as_ref().is_none_or(|wanted| wanted == name));
        let metrics_max = request.metrics_max.unwrap_or(usize::MAX);
        Ok(Answer {
            value: all.into_iter().take(metrics_max).collect(),
            warnings: answer.warnings,
            completeness: answer.completeness,
        })
    }
}
