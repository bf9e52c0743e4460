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
use thanos_core::Result;
use thanos_core::labels::{Labels, Matcher};

use super::Fanout;
use crate::apis::Answer;
use crate::apis::exemplars::{Exemplar, ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::label_edit::strip_matchers;
use crate::store::StoreInfo;
use crate::tenancy::enforced;

/// The component that knows the external labels of others.
const QUERIER: &str = "query";
/// A condition that every series meets, for it has a name.
const ANY_SERIES: &str = r#"__name__=~".+""#;

#[async_trait]
impl ExemplarsApi for Fanout {
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        let selectors = (self.options.selectors)(&request.query)?;
        let own = &self.options.selector_labels;
        let selectors: Vec<_> = selectors
            .iter()
            .filter_map(|matchers| match &self.options.enforced_label {
                Some(label) => {
                    strip_matchers(&enforced(matchers.clone(), label, &request.tenant), own)
                }
                None => strip_matchers(matchers, own),
            })
            .collect();
        if selectors.is_empty() {
            return Ok(Answer::complete(Vec::new()));
        }
        let budget = self.request_budget();
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().exemplars.as_ref()?);
            let info = endpoint.info();
            let asked = match info.known() {
                Some(info) => Asked::of(info, &selectors)?,
                None => Asked::as_they_are(&selectors),
            };
            let request = ExemplarsRequest {
                query: asked.query,
                budget: budget.clone(),
                ..request.clone()
            };
            let unsaid = asked.unsaid;
            let call = async move {
                let mut answer = api.exemplars(request).await?;
                let satisfies = |labels: &Labels, set: &Vec<Matcher>| {
                    set.iter()
                        .all(|matcher| matcher.matches_labels(labels.as_ref()))
                };
                answer
                    .value
                    .retain(|series| unsaid.iter().any(|set| satisfies(&series.labels, set)));
                Ok(answer)
            };
            Some(Box::pin(call) as _)
        };
        let (what, policy) = ("fetching exemplars", request.partial_response);
        let answer: Answer<Vec<Vec<SeriesExemplars>>> = self
            .ask(what, policy, |offers| offers.exemplars.is_some(), call)
            .await?;
        Ok(answer.map(|all| {
            let all = all.into_iter().flatten();
            self.joined(all.filter(|series| self.may_see(&request.tenant, &series.labels)))
        }))
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

/// What a component is asked.
struct Asked {
    query: String,
    /// The matchers on external labels that the query leaves out, of each selector. The answer has the external labels
    /// among those of its series, so that the matchers are applied there: a component may be several databases.
    unsaid: Vec<Vec<Matcher>>,
}

impl Asked {
    /// Returns what to ask a component, or nothing when no selector can match there.
    fn of(info: &StoreInfo, selectors: &[Vec<Matcher>]) -> Option<Self> {
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
        let is_unsaid = |matcher: &Matcher| {
            info.component != QUERIER && sets.iter().any(|set| set.get(matcher.name()).is_some())
        };
        let (mut said, mut unsaid) = (Vec::new(), Vec::new());
        for matchers in selectors {
            if sets.is_empty() || sets.iter().any(|set| may_match(set, matchers)) {
                let (left_out, kept) = matchers.iter().cloned().partition(is_unsaid);
                unsaid.push(left_out);
                said.push(kept);
            }
        }
        let query = expression(&said);
        (!said.is_empty()).then_some(Self { query, unsaid })
    }

    /// Returns the question for a component of which nothing is known.
    fn as_they_are(selectors: &[Vec<Matcher>]) -> Self {
        Self {
            query: expression(selectors),
            unsaid: vec![Vec::new()],
        }
    }
}

/// Returns an expression with these selectors.
///
/// PromQL has no selector that the empty value of every label satisfies: one of those gets a condition that all series meet.
fn expression(selectors: &[Vec<Matcher>]) -> String {
    let mut text = String::new();
    for (i, matchers) in selectors.iter().enumerate() {
        text.push_str(if i == 0 { "{" } else { "+{" });
        for (i, matcher) in matchers.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            let _ = write!(text, "{separator}{matcher}");
        }
        if matchers.iter().all(Matcher::matches_empty) {
            let separator = if matchers.is_empty() { "" } else { "," };
            let _ = write!(text, "{separator}{ANY_SERIES}");
        }
        text.push('}');
    }
    text
}
