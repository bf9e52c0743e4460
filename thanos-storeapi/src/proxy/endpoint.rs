//! The stores behind a proxy, and what is known about each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::RwLock;
use thanos_core::error::Result;
use thanos_core::query::Missing;
use thanos_core::time::TimeRange;

use super::timeout::within;
use crate::apis::Apis;
use crate::store::{Store, StoreInfo};

/// One store behind a proxy.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_storeapi::proxy::{Endpoint, EndpointSet};
/// use thanos_storeapi::store::Store;
///
/// fn endpoints(mine: Arc<dyn Store>, other: Arc<dyn Store>) -> EndpointSet {
///     EndpointSet::new([Endpoint::local("head", mine), Endpoint::remote("10.0.0.7:10901", other)])
/// }
/// ```
#[derive(Debug)]
pub struct Endpoint {
    name: String,
    place: Place,
    when_failing: WhenFailing,
    store: Arc<dyn Store>,
    apis: Apis,
    info: RwLock<EndpointInfo>,
}

/// What becomes of requests to a store that did not tell its info when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenFailing {
    /// They are sent all the same.
    Asked,
    /// They are not sent, and the store is named as missing.
    Missing,
}

/// Where a store runs, which decides how fresh its info is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In this process: asked for its info by every request.
    Local,
    /// Elsewhere: its info is what the last refresh brought.
    Remote,
}

/// What is known about a store.
#[derive(Debug, Clone, Default)]
pub enum EndpointInfo {
    /// Nothing yet: the store could hold anything and is always asked.
    #[default]
    Unknown,
    /// What it said last.
    Known(Arc<StoreInfo>),
    /// It did not answer when asked last, so what it said before may be wrong: it is asked whatever the request is about,
    /// or named as missing ([`Endpoint::while_healthy`]).
    Failed {
        /// Why.
        reason: String,
    },
}

impl EndpointInfo {
    /// Returns what the store said, if that still holds.
    pub fn known(&self) -> Option<&Arc<StoreInfo>> {
        match self {
            Self::Known(info) => Some(info),
            Self::Unknown | Self::Failed { .. } => None,
        }
    }
}

impl Endpoint {
    /// Returns the endpoint of a store in this process.
    pub fn local(name: impl Into<String>, store: Arc<dyn Store>) -> Arc<Self> {
        Self::new(name.into(), Place::Local, store, Apis::default())
    }

    /// Returns the endpoint of the store at `address`; [`EndpointSet::refresh`] keeps its info fresh.
    pub fn remote(address: impl Into<String>, store: Arc<dyn Store>) -> Arc<Self> {
        Self::remote_component(address, store, Apis::default())
    }

    /// Returns the endpoint of the component at `address`, which may answer `apis` beside series: those that its info
    /// offers are asked.
    pub fn remote_component(
        address: impl Into<String>,
        store: Arc<dyn Store>,
        apis: Apis,
    ) -> Arc<Self> {
        Self::new(address.into(), Place::Remote, store, apis)
    }

    /// Returns the endpoint of a component that is not asked while its info cannot be had: until that is there again,
    /// answers name it as missing at once, instead of waiting for what will most likely not come.
    pub fn while_healthy(
        address: impl Into<String>,
        store: Arc<dyn Store>,
        apis: Apis,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: address.into(),
            place: Place::Remote,
            when_failing: WhenFailing::Missing,
            store,
            apis,
            info: RwLock::default(),
        })
    }

    fn new(name: String, place: Place, store: Arc<dyn Store>, apis: Apis) -> Arc<Self> {
        Arc::new(Self {
            name,
            place,
            when_failing: WhenFailing::Asked,
            store,
            apis,
            info: RwLock::default(),
        })
    }

    /// Returns the name, which is the address of a remote store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of a store in another process.
    pub fn address(&self) -> Option<&str> {
        (self.place == Place::Remote).then_some(self.name.as_str())
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns what can be asked beside series, whether the component offers it or not.
    pub fn apis(&self) -> &Apis {
        &self.apis
    }

    /// Returns what is known about the store.
    pub fn info(&self) -> EndpointInfo {
        self.info.read().clone()
    }

    /// Returns why the store cannot be asked and counts as missing, given what is known about it.
    pub(super) fn lost(&self, info: &EndpointInfo) -> Option<Missing> {
        let reason = match info {
            EndpointInfo::Failed { reason } if self.when_failing == WhenFailing::Missing => {
                format!("not asked, because its info cannot be had: {reason}")
            }
            EndpointInfo::Known(info) if is_not_ready(info) => {
                format!("the {} is not ready to answer", info.component)
            }
            EndpointInfo::Unknown | EndpointInfo::Failed { .. } | EndpointInfo::Known(_) => {
                return None;
            }
        };
        Some(Missing {
            source: self.name.clone(),
            reason,
        })
    }

    /// Asks the store for its info and remembers the answer.
    ///
    /// # Errors
    ///
    /// That of the store, or `Unavailable` after `timeout`.
    pub async fn refresh(&self, timeout: Option<Duration>) -> Result<Arc<StoreInfo>> {
        let answer = within(timeout, self.store.info()).await;
        let answer = answer.unwrap_or_else(|elapsed| Err(elapsed.error()));
        let (info, answer) = match answer {
            Ok(info) => {
                let info = Arc::new(info);
                (EndpointInfo::Known(Arc::clone(&info)), Ok(info))
            }
            Err(error) => {
                let reason = error.to_string();
                (EndpointInfo::Failed { reason }, Err(error))
            }
        };
        *self.info.write() = info;
        answer
    }

    /// Returns what is known about the store, after asking it when it is at hand.
    pub(super) async fn current_info(&self, timeout: Option<Duration>) -> EndpointInfo {
        if self.place == Place::Local {
            // The outcome is remembered either way.
            drop(self.refresh(timeout).await);
        }
        self.info()
    }
}

/// Reports whether a component that always has series says that it does not offer them, as Thanos' do while they start
/// and while what is behind them cannot be reached. Rulers may have none for good.
fn is_not_ready(info: &StoreInfo) -> bool {
    let has_series = ["query", "receive", "sidecar", "store"].contains(&info.component.as_str());
    has_series && !info.offers.store
}

/// Formats as Thanos names a store in warnings.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.info().known().and_then(|info| info.time_range());
        let range = known.unwrap_or(TimeRange::ALL);
        write!(
            f,
            "Addr: {} MinTime: {} MaxTime: {}",
            self.name, range.min, range.max
        )
    }
}

/// A set of endpoints that discovery changes while a proxy reads it; clones share the set.
#[derive(Debug, Clone, Default)]
pub struct EndpointSet {
    current: Arc<RwLock<Current>>,
}

#[derive(Debug, Clone, Default)]
struct Current {
    endpoints: Arc<[Arc<Endpoint>]>,
    /// What there should be, and why it is not.
    gaps: Arc<[Missing]>,
}

impl EndpointSet {
    /// Returns the set of `endpoints`.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Self {
        let set = Self::default();
        set.replace(endpoints);
        set
    }

    /// Replaces the set; requests under way go on with the endpoints they began with.
    pub fn replace(&self, endpoints: impl IntoIterator<Item = Arc<Endpoint>>) {
        self.replace_with_gaps(endpoints, []);
    }

    /// Replaces the set by one that is known to lack something, such as the stores behind a name that could not be looked
    /// up: every answer says so.
    pub fn replace_with_gaps(
        &self,
        endpoints: impl IntoIterator<Item = Arc<Endpoint>>,
        gaps: impl IntoIterator<Item = Missing>,
    ) {
        let current = Current {
            endpoints: endpoints.into_iter().collect(),
            gaps: gaps.into_iter().collect(),
        };
        *self.current.write() = current;
    }

    /// Returns the endpoints.
    pub fn current(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.current.read().endpoints)
    }

    /// Returns what the set lacks.
    pub fn gaps(&self) -> Arc<[Missing]> {
        Arc::clone(&self.current.read().gaps)
    }

    /// Asks every store for its info, all at the same time; what fails is remembered with the endpoint.
    pub async fn refresh(&self, timeout: Option<Duration>) {
        let endpoints = self.current();
        join_all(endpoints.iter().map(|endpoint| endpoint.refresh(timeout))).await;
    }
}
