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
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{Completeness, Missing};

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
}

impl fmt::Debug for FanoutOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutOptions")
            .field("replica_labels", &self.replica_labels)
            .field("selector_labels", &self.selector_labels)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Every API over those of many components; clones share what they know.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
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
        let mut asked = Vec::new();
        for endpoint in endpoints.iter() {
            let info = endpoint.info();
            let known = info.known().map(|info| offers(&info.offers));
            if known == Some(false) {
                continue;
            }
            if let Some(call) = call(endpoint) {
                asked.push((endpoint, info, call));
            }
        }
        let answers = asked
            .into_iter()
            .map(|(endpoint, info, call)| self.answer(endpoint, info, call));
        let mut joined = Answer::complete(Vec::new());
        for (endpoint, answer) in join_all(answers).await {
            match answer {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    joined.value.push(answer.value);
                    add_new(&mut joined.warnings, answer.warnings);
                    for missing in answer.completeness.missing() {
                        add_once(&mut joined.completeness, missing.clone());
                    }
                }
                Err(error) => {
                    let missing = Missing {
                        source: endpoint.name().to_owned(),
                        reason: error.to_string(),
                    };
                    match policy {
                        PartialResponse::Abort => return Err(error.context(what)),
                        PartialResponse::Warn => add_once(&mut joined.completeness, missing),
                    }
                }
            }
        }
        match (policy, joined.completeness.missing().first()) {
            (PartialResponse::Abort, Some(missing)) => Err(missing_error(missing).context(what)),
            _ => Ok(joined),
        }
    }

    /// Awaits the answer of an endpoint; `None` when it turns out to have nothing of the kind.
    async fn answer<'a, T>(
        &self,
        endpoint: &'a Endpoint,
        info: EndpointInfo,
        call: BoxFuture<'static, Result<Answer<T>>>,
    ) -> (&'a Endpoint, Result<Option<Answer<T>>>) {
        let answer = match self.options.timeout {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let message = format!("no answer within {limit:?}");
                Err(Error::unavailable(message).context(endpoint.name()))
            }),
        };
        let answer = match answer {
            Err(error) if info.known().is_none() && is_unimplemented(&error) => Ok(None),
            answer => answer.map(Some),
        };
        (endpoint, answer)
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

fn add_once(completeness: &mut Completeness, missing: Missing) {
    if !completeness.missing().contains(&missing) {
        completeness.add(missing);
    }
}

fn add_new(all: &mut Vec<String>, more: Vec<String>) {
    for text in more {
        if !all.contains(&text) {
            all.push(text);
        }
    }
}
