//! Label names and values from many stores.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use thanos_core::error::{Error, Result};
use thanos_core::query::{Completeness, Missing};

use super::prune::Decision;
use super::timeout::within;
use super::{Endpoint, Proxy, Targets, add_once};
use crate::policy::missing_error;
use crate::store::{LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, Store};

/// The call of one store: whom it asks, and the answer to come.
type Call<'a> = (Arc<Endpoint>, BoxFuture<'a, Result<LabelsResponse>>);

impl Proxy {
    pub(super) async fn ask_label_names(
        &self,
        targets: Targets,
        request: &LabelNamesRequest,
    ) -> Result<LabelsResponse> {
        let mut calls = Vec::with_capacity(targets.stores.len());
        for (target, matchers) in targets.calls() {
            let forwarded = LabelNamesRequest {
                matchers,
                limit: forwarded_limit(target, request.limit, &request.without_replica_labels),
                ..request.clone()
            };
            let store: Arc<dyn Store> = Arc::clone(target.endpoint.store());
            let call: BoxFuture<'_, _> =
                Box::pin(async move { store.label_names(forwarded).await });
            calls.push((Arc::clone(&target.endpoint), call));
        }
        let policy = request.partial_response;
        let mut answer = self
            .union(calls, "fetch label names from store", policy)
            .await?;
        add_all(&mut answer.completeness, targets.missing);
        answer
            .values
            .retain(|name| !request.without_replica_labels.contains(name));
        cut(&mut answer.values, request.limit);
        Ok(answer)
    }

    pub(super) async fn ask_label_values(
        &self,
        targets: Targets,
        request: &LabelValuesRequest,
    ) -> Result<LabelsResponse> {
        let mut calls = Vec::with_capacity(targets.stores.len());
        for (target, matchers) in targets.calls() {
            let forwarded = LabelValuesRequest {
                matchers,
                ..request.clone()
            };
            let store: Arc<dyn Store> = Arc::clone(target.endpoint.store());
            let call: BoxFuture<'_, _> =
                Box::pin(async move { store.label_values(forwarded).await });
            calls.push((Arc::clone(&target.endpoint), call));
        }
        let policy = request.partial_response;
        let mut answer = self
            .union(calls, "fetch label values from store", policy)
            .await?;
        add_all(&mut answer.completeness, targets.missing);
        cut(&mut answer.values, request.limit);
        Ok(answer)
    }

    /// Returns the sorted union of all answers; a store that fails fails the call or is named as missing.
    async fn union(
        &self,
        calls: Vec<Call<'_>>,
        what: &str,
        policy: PartialResponse,
    ) -> Result<LabelsResponse> {
        let timeout = self.options.response_timeout;
        let timed = calls.into_iter().map(|(endpoint, call)| async move {
            let answer = within(timeout, call).await;
            (
                endpoint,
                answer.unwrap_or_else(|elapsed| Err(elapsed.error())),
            )
        });
        let mut calls: FuturesUnordered<_> = timed.collect();
        let mut values = BTreeSet::new();
        let mut warnings = BTreeSet::new();
        let mut union = LabelsResponse::default();
        while let Some((endpoint, answer)) = calls.next().await {
            let answer = answer.map_err(|error| error.context(format_args!("{what} {endpoint}")));
            let answer = answer.or_else(|error| excuse(error, &endpoint, policy))?;
            for missing in answer.completeness.missing() {
                if policy == PartialResponse::Abort {
                    return Err(missing_error(missing));
                }
                add_once(&mut union.completeness, missing.clone());
            }
            values.extend(answer.values);
            warnings.extend(answer.warnings);
        }
        union.values = values.into_iter().collect();
        union.warnings = warnings.into_iter().collect();
        Ok(union)
    }
}

fn add_all(completeness: &mut Completeness, missing: Vec<Missing>) {
    for missing in missing {
        add_once(completeness, missing);
    }
}

/// Turns the failure of a store into an answer that says so, where the request allows that.
fn excuse(error: Error, endpoint: &Endpoint, policy: PartialResponse) -> Result<LabelsResponse> {
    match policy {
        PartialResponse::Abort => Err(error),
        PartialResponse::Warn => {
            let mut answer = LabelsResponse::default();
            answer.completeness.add(Missing {
                source: endpoint.name().to_owned(),
                reason: error.to_string(),
            });
            Ok(answer)
        }
    }
}

/// A store that leaves replica labels in would count names that the proxy drops.
fn forwarded_limit(target: &Decision, limit: u64, without: &[String]) -> u64 {
    let removes = target
        .info
        .known()
        .is_some_and(|info| info.supports_without_replica_labels);
    if removes || without.is_empty() {
        limit
    } else {
        0
    }
}

fn cut(values: &mut Vec<String>, limit: u64) {
    if limit > 0 {
        values.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
}
