//! What is counted about endpoints, with Thanos' names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::EndpointStatus;
use super::names::Resolved;

/// The most bytes of external labels in a metric's label.
const LABELS_BYTES_MAX: usize = 1000;

/// A label of `thanos_store_nodes_grpc_connections` (`--query.conn-metric.label`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionLabel {
    /// `external_labels`.
    ExternalLabels,
    /// `store_type`.
    StoreType,
    /// `ip_port`.
    IpPort,
}

impl ConnectionLabel {
    /// Returns the label's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExternalLabels => "external_labels",
            Self::StoreType => "store_type",
            Self::IpPort => "ip_port",
        }
    }

    fn of(self, status: &EndpointStatus) -> String {
        match self {
            Self::ExternalLabels => external_labels(status),
            Self::StoreType => status.component.clone(),
            Self::IpPort => status.name.clone(),
        }
    }
}

/// The label sets of a store as one text, cut where it is too long.
fn external_labels(status: &EndpointStatus) -> String {
    if status.label_sets.is_empty() {
        return "no_external_labels".to_owned();
    }
    let sets: Vec<String> = status.label_sets.iter().map(ToString::to_string).collect();
    let mut text = sets.join(", ");
    if text.len() > LABELS_BYTES_MAX {
        let cut = (0..LABELS_BYTES_MAX).rev();
        let cut = cut.into_iter().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or_default());
        text.push('}');
    }
    text
}

/// What is counted about lookups of names.
#[derive(Debug, Clone, Default)]
pub(super) struct DnsMetrics {
    pub(super) lookups: Counter,
    pub(super) failures: Counter,
    results: Family<Vec<(String, String)>, Gauge>,
}

impl DnsMetrics {
    pub(super) fn set_results(&self, known: &BTreeMap<String, Resolved>) {
        self.results.clear();
        for (name, resolved) in known {
            if let Resolved::Addresses(addresses) = resolved {
                let labels = vec![("addr".to_owned(), name.clone())];
                let count = i64::try_from(addresses.len()).unwrap_or(i64::MAX);
                self.results.get_or_create(&labels).set(count);
            }
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "dns_lookups",
            "The number of DNS lookups resolutions attempts",
            self.lookups.clone(),
        );
        registry.register(
            "dns_failures",
            "The number of DNS lookup failures",
            self.failures.clone(),
        );
        registry.register(
            "dns_provider_results",
            "The number of resolved endpoints for each configured address",
            self.results.clone(),
        );
    }
}

/// What is counted about endpoints; clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct EndpointMetrics {
    pub(super) endpoints: DnsMetrics,
    pub(super) groups: DnsMetrics,
    pub(super) duplicates: Counter,
    pub(super) config_reload_failures: Counter,
    pub(super) config_is_bad: Gauge,
    pub(super) healthy: Arc<RwLock<Vec<EndpointStatus>>>,
}

impl EndpointMetrics {
    /// Registers everything for the role `component`; `labels` say by what connections are told apart.
    pub fn register(&self, registry: &mut Registry, component: &str, labels: &[ConnectionLabel]) {
        let prefix = format!("thanos_{component}_endpoints");
        self.endpoints
            .register(registry.sub_registry_with_prefix(prefix));
        let prefix = format!("thanos_{component}_endpoint_groups");
        self.groups
            .register(registry.sub_registry_with_prefix(prefix));
        registry.register(
            format!("thanos_{component}_duplicated_endpoint_addresses"),
            "The number of times a duplicated endpoint addresses is detected from the different configs",
            self.duplicates.clone(),
        );
        registry.register(
            format!("thanos_{component}_endpoint_config_reload_failures"),
            "The number of times a changed file of endpoints could not be used",
            self.config_reload_failures.clone(),
        );
        registry.register(
            format!("thanos_{component}_endpoint_config_outdated"),
            "1 while older endpoints are used than those of a file that could not be used",
            self.config_is_bad.clone(),
        );
        let labels = match labels {
            [] => vec![ConnectionLabel::ExternalLabels, ConnectionLabel::StoreType],
            labels => labels.to_vec(),
        };
        registry.register_collector(Box::new(Connections {
            healthy: Arc::clone(&self.healthy),
            labels,
        }));
    }
}

/// Counts the endpoints that are asked when it is scraped.
#[derive(Debug)]
struct Connections {
    healthy: Arc<RwLock<Vec<EndpointStatus>>>,
    labels: Vec<ConnectionLabel>,
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<Vec<(&str, String)>, i64> = BTreeMap::new();
        for status in self.healthy.read().iter() {
            let labels = self.labels.iter();
            let labels = labels.map(|label| (label.as_str(), label.of(status)));
            *counts.entry(labels.collect()).or_default() += 1;
        }
        if counts.is_empty() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(
            "thanos_store_nodes_grpc_connections",
            "Number of gRPC connection to Store APIs. Opened connection means healthy store APIs available for Querier.",
            None,
            ConstGauge::new(0_i64).metric_type(),
        )?;
        for (labels, count) in counts {
            let gauge = ConstGauge::new(count);
            gauge.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
