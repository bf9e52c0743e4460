//! Which endpoints there are, whether they are healthy, and connections to them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`names`] | addresses that are names to look up, as `dns+store:10901`, and what they were resolved to last |
//! | `dns` (feature `dns`) | a resolver of names |
//! | [`source`] | where lists of endpoints come from |
//! | `config` (feature `config`) | the YAML file of endpoints, each with its own client settings |
//! | `file` (feature `config`) | files of target groups, as Prometheus has them |
//! | [`group`] | replicas behind one name as one endpoint |
//! | [`discovery`] | all of it together: an [`EndpointSet`](crate::proxy::EndpointSet) that is kept up to date |
//!
//! What is configured and cannot be found or asked is never passed over in silence: it is a gap of the set, which every
//! answer names, as long as its absence is news (see [`discovery`]).

#[cfg(feature = "config")]
pub mod config;
pub mod discovery;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "config")]
pub mod file;
pub mod group;
mod metrics;
pub mod names;
pub mod source;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use thanos_core::error::Result;

use crate::apis::Apis;
use crate::client::{ClientSettings, RemoteStore};
use crate::store::Store;

pub use discovery::{Discovery, DiscoveryOptions};
pub use metrics::{ConnectionLabel, EndpointMetrics};
pub use status::EndpointStatus;

/// What becomes of an endpoint that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It is not asked until it tells its info again, and forgotten after a while.
    #[default]
    Checked,
    /// It is always asked and never forgotten.
    Strict,
}

/// How an address that stands for several endpoints is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Members {
    /// Each is an endpoint of its own.
    #[default]
    Each,
    /// They are replicas: one of them is asked at a time, another one when it cannot answer.
    AnyOf {
        /// How many are asked at most until one answers.
        attempts: u32,
    },
}

/// An endpoint as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// `host:port`, or a name to look up ([`names::DnsName`]).
    pub address: String,
    /// What becomes of it when it does not answer.
    pub health: Health,
    /// What a name stands for.
    pub members: Members,
    /// How it is connected to.
    pub client: ClientSettings,
}

impl EndpointSpec {
    /// Returns the endpoint at `address`, connected to as by default.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            health: Health::Checked,
            members: Members::Each,
            client: ClientSettings::default(),
        }
    }
}

/// A component that can be asked.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its series, and what it says about itself.
    pub store: Arc<dyn Store>,
    /// What it answers beside series.
    pub apis: Apis,
}

/// Makes connections.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// Returns the component at `address`. Does not wait for it: the first call connects.
    ///
    /// # Errors
    ///
    /// `Invalid` for an address that cannot be one.
    fn connect(&self, address: &str, settings: &ClientSettings) -> Result<Component>;
}

/// Connects over gRPC.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcConnector;

impl Connector for GrpcConnector {
    fn connect(&self, address: &str, settings: &ClientSettings) -> Result<Component> {
        let store = RemoteStore::new(address, settings.clone())?;
        Ok(Component {
            apis: store.apis(),
            store: Arc::new(store),
        })
    }
}
