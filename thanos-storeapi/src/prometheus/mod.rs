//! A Prometheus server as a store and as whatever else components answer: what a sidecar stands for.
//!
//! [`PrometheusClient`] makes typed calls of the HTTP API. [`PrometheusServer`] adds what is known of the server and
//! changes while it runs: external labels, version, how far back its data goes. [`PrometheusStore`] answers for its
//! series over remote read, [`PrometheusApis`] for its rules, targets, metadata, exemplars and statistics.

mod apis;
mod calls;
mod client;
mod labels;
mod metrics;
mod read;
pub mod reloader;
mod server;
mod store;
#[cfg(test)]
mod tests;

pub use apis::PrometheusApis;
pub use calls::{PrometheusFlags, RuntimeInfo};
pub use client::{LabelAnswer, PrometheusClient};
pub use metrics::PrometheusStoreMetrics;
pub use server::{Facts, PrometheusServer, PrometheusVersion};
pub use store::{ExternalOnly, PrometheusStore, PrometheusStoreOptions};

#[cfg(any(test, feature = "testkit"))]
pub(crate) use read::fuzz;
