//! Addresses that are names to look up, and what they were resolved to last.
//!
//! | prefix | what is looked up |
//! |---|---|
//! | `dns+host:port` | addresses of `host`: IPv6 ones, else IPv4 ones |
//! | `dnsdualstack+host:port` | IPv6 addresses, then IPv4 ones |
//! | `dnssrv+name` | SRV records of `name`, then the addresses of their targets |
//! | `dnssrvnoa+name` | SRV records of `name`; their targets are the addresses |
//!
//! A port that is given with a name counts instead of those in SRV records; `scheme//` before a name is kept in front of
//! the results. A name that does not exist has no addresses. Any other failure leaves the addresses that were found
//! last. Source: Thanos `pkg/discovery/dns`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::RwLock;
use thanos_core::error::{Error, Result};

use super::metrics::DnsMetrics;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// Where a service runs, as an SRV record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The host, with or without a final dot.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// Looks up names. What does not exist has no records; an error means that nobody knows.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses of `host` that belong to `family`.
    async fn addresses(&self, host: &str, family: Family) -> Result<Vec<IpAddr>>;

    /// Returns the SRV records of `name`.
    async fn services(&self, name: &str) -> Result<Vec<Service>>;
}

/// A [`Resolver`] for deployments without names to look up.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoResolver;

#[async_trait]
impl Resolver for NoResolver {
    async fn addresses(&self, host: &str, _family: Family) -> Result<Vec<IpAddr>> {
        Err(Error::invalid(format!("{host}: there is no resolver")))
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>> {
        Err(Error::invalid(format!("{name}: there is no resolver")))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Query {
    Addresses,
    DualStack,
    Services,
    ServicesWithoutAddresses,
}

/// An address that has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    query: Query,
    scheme: String,
    host: String,
    port: Option<String>,
}

impl DnsName {
    /// Reads `address`; `None` when nothing has to be looked up for it.
    ///
    /// # Errors
    ///
    /// `Invalid` for another prefix than those that are known, and for a missing port where there must be one.
    pub fn parse(address: &str) -> Result<Option<Self>> {
        let Some((prefix, rest)) = address.split_once('+') else {
            return Ok(None);
        };
        let query = match prefix {
            "dns" => Query::Addresses,
            "dnsdualstack" => Query::DualStack,
            "dnssrv" => Query::Services,
            "dnssrvnoa" => Query::ServicesWithoutAddresses,
            other => {
                return Err(Error::invalid(format!(
                    "{address}: invalid lookup scheme {other:?}"
                )));
            }
        };
        let (scheme, name) = match rest.split_once("//") {
            Some((scheme, name)) => (format!("{scheme}//"), name),
            None => (String::new(), rest),
        };
        let (host, port) = split_port(name);
        let needs_port = matches!(query, Query::Addresses | Query::DualStack);
        if needs_port && port.is_none() {
            return Err(Error::invalid(format!(
                "missing port in address given for {prefix} lookup: {name}"
            )));
        }
        if host.is_empty() {
            return Err(Error::invalid(format!("{address}: no name to look up")));
        }
        Ok(Some(Self {
            query,
            scheme,
            host: host.to_owned(),
            port: port.map(str::to_owned),
        }))
    }

    /// Looks the name up.
    ///
    /// # Errors
    ///
    /// When a resolver cannot say whether there are records.
    pub async fn resolve(&self, resolver: &dyn Resolver) -> Result<Vec<String>> {
        let named = |error: Error| error.context(format_args!("look up {:?}", self.host));
        let found = match self.query {
            Query::Addresses => {
                let addresses = addresses(resolver, &self.host).await.map_err(named)?;
                self.with_port(&addresses, None)
            }
            Query::DualStack => {
                let addresses = both_families(resolver, &self.host).await.map_err(named)?;
                self.with_port(&addresses, None)
            }
            Query::Services => {
                let mut found = Vec::new();
                for service in resolver.services(&self.host).await.map_err(named)? {
                    let addresses = addresses(resolver, &service.target).await.map_err(named)?;
                    found.extend(self.with_port(&addresses, Some(service.port)));
                }
                found
            }
            Query::ServicesWithoutAddresses => {
                let services = resolver.services(&self.host).await.map_err(named)?;
                let target = |service: &Service| {
                    let host = service.target.trim_end_matches('.');
                    self.address(host, Some(service.port))
                };
                services.iter().map(target).collect()
            }
        };
        Ok(found)
    }

    fn with_port(&self, addresses: &[IpAddr], port: Option<u16>) -> Vec<String> {
        let address = |ip: &IpAddr| self.address(&ip.to_string(), port);
        addresses.iter().map(address).collect()
    }

    fn address(&self, host: &str, port: Option<u16>) -> String {
        let scheme = &self.scheme;
        let port = match (&self.port, port) {
            (Some(port), _) => port.clone(),
            (None, Some(port)) => port.to_string(),
            (None, None) => String::new(),
        };
        if host.contains(':') {
            format!("{scheme}[{host}]:{port}")
        } else {
            format!("{scheme}{host}:{port}")
        }
    }
}

/// Splits `host:port`, `[v6]:port`, `host`; what has several colons and no brackets is a host.
fn split_port(name: &str) -> (&str, Option<&str>) {
    if let Some(rest) = name.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':').filter(|port| !port.is_empty())),
            None => (name, None),
        };
    }
    match name.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port).filter(|p| !p.is_empty())),
        Some(_) | None => (name, None),
    }
}

/// IPv6 addresses, else IPv4 ones: a host with both would otherwise be asked twice.
async fn addresses(resolver: &dyn Resolver, host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(literal) = host.parse() {
        return Ok(vec![literal]);
    }
    let v6 = resolver.addresses(host, Family::V6).await;
    match v6 {
        Ok(found) if !found.is_empty() => Ok(found),
        // COMPAT: an error here does not matter if there are IPv4 addresses (miekgdns `lookupIPAddr`); if there are none,
        // nobody knows, and Thanos would take the host for gone.
        Ok(_) => resolver.addresses(host, Family::V4).await,
        Err(error) => match resolver.addresses(host, Family::V4).await? {
            none if none.is_empty() => Err(error),
            found => Ok(found),
        },
    }
}

/// The addresses of both families; one of them is enough.
async fn both_families(resolver: &dyn Resolver, host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(literal) = host.parse() {
        return Ok(vec![literal]);
    }
    let mut found = Vec::new();
    let mut failure = None;
    for family in [Family::V6, Family::V4] {
        match resolver.addresses(host, family).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        Some(_) | None => Ok(found),
    }
}

/// What a name was resolved to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// These addresses; a later lookup may have failed.
    Addresses(Vec<String>),
    /// Never yet, and why not.
    Unknown(String),
}

/// Names and what they were resolved to last.
#[derive(Debug)]
pub struct Names {
    resolver: Arc<dyn Resolver>,
    known: RwLock<BTreeMap<String, Resolved>>,
    metrics: DnsMetrics,
}

impl Names {
    /// Returns no names yet.
    pub(super) fn new(resolver: Arc<dyn Resolver>, metrics: DnsMetrics) -> Self {
        Self {
            resolver,
            known: RwLock::default(),
            metrics,
        }
    }

    /// Returns what is known about `name`.
    pub fn get(&self, name: &str) -> Resolved {
        let known = self.known.read().get(name).cloned();
        known.unwrap_or_else(|| Resolved::Unknown("not looked up yet".into()))
    }

    /// Looks up `names` at the same time, each for at most `timeout`, and forgets all others.
    pub async fn refresh(&self, names: &[String], timeout: Duration) {
        let lookups = names.iter().map(|name| self.look_up(name, timeout));
        let outcomes = join_all(lookups).await;
        let mut known = self.known.write();
        known.retain(|name, _| names.contains(name));
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Ok(addresses) => drop(known.insert(name.clone(), Resolved::Addresses(addresses))),
                Err(error) => {
                    tracing::error!(name, %error, "failed to resolve addresses for endpoints");
                    let last = known.entry(name.clone());
                    let last = last.or_insert_with(|| Resolved::Unknown(String::new()));
                    if let Resolved::Unknown(reason) = last {
                        *reason = error.to_string();
                    }
                }
            }
        }
        self.metrics.set_results(&known);
    }

    async fn look_up(&self, name: &str, timeout: Duration) -> Result<Vec<String>> {
        self.metrics.lookups.inc();
        let lookup = async {
            match DnsName::parse(name)? {
                Some(dns) => dns.resolve(&*self.resolver).await,
                None => Ok(vec![name.to_owned()]),
            }
        };
        let outcome = tokio::time::timeout(timeout, lookup).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "{name}: no answer within {timeout:?}"
            )))
        });
        if outcome.is_err() {
            self.metrics.failures.inc();
        }
        outcome
    }
}
