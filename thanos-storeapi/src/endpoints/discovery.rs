//! An [`EndpointSet`] that follows what is configured, what names resolve to and who is healthy.
//!
//! Three loops run beside each other: sources are asked for their lists, names are looked up, and every endpoint is asked
//! for its info. A connection lives as long as its endpoint is listed with the same settings.
//!
//! What an answer lacks because of an endpoint is said by the proxy over the set:
//!
//! - A strict endpoint is always asked.
//! - Another one is asked until its info fails, and then named as missing, until it answers again or has not answered
//!   for `unhealthy_timeout`: by then it counts as gone for good, as in Thanos. It is still tried.
//! - An address that its name does not resolve to any more is gone at once: whoever runs the name has taken it out.
//! - A name that was never resolved, or a list that was never read, is named as missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use thanos_core::error::{Error, Result};
use thanos_core::query::Missing;
use thanos_core::time::{Clock, SystemClock, Timestamp};
use tokio::sync::watch;

use super::group::Group;
use super::metrics::EndpointMetrics;
use super::names::{DnsName, Names, NoResolver, Resolved, Resolver};
use super::source::{Found, Source};
use super::{Component, Connector, EndpointSpec, EndpointStatus, GrpcConnector, Health, Members};
use crate::proxy::{Endpoint, EndpointSet};

/// In front of the names of groups. COMPAT: the scheme of Thanos' gRPC resolver, which users see in lists of stores.
const GROUP_SCHEME: &str = "thanos:///";

/// How a [`Discovery`] works.
#[derive(Debug, Clone)]
pub struct DiscoveryOptions {
    /// How often every endpoint is asked for its info.
    pub check_interval: Duration,
    /// How long the answer may take.
    pub info_timeout: Duration,
    /// How long an endpoint that does not answer counts as missing, before it counts as gone.
    pub unhealthy_timeout: Duration,
    /// How often names are looked up, and how long that may take.
    pub dns_interval: Duration,
    /// How often sources are asked whether their lists have changed.
    pub poll_interval: Duration,
    /// Looks names up.
    pub resolver: Arc<dyn Resolver>,
    /// Makes connections.
    pub connector: Arc<dyn Connector>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: EndpointMetrics,
}

impl Default for DiscoveryOptions {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            info_timeout: Duration::from_secs(5),
            unhealthy_timeout: Duration::from_secs(5 * 60),
            dns_interval: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            resolver: Arc::new(NoResolver),
            connector: Arc::new(GrpcConnector),
            clock: Arc::new(SystemClock),
            metrics: EndpointMetrics::default(),
        }
    }
}

/// Keeps an [`EndpointSet`] up to date.
///
/// # Example
///
/// ```no_run
/// use std::sync::Arc;
/// use thanos_storeapi::endpoints::source::StaticSource;
/// use thanos_storeapi::endpoints::{Discovery, DiscoveryOptions, EndpointSpec};
/// use thanos_storeapi::proxy::{Proxy, ProxyOptions};
///
/// # async fn run() {
/// let stores = StaticSource(vec![EndpointSpec::new("store-a:10901")]);
/// let discovery = Arc::new(Discovery::new(vec![Box::new(stores)], DiscoveryOptions::default()));
/// let proxy = Proxy::new(discovery.endpoints().clone(), ProxyOptions::default());
/// tokio::spawn(Arc::clone(&discovery).run());
/// discovery.first_round().await;
/// # }
/// ```
#[derive(Debug)]
pub struct Discovery {
    options: DiscoveryOptions,
    set: EndpointSet,
    names: Names,
    group_names: Names,
    sources: Arc<Mutex<Vec<Box<dyn Source>>>>,
    state: Mutex<State>,
    is_known: watch::Sender<bool>,
}

/// What is known now.
#[derive(Debug, Default)]
struct State {
    found: Vec<Found>,
    connected: BTreeMap<String, Connected>,
    /// Why addresses could not even be connected to.
    unusable: Vec<Missing>,
}

/// An endpoint with its connection.
#[derive(Debug, Clone)]
struct Connected {
    spec: EndpointSpec,
    endpoint: Arc<Endpoint>,
    group: Option<Arc<Group>>,
    created: Timestamp,
    status: EndpointStatus,
}

impl Discovery {
    /// Returns the discovery of what `sources` list. Where an endpoint is listed twice, the last counts.
    pub fn new(sources: Vec<Box<dyn Source>>, options: DiscoveryOptions) -> Self {
        let names = |metrics| Names::new(Arc::clone(&options.resolver), metrics);
        Self {
            names: names(options.metrics.endpoints.clone()),
            group_names: names(options.metrics.groups.clone()),
            options,
            set: EndpointSet::default(),
            sources: Arc::new(Mutex::new(sources)),
            state: Mutex::default(),
            is_known: watch::Sender::new(false),
        }
    }

    /// Returns the set, for a proxy to read.
    pub fn endpoints(&self) -> &EndpointSet {
        &self.set
    }

    /// Returns what is known about the listed endpoints, by name.
    pub fn statuses(&self) -> Vec<EndpointStatus> {
        let now = self.options.clock.now();
        let state = self.state.lock();
        let listed = state.connected.values();
        let listed = listed.filter(|connected| !self.is_gone(connected, now));
        listed.map(|connected| connected.status.clone()).collect()
    }

    /// Waits until everything that is configured was looked up and asked once.
    pub async fn first_round(&self) {
        let mut is_known = self.is_known.subscribe();
        // The sender lives in self.
        drop(is_known.wait_for(|is_known| *is_known).await);
    }

    /// Keeps the set up to date until it is dropped.
    pub async fn run(self: Arc<Self>) {
        self.find().await;
        self.resolve().await;
        self.check().await;
        self.is_known.send_replace(true);
        let finds = async {
            loop {
                tokio::time::sleep(self.options.poll_interval).await;
                if self.find().await {
                    self.resolve().await;
                    self.check().await;
                }
            }
        };
        let lookups = async {
            loop {
                tokio::time::sleep(self.options.dns_interval).await;
                self.resolve().await;
            }
        };
        let checks = async {
            loop {
                tokio::time::sleep(self.options.check_interval).await;
                self.check().await;
            }
        };
        tokio::join!(finds, lookups, checks);
    }

    /// Asks the sources; returns whether anything changed.
    pub async fn find(&self) -> bool {
        let sources = Arc::clone(&self.sources);
        let found = tokio::task::spawn_blocking(move || {
            let mut sources = sources.lock();
            sources.iter_mut().map(|source| source.find()).collect()
        });
        let found: Vec<Found> = match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "a source of endpoints failed");
                return false;
            }
        };
        let has_changed = self.state.lock().found != found;
        if has_changed {
            self.state.lock().found = found;
            self.reconcile();
        }
        has_changed
    }

    /// Looks all names up.
    pub async fn resolve(&self) {
        let (mut names, mut group_names) = (BTreeSet::new(), BTreeSet::new());
        for spec in self.state.lock().listed() {
            match spec.members {
                Members::Each if spec.address.contains('+') => names.insert(spec.address.clone()),
                Members::Each => false,
                Members::AnyOf { .. } => group_names.insert(spec.address.clone()),
            };
        }
        let timeout = self.options.dns_interval;
        let (names, group_names): (Vec<_>, Vec<_>) =
            (Vec::from_iter(names), Vec::from_iter(group_names));
        tokio::join!(
            self.names.refresh(&names, timeout),
            self.group_names.refresh(&group_names, timeout)
        );
        self.reconcile();
    }

    /// Asks every endpoint for its info.
    pub async fn check(&self) {
        self.warn_of_duplicates();
        let connected: Vec<Connected> = self.state.lock().connected.values().cloned().collect();
        join_all(connected.iter().map(|connected| self.check_one(connected))).await;
        self.publish();
    }

    async fn check_one(&self, connected: &Connected) {
        let timeout = self.options.info_timeout;
        if let Some(group) = &connected.group {
            // Whoever does not answer in time stays where it is in the order.
            drop(tokio::time::timeout(timeout, group.probe()).await);
        }
        let answer = connected.endpoint.refresh(Some(timeout)).await;
        let now = self.options.clock.now();
        let mut state = self.state.lock();
        let address = connected.endpoint.name();
        let Some(current) = state.connected.get_mut(address) else {
            return;
        };
        if !Arc::ptr_eq(&current.endpoint, &connected.endpoint) {
            return;
        }
        match answer {
            Ok(info) => current.status.healthy(&info, now),
            Err(error) => {
                tracing::warn!(address, %error, "update of endpoint failed");
                current.status.unhealthy(error.to_string(), now);
            }
        }
    }

    /// Connects to what is new, drops what is not listed any more, and leaves the rest alone.
    fn reconcile(&self) {
        let mut state = self.state.lock();
        let wanted = self.wanted(&state);
        let mut old = std::mem::take(&mut state.connected);
        let mut unusable = Vec::new();
        for (name, spec) in wanted {
            let known = old.remove(&name).filter(|known| known.spec == spec);
            let connected = match known {
                Some(known) => Ok(known),
                None => self.connect(&name, spec),
            };
            match connected {
                Ok(connected) => {
                    unusable.extend(self.update_members(&connected));
                    state.connected.insert(name, connected);
                }
                Err(error) => unusable.push(missing(&name, &error)),
            }
        }
        for name in old
            .keys()
            .filter(|name| !state.connected.contains_key(*name))
        {
            tracing::info!(
                address = name,
                "removing endpoint because it does not exist any more"
            );
        }
        state.unusable = unusable;
        drop(state);
        self.publish();
    }

    /// Returns the endpoints that there should be, by name. The last one of a name counts.
    fn wanted(&self, state: &State) -> BTreeMap<String, EndpointSpec> {
        self.all(state).into_iter().collect()
    }

    /// Returns all endpoints in order: those that are listed, then those that names resolve to.
    fn all(&self, state: &State) -> Vec<(String, EndpointSpec)> {
        let (mut fixed, mut looked_up) = (Vec::new(), Vec::new());
        for spec in state.listed() {
            match spec.members {
                Members::AnyOf { .. } => {
                    fixed.push((format!("{GROUP_SCHEME}{}", spec.address), spec.clone()));
                }
                Members::Each if !spec.address.contains('+') => {
                    fixed.push((spec.address.clone(), spec.clone()));
                }
                Members::Each => {
                    let Resolved::Addresses(addresses) = self.names.get(&spec.address) else {
                        continue;
                    };
                    looked_up.extend(addresses.into_iter().map(|address| {
                        let spec = EndpointSpec {
                            address: address.clone(),
                            ..spec.clone()
                        };
                        (address, spec)
                    }));
                }
            }
        }
        fixed.append(&mut looked_up);
        fixed
    }

    fn warn_of_duplicates(&self) {
        let mut known = BTreeSet::new();
        for (name, _) in self.all(&self.state.lock()) {
            if known.contains(&name) {
                tracing::warn!(address = name, "Duplicate endpoint address is provided");
                self.options.metrics.duplicates.inc();
            }
            known.insert(name);
        }
    }

    fn connect(&self, name: &str, spec: EndpointSpec) -> Result<Connected> {
        let (component, group) = match spec.members {
            Members::Each => {
                let connector = &self.options.connector;
                (connector.connect(&spec.address, &spec.client)?, None)
            }
            Members::AnyOf { attempts } => {
                // Says what is wrong with the name.
                DnsName::parse(&spec.address)?;
                let group = Group::new(name, attempts);
                let component = Component {
                    store: Arc::clone(&group) as _,
                    apis: group.apis(),
                };
                (component, Some(group))
            }
        };
        let Component { store, apis } = component;
        let endpoint = match spec.health {
            Health::Checked => Endpoint::while_healthy(name, store, apis),
            Health::Strict => Endpoint::remote_component(name, store, apis),
        };
        tracing::info!(address = name, "adding endpoint");
        Ok(Connected {
            endpoint,
            group,
            created: self.options.clock.now(),
            status: EndpointStatus::new(name.to_owned()),
            spec,
        })
    }

    /// Gives a group the members that its name resolves to.
    fn update_members(&self, connected: &Connected) -> Option<Missing> {
        let group = connected.group.as_ref()?;
        let name = &connected.spec.address;
        // COMPAT: no addresses at all leave the members as they were (Thanos' gRPC resolver).
        let addresses = match self.group_names.get(name) {
            Resolved::Addresses(addresses) if !addresses.is_empty() => addresses,
            Resolved::Addresses(_) | Resolved::Unknown(_) => return None,
        };
        let connector = &self.options.connector;
        let connect = |address: &str| connector.connect(address, &connected.spec.client);
        let outcome = group.set_members(&addresses, connect);
        outcome.err().map(|error| missing(name, &error))
    }

    /// Says what requests are sent to, and what is missing.
    fn publish(&self) {
        let now = self.options.clock.now();
        let state = self.state.lock();
        let mut gaps: Vec<Missing> = state.unusable.clone();
        gaps.extend(state.found.iter().flat_map(|found| found.gaps.clone()));
        for spec in state.listed() {
            let is_name = spec.members == Members::Each && spec.address.contains('+');
            if let Some(Resolved::Unknown(reason)) = is_name.then(|| self.names.get(&spec.address))
            {
                gaps.push(Missing {
                    source: spec.address.clone(),
                    reason: format!("its endpoints are not known: {reason}"),
                });
            }
        }
        gaps.dedup();
        let listed = state.connected.values();
        let listed: Vec<_> = listed.filter(|it| !self.is_gone(it, now)).collect();
        let healthy = listed.iter().filter(|it| {
            let is_asked = it.spec.health == Health::Strict || it.status.last_error.is_none();
            is_asked && it.status.is_store
        });
        *self.options.metrics.healthy.write() = healthy.map(|it| it.status.clone()).collect();
        let endpoints = listed.iter().map(|it| Arc::clone(&it.endpoint));
        self.set.replace_with_gaps(endpoints, gaps);
    }

    /// Reports whether an endpoint has not answered for so long that nobody expects it any more.
    fn is_gone(&self, connected: &Connected, now: Timestamp) -> bool {
        let status = &connected.status;
        let last = status.last_check.unwrap_or(connected.created);
        let last = last.max(connected.created);
        let timeout_ms = i64::try_from(self.options.unhealthy_timeout.as_millis());
        let is_unhealthy = connected.spec.health == Health::Checked && status.last_error.is_some();
        is_unhealthy && now - last >= timeout_ms.unwrap_or(i64::MAX)
    }
}

impl State {
    fn listed(&self) -> impl Iterator<Item = &EndpointSpec> {
        self.found.iter().flat_map(|found| &found.endpoints)
    }
}

fn missing(source: &str, error: &Error) -> Missing {
    tracing::error!(address = source, %error, "endpoint cannot be used");
    Missing {
        source: source.to_owned(),
        reason: error.to_string(),
    }
}
