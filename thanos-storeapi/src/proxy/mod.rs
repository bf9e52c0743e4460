//! The fan-out: one [`Store`] over many.
//!
//! A request is sent to the stores that may hold something for it, judged by time range and external labels. Their
//! sorted streams are merged, the parts of a series joined, identical chunks dropped. The proxy does what a store
//! says it cannot do: remove replica labels, pick a shard.
//!
//! What a store fails to give is never passed over in silence: the request fails, or the answer names the store
//! as missing ([`PartialResponse`]).
//!
//! Inside a tokio runtime each store is read by a task of its own, a few batches ahead; elsewhere the stores are read
//! in turn and without timeouts.

mod counters;
mod endpoint;
mod explain;
mod labels;
mod prune;
mod read_ahead;
mod selector;
mod source;
mod timeout;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use futures::{StreamExt, stream};
use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{Completeness, MergeSource, Missing, SeriesEvent, SeriesStream, merge};
use thanos_core::time::TimeRange;

pub use counters::ProxyCounters;
pub use endpoint::{Endpoint, EndpointInfo, EndpointSet};
pub use prune::{Decision, SkipReason};
pub use selector::TsdbSelector;

use self::selector::{Selected, Selections};
use crate::apis::Offers;
use crate::join::join_series;
use crate::label_edit::strip_matchers;
use crate::policy::{fail_or_note, missing_error};
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, SeriesRequest,
    SourcePlan, Store, StoreInfo,
};

/// What users know from Thanos when there is nobody to ask.
const NO_STORES: &str = "No StoreAPIs available";

/// How many different warnings, and how many losses, one answer carries.
const NOTICES_MAX: usize = 1000;

/// How a [`Proxy`] reads its stores.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// The component it announces.
    pub component: String,
    /// Labels it announces for all its data and accepts in matchers (`--selector-label`).
    pub selector_labels: Labels,
    /// Which of the stores' databases it has (`--selector.relabel-config`).
    pub selector: TsdbSelector,
    /// The longest wait for the next part of an answer (`--store.response-timeout`); `None` waits for ever.
    pub response_timeout: Option<Duration>,
    /// The longest wait for the info of a store in this process (`--endpoint.info-timeout`).
    pub info_timeout: Option<Duration>,
    /// How many batches a store may be read ahead of the merge.
    pub read_ahead_batches: usize,
    /// What batches that wait, and series that must be sorted here, take their memory from.
    pub budget: MemoryBudget,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            component: "query".into(),
            selector_labels: Labels::empty(),
            selector: TsdbSelector::default(),
            response_timeout: None,
            info_timeout: Some(Duration::from_secs(5)),
            read_ahead_batches: 4,
            budget: MemoryBudget::unlimited(),
        }
    }
}

/// Whom a request asks, and for what.
#[derive(Debug)]
struct Targets {
    stores: Vec<Decision>,
    range: TimeRange,
    matchers: Vec<Matcher>,
    /// Who should be asked and cannot be.
    missing: Vec<Missing>,
}

impl Targets {
    /// Returns the calls to make: whom to ask, and with which matchers.
    fn calls(&self) -> impl Iterator<Item = (&Decision, Vec<Matcher>)> {
        self.stores.iter().flat_map(|decision| {
            let requests = decision.requests(self.range, &self.matchers);
            requests
                .into_iter()
                .map(move |matchers| (decision, matchers))
        })
    }
}

/// A [`Store`] that asks many.
///
/// # Example
///
/// ```
/// use thanos_storeapi::proxy::{EndpointSet, Proxy, ProxyOptions};
/// use thanos_storeapi::store::Store;
///
/// # futures::executor::block_on(async {
/// let endpoints = EndpointSet::default();
/// let proxy = Proxy::new(endpoints.clone(), ProxyOptions::default());
/// // Discovery changes `endpoints` at any time.
/// assert_eq!(proxy.info().await?.component, "query");
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Proxy {
    endpoints: EndpointSet,
    options: Arc<ProxyOptions>,
    counters: Arc<ProxyCounters>,
    selections: Arc<Selections>,
    address_matchers: Vec<Vec<Matcher>>,
}

impl Proxy {
    /// Returns a proxy over `endpoints`.
    pub fn new(endpoints: EndpointSet, options: ProxyOptions) -> Self {
        Self {
            endpoints,
            selections: Arc::new(Selections::new(options.selector.clone())),
            options: Arc::new(options),
            counters: Arc::default(),
            address_matchers: Vec::new(),
        }
    }

    /// Returns a proxy that asks only the stores whose `__address__` one of the sets matches (`storeMatch[]`); stores
    /// in this process have no address. No set means all stores.
    #[must_use]
    pub fn restricted_to(&self, address_matchers: Vec<Vec<Matcher>>) -> Self {
        Self {
            address_matchers,
            ..self.clone()
        }
    }

    /// Returns the endpoints.
    pub fn endpoints(&self) -> &EndpointSet {
        &self.endpoints
    }

    /// Returns the labels that the proxy announces for all its data.
    pub fn selector_labels(&self) -> &Labels {
        &self.options.selector_labels
    }

    /// Returns what was counted so far, by this proxy and those restricted from it.
    pub fn counters(&self) -> &Arc<ProxyCounters> {
        &self.counters
    }

    /// Decides for every store whether a request for `range` and `matchers` asks it, and if not, why.
    pub async fn plan(&self, range: TimeRange, matchers: &[Matcher]) -> Vec<Decision> {
        let endpoints = self.endpoints.current();
        let timeout = self.options.info_timeout;
        let infos = join_all(
            endpoints
                .iter()
                .map(|endpoint| endpoint.current_info(timeout)),
        )
        .await;
        self.selections.retain(endpoints.len(), |name| {
            endpoints.iter().any(|endpoint| endpoint.name() == name)
        });
        let decide = |(endpoint, info)| self.decide(endpoint, info, range, matchers);
        endpoints.iter().zip(infos).map(decide).collect()
    }

    fn decide(
        &self,
        endpoint: &Arc<Endpoint>,
        info: EndpointInfo,
        range: TimeRange,
        matchers: &[Matcher],
    ) -> Decision {
        let mut decision = Decision {
            endpoint: Arc::clone(endpoint),
            missing: endpoint.lost(&info),
            info,
            skipped: None,
            parts: None,
        };
        if !prune::address_matches(&self.address_matchers, endpoint.address()) {
            decision.skipped = Some(SkipReason::Address);
            decision.missing = None;
            return decision;
        }
        let selected = decision.info.known();
        match selected.map(|info| self.selections.of(endpoint.name(), info)) {
            _ if decision.missing.is_some() => {}
            // What is not known may be anything.
            None | Some(Selected::All) => {}
            Some(Selected::Nothing) => {
                decision.skipped = Some(SkipReason::NotSelected);
                return decision;
            }
            Some(Selected::Parts(info, parts)) => {
                decision.info = EndpointInfo::Known(info);
                decision.parts = Some(parts);
            }
            Some(Selected::Failed(reason)) => {
                decision.missing = Some(Missing {
                    source: endpoint.name().to_owned(),
                    reason,
                });
            }
        }
        decision.skipped = match &decision.missing {
            Some(_) => Some(SkipReason::Unhealthy),
            None => prune::skip_reason(&decision.info, range, matchers),
        };
        decision
    }

    /// Returns whom to ask what, or `None` when no series can match.
    ///
    /// # Errors
    ///
    /// When somebody is missing already and `policy` wants all of the data.
    async fn targets(
        &self,
        range: TimeRange,
        matchers: &[Matcher],
        policy: PartialResponse,
    ) -> Result<Option<Targets>> {
        let Some(matchers) = strip_matchers(matchers, &self.options.selector_labels) else {
            return Ok(None);
        };
        if range.is_empty() {
            return Ok(None);
        }
        let mut missing = self.gaps();
        let mut stores = self.plan(range, &matchers).await;
        stores.retain_mut(|decision| match decision.skipped {
            None => true,
            Some(reason) => {
                tracing::debug!(store = decision.endpoint.name(), %reason, "store is not asked");
                missing.extend(decision.missing.take());
                false
            }
        });
        match missing.first() {
            Some(first) if policy == PartialResponse::Abort => Err(missing_error(first)),
            None | Some(_) => Ok(Some(Targets {
                stores,
                range,
                matchers,
                missing,
            })),
        }
    }

    /// Returns what is missing of the set of stores. No store at all is a gap too: an empty answer would look like an
    /// empty world.
    fn gaps(&self) -> Vec<Missing> {
        let gaps = self.endpoints.gaps();
        if gaps.is_empty() && self.endpoints.current().is_empty() {
            return vec![Missing {
                source: String::new(),
                reason: NO_STORES.into(),
            }];
        }
        gaps.to_vec()
    }

    fn open(&self, target: &Decision, request: SeriesRequest) -> SeriesStream {
        let options = source::SourceOptions {
            frame_timeout: self.options.response_timeout,
            budget: self.options.budget.clone(),
            counters: Arc::clone(&self.counters),
        };
        let policy = request.partial_response;
        let info = target.info.known().map(|info| &**info);
        let stream = source::open(&target.endpoint, info, request, &options);
        let stream =
            read_ahead::read_ahead(stream, self.options.read_ahead_batches, options.budget);
        fail_or_note(stream, target.endpoint.name().to_owned(), policy)
    }
}

#[async_trait]
impl Store for Proxy {
    async fn info(&self) -> Result<StoreInfo> {
        let decisions = self.plan(TimeRange::ALL, &[]).await;
        let announced =
            |decision: &Decision| prune::announced(&decision.info, &self.options.selector_labels);
        let is_selected = |decision: &&Decision| decision.skipped != Some(SkipReason::NotSelected);
        let selected = decisions.iter().filter(is_selected);
        let mut tsdbs: Vec<_> = selected.flat_map(announced).collect();
        tsdbs.sort_by(|a, b| {
            let by_range = (a.range.min, a.range.max).cmp(&(b.range.min, b.range.max));
            a.external_labels.cmp(&b.external_labels).then(by_range)
        });
        tsdbs.dedup();
        Ok(StoreInfo {
            component: self.options.component.clone(),
            tsdbs,
            supports_sharding: true,
            supports_without_replica_labels: true,
            // It holds for a proxy when it holds for all of its stores; a store that does not gets no such hint.
            supports_projections: false,
            offers: Offers::default(),
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        if request.matchers.is_empty() {
            return Err(Error::invalid("no matchers specified"));
        }
        let policy = request.partial_response;
        let targets = self.targets(request.range, &request.matchers, policy);
        let Some(targets) = targets.await? else {
            return Ok(stream::empty().boxed());
        };
        if targets.matchers.is_empty() {
            return Err(Error::invalid(
                "no matchers specified (excluding selector labels)",
            ));
        }
        let source = |(target, matchers): (&Decision, Vec<Matcher>)| MergeSource {
            name: target.endpoint.name().to_owned(),
            stream: self.open(target, forwarded(&request, target, matchers)),
        };
        let sources = targets.calls().map(source).collect();
        let whole = join_series(merge(sources), request.limit);
        let notices = targets
            .missing
            .into_iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing)));
        Ok(each_notice_once(stream::iter(notices).chain(whole).boxed()))
    }

    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        explain::sources(self, request).await
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        let policy = request.partial_response;
        let targets = self.targets(request.range, &request.matchers, policy);
        let Some(targets) = targets.await? else {
            return Ok(LabelsResponse::default());
        };
        self.ask_label_names(targets, &request).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        if request.label.is_empty() {
            return Err(Error::invalid("label name parameter cannot be empty"));
        }
        let is_removed = request.without_replica_labels.contains(&request.label);
        let policy = request.partial_response;
        let targets = self.targets(request.range, &request.matchers, policy);
        let Some(targets) = targets.await?.filter(|_| !is_removed) else {
            return Ok(LabelsResponse::default());
        };
        self.ask_label_values(targets, &request).await
    }
}

/// Returns the request to one store.
fn forwarded(request: &SeriesRequest, target: &Decision, matchers: Vec<Matcher>) -> SeriesRequest {
    let mut forwarded = SeriesRequest {
        matchers,
        // Hints are a conversation with one store; Thanos' proxy does not pass them on either.
        hints: None,
        ..request.clone()
    };
    let info = target.info.known();
    if let Some(hints) = &mut forwarded.query_hints
        && !info.is_some_and(|info| info.supports_projections)
    {
        hints.projection = None;
    }
    forwarded
}

/// Drops warnings and notices of missing data that were said before, and those beyond any use.
fn each_notice_once(stream: SeriesStream) -> SeriesStream {
    let mut warnings = HashSet::new();
    let mut missing = HashSet::new();
    let mut is_new = move |event: &Result<SeriesEvent>| match event {
        Ok(SeriesEvent::Warning(text)) => {
            warnings.len() < NOTICES_MAX && warnings.insert(text.clone())
        }
        // Dropping some leaves the answer as partial as it is.
        Ok(SeriesEvent::Missing(more)) => {
            missing.len() < NOTICES_MAX && missing.insert(more.clone())
        }
        Ok(SeriesEvent::Batch(_) | SeriesEvent::Hints(_)) | Err(_) => true,
    };
    let new = stream.filter(move |event| std::future::ready(is_new(event)));
    new.boxed()
}

/// Adds a notice of missing data unless it was said before.
fn add_once(completeness: &mut Completeness, missing: Missing) {
    if !completeness.missing().contains(&missing) {
        completeness.add(missing);
    }
}
