//! One component over many, for everything beside series: rules, targets, metadata, exemplars, the state of databases.
//!
//! Whoever offers something is asked at the same time as all others; what replicas have alike is said once. What a
//! component fails to give is never passed over in silence: the request fails, or the answer names the component as
//! missing ([`PartialResponse`]). A component of which nothing is known is asked as well; when it answers that it has no
//! such thing, it has none.
//!
//! Rows Q-33 to Q-35 and X-49 to X-52 of the specification.

mod exemplars;
mod metadata;
mod rules;
mod status;
mod targets;
mod tenancy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::Missing;

use crate::apis::{Answer, Apis, Offers};
use crate::policy::missing_error;
use crate::proxy::{Endpoint, EndpointInfo, EndpointSet};
use crate::store::PartialResponse;

/// Returns the conditions of every selector in an expression; PromQL is not this crate's.
pub type SelectorsOf = Arc<dyn Fn(&str) -> Result<Vec<Vec<Matcher>>> + Send + Sync>;

/// How a [`Fanout`] asks and what it makes of the answers.
#[derive(Clone)]
pub struct FanoutOptions {
    /// Labels in which replicas differ; they are removed.
    pub replica_labels: BTreeSet<String>,
    /// Labels of the fan-out itself, which matchers may ask for (`--selector-label`).
    pub selector_labels: Labels,
    /// The longest wait for an answer; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// Reads the expressions of requests for exemplars.
    pub selectors: SelectorsOf,
    /// Where the memory of all answers comes from.
    pub budget: MemoryBudget,
    /// The most memory that one answer may take, over all components.
    pub request_bytes_max: u64,
    /// The label that names the tenant, where each sees its own alone (`--query.enforce-tenancy`).
    pub enforced_label: Option<String>,
}

impl fmt::Debug for FanoutOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutOptions")
            .field("replica_labels", &self.replica_labels)
            .field("selector_labels", &self.selector_labels)
            .field("timeout", &self.timeout)
            .field("request_bytes_max", &self.request_bytes_max)
            .field("enforced_label", &self.enforced_label)
            .finish_non_exhaustive()
    }
}

/// Every API over those of many components; clones share what they know.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_core::budget::MemoryBudget;
/// use thanos_storeapi::apis::rules::{RulesApi, RulesRequest};
/// use thanos_storeapi::fanout::{Fanout, FanoutOptions};
/// use thanos_storeapi::proxy::EndpointSet;
///
/// # futures::executor::block_on(async {
/// let endpoints = EndpointSet::default();
/// let options = FanoutOptions {
///     replica_labels: ["replica".to_owned()].into(),
///     selector_labels: Default::default(),
///     timeout: None,
///     selectors: Arc::new(|_| Ok(Vec::new())),
///     budget: MemoryBudget::new("memory", 1 << 30),
///     request_bytes_max: 256 << 20,
///     enforced_label: None,
/// };
/// let fanout = Fanout::new(endpoints, options);
/// assert!(fanout.rules(RulesRequest::default()).await?.value.is_empty());
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Fanout {
    endpoints: EndpointSet,
    options: Arc<FanoutOptions>,
}

impl Fanout {
    /// Returns the fan-out over `endpoints`.
    pub fn new(endpoints: EndpointSet, options: FanoutOptions) -> Self {
        Self {
            endpoints,
            options: Arc::new(options),
        }
    }

    /// Returns everything that the fan-out answers.
    pub fn apis(&self) -> Apis {
        let this = Arc::new(self.clone());
        Apis {
            rules: Some(Arc::clone(&this) as _),
            targets: Some(Arc::clone(&this) as _),
            metadata: Some(Arc::clone(&this) as _),
            exemplars: Some(Arc::clone(&this) as _),
            status: Some(this),
            query: None,
        }
    }

    /// Asks everybody who offers it, and returns the answers in the order of the endpoints. `call` makes the call of an
    /// endpoint, or nothing when it need not be asked.
    async fn ask<T>(
        &self,
        what: &'static str,
        policy: PartialResponse,
        offers: impl Fn(&Offers) -> bool,
        call: impl Fn(&Endpoint) -> Option<BoxFuture<'static, Result<Answer<T>>>>,
    ) -> Result<Answer<Vec<T>>> {
        let endpoints = self.endpoints.current();
        let mut answers = FuturesUnordered::new();
        for endpoint in endpoints.iter() {
            let info = endpoint.info();
            let known = info.known().map(|info| offers(&info.offers));
            if known == Some(false) {
                continue;
            }
            if let Some(call) = call(endpoint) {
                let place = answers.len();
                let answer = self.answer(endpoint, info, call);
                answers.push(answer.map(move |answer| (place, endpoint, answer)));
            }
        }
        let mut answered = Vec::with_capacity(answers.len());
        while let Some((place, endpoint, answer)) = answers.next().await {
            // The first failure is the answer of those who want all; dropping the other calls ends them.
            let answer = match policy {
                PartialResponse::Warn => answer,
                PartialResponse::Abort => Ok(whole(answer).map_err(|error| error.context(what))?),
            };
            answered.push((place, endpoint, answer));
        }
        answered.sort_unstable_by_key(|(place, _, _)| *place);
        let mut joined = Joined::default();
        for (_, endpoint, answer) in answered {
            joined.add(endpoint.name(), answer);
        }
        Ok(joined.answer)
    }
    /// Awaits the answer of an endpoint; `None` when it turns out to have nothing of the kind.
    async fn answer<T>(
        &self,
        endpoint: &Endpoint,
        info: EndpointInfo,
        call: BoxFuture<'static, Result<Answer<T>>>,
    ) -> Result<Option<Answer<T>>> {
        let answer = match self.options.timeout {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let message = format!("no answer within {limit:?}");
                Err(Error::unavailable(message).context(endpoint.name()))
            }),
        };
        match answer {
            Err(error) if info.known().is_none() && is_unimplemented(&error) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Returns where the memory of one answer comes from.
    fn request_budget(&self) -> MemoryBudget {
        let bytes_max = self.options.request_bytes_max;
        self.options.budget.child("memory of a request", bytes_max)
    }

    /// Returns `labels` without those in which replicas differ.
    fn without_replicas(&self, labels: &Labels) -> Labels {
        let replica = &self.options.replica_labels;
        let kept = labels.iter().filter(|(name, _)| !replica.contains(&**name));
        Labels::from_pairs(kept)
    }
}

/// Reports whether a peer has said that it does not know the call.
fn is_unimplemented(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(status) = source.downcast_ref::<tonic::Status>() {
            return status.code() == tonic::Code::Unimplemented;
        }
        cause = source.source();
    }
    false
}

/// Returns an answer that lacks nothing, or what it lacks as an error.
fn whole<T>(answer: Result<Option<Answer<T>>>) -> Result<Option<Answer<T>>> {
    let answer = answer?;
    let missing = answer.iter().flat_map(|one| one.completeness.missing());
    match missing.map(missing_error).next() {
        Some(error) => Err(error),
        None => Ok(answer),
    }
}

/// The answers of components as one; what several of them say is said once.
struct Joined<T> {
    answer: Answer<Vec<T>>,
    warnings: HashSet<String>,
    missing: HashSet<Missing>,
}

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self {
            answer: Answer::complete(Vec::new()),
            warnings: HashSet::new(),
            missing: HashSet::new(),
        }
    }
}

impl<T> Joined<T> {
    /// Adds what the component `name` answers.
    fn add(&mut self, name: &str, answer: Result<Option<Answer<T>>>) {
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) => {
                self.answer.value.push(answer.value);
                self.answer.held.join(answer.held);
                for warning in answer.warnings {
                    if self.warnings.insert(warning.clone()) {
                        self.answer.warnings.push(warning);
                    }
                }
                for missing in answer.completeness.missing() {
                    self.lacks(missing.clone());
                }
            }
            Err(error) => self.lacks(Missing {
                source: name.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    fn lacks(&mut self, missing: Missing) {
        if self.missing.insert(missing.clone()) {
            self.answer.completeness.add(missing);
        }
    }
}
