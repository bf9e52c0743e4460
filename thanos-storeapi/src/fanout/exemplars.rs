//! Exemplars of many components.
//!
//! Each is asked only for the selectors that its external labels may match, and without the matchers on them: a Prometheus
//! does not know its own. A querier knows those of everybody below it and gets them all.
//!
//! Source: Thanos' `pkg/exemplars/proxy.go` and `pkg/exemplars/exemplars.go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};

use super::Fanout;
use crate::apis::Answer;
use crate::apis::exemplars::{Exemplar, ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::label_edit::strip_matchers;
use crate::store::StoreInfo;

/// The component that knows the external labels of others.
const QUERIER: &str = "query";

#[async_trait]
impl ExemplarsApi for Fanout {
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        let selectors = (self.options.selectors)(&request.query)?;
        let own = &self.options.selector_labels;
        let selectors: Vec<_> = selectors
            .iter()
            .filter_map(|matchers| strip_matchers(matchers, own))
            .collect();
        if selectors.is_empty() {
            return Ok(Answer::complete(Vec::new()));
        }
        if selectors.iter().any(Vec::is_empty) {
            let message = "no matchers specified (excluding external labels)";
            return Err(Error::invalid(message));
        }
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().exemplars.as_ref()?);
            let info = endpoint.info();
            let query = match info.known() {
                Some(info) => query_for(info, &selectors)?,
                None => expression(selectors.iter().map(|set| set.iter().collect())),
            };
            let request = ExemplarsRequest {
                query,
                ..request.clone()
            };
            let call = async move { api.exemplars(request).await };
            Some(Box::pin(call) as _)
        };
        let (what, policy) = ("fetching exemplars", request.partial_response);
        let answer: Answer<Vec<Vec<SeriesExemplars>>> = self
            .ask(what, policy, |offers| offers.exemplars.is_some(), call)
            .await?;
        let all = answer.value.into_iter().flatten();
        Ok(Answer {
            value: self.joined(all),
            warnings: answer.warnings,
            completeness: answer.completeness,
        })
    }
}

impl Fanout {
    /// Makes one of the series of replicas, and one of exemplars that are equal.
    fn joined(&self, all: impl Iterator<Item = SeriesExemplars>) -> Vec<SeriesExemplars> {
        let mut by_labels: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for series in all.filter(|series| !series.exemplars.is_empty()) {
            let labels = self.without_replicas(&series.labels);
            by_labels
                .entry(labels)
                .or_default()
                .extend(series.exemplars);
        }
        let series = by_labels.into_iter().map(|(labels, mut exemplars)| {
            exemplars.sort_by(|a, b| {
                let by_time = a.time.cmp(&b.time).then_with(|| a.labels.cmp(&b.labels));
                by_time.then_with(|| a.value.total_cmp(&b.value))
            });
            exemplars.dedup_by(|b, a| {
                let is_same = a.time == b.time && a.labels == b.labels;
                is_same && a.value.total_cmp(&b.value).is_eq()
            });
            SeriesExemplars { labels, exemplars }
        });
        series.collect()
    }
}

/// Returns the expression to ask a component for, or nothing when no selector can match there.
fn query_for(info: &StoreInfo, selectors: &[Vec<Matcher>]) -> Option<String> {
    let sets: Vec<&Labels> = info
        .tsdbs
        .iter()
        .map(|tsdb| &tsdb.external_labels)
        .collect();
    let may_match = |set: &Labels, matchers: &[Matcher]| {
        matchers.iter().all(|matcher| {
            let value = set.get(matcher.name());
            value.is_none_or(|value| matcher.matches(&value))
        })
    };
    let is_external = |matcher: &Matcher| sets.iter().any(|set| set.get(matcher.name()).is_some());
    let wanted: Vec<Vec<&Matcher>> = selectors
        .iter()
        .filter(|matchers| sets.is_empty() || sets.iter().any(|set| may_match(set, matchers)))
        .map(|matchers| {
            let kept = matchers
                .iter()
                .filter(|matcher| info.component == QUERIER || !is_external(matcher));
            kept.collect::<Vec<_>>()
        })
        .collect();
    (!wanted.is_empty()).then(|| expression(wanted.into_iter()))
}

/// Returns an expression with these selectors.
fn expression<'a>(selectors: impl Iterator<Item = Vec<&'a Matcher>>) -> String {
    let mut text = String::new();
    for (i, matchers) in selectors.enumerate() {
        text.push_str(if i == 0 { "{" } else { "+{" });
        for (i, matcher) in matchers.into_iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            let _ = write!(text, "{separator}{matcher}");
        }
        text.push('}');
    }
    text
}
