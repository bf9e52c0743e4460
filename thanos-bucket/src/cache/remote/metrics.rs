//! What caches in servers measure, under Thanos' names; `name` is the cache that uses them.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What a server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Operation {
    GetMulti,
    Set,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::GetMulti => "getmulti",
            Self::Set => "set",
        }
    }
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Failure {
    MalformedKey,
    Timeout,
    Network,
    Server,
    /// An answer that is none, or a breaker that is open.
    Other,
}

impl Failure {
    const ALL: [Self; 5] = [
        Self::MalformedKey,
        Self::Timeout,
        Self::Network,
        Self::Server,
        Self::Other,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::MalformedKey => "malformed-key",
            Self::Timeout => "timeout",
            Self::Network => "network-error",
            Self::Server => "server-error",
            Self::Other => "other",
        }
    }
}

/// Why a value was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Skip {
    MaxItemSize,
    QueueFull,
}

impl Skip {
    fn as_str(self) -> &'static str {
        match self {
            Self::MaxItemSize => "max-item-size",
            Self::QueueFull => "async-buffer-full",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    operation: &'static str,
    reason: &'static str,
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: &'static str,
}

type Histograms = Family<OperationLabels, Histogram, fn() -> Histogram>;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const SIZE_BYTES: [f64; 11] = [
    32.0,
    256.0,
    512.0,
    KIB,
    32.0 * KIB,
    256.0 * KIB,
    512.0 * KIB,
    MIB,
    32.0 * MIB,
    256.0 * MIB,
    512.0 * MIB,
];
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 6.0, 10.0,
];

/// Counts of the clients of one kind of server, which all caches on such servers share.
#[derive(Debug, Clone)]
pub struct RemoteMetrics {
    /// `memcached` or `redis`.
    kind: &'static str,
    requests: Family<NameLabel, Counter>,
    hits: Family<NameLabel, Counter>,
    operations: Family<OperationLabels, Counter>,
    failures: Family<ReasonLabels, Counter>,
    skipped: Family<ReasonLabels, Counter>,
    seconds: Histograms,
    bytes: Histograms,
    client_info: Family<Vec<(&'static str, String)>, Gauge>,
}

impl RemoteMetrics {
    /// Returns those of clients of memcached.
    pub fn memcached() -> Self {
        Self::of("memcached")
    }

    /// Returns those of clients of Redis.
    pub fn redis() -> Self {
        Self::of("redis")
    }

    fn of(kind: &'static str) -> Self {
        Self {
            kind,
            requests: Family::default(),
            hits: Family::default(),
            operations: Family::default(),
            failures: Family::default(),
            skipped: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            bytes: Family::new_with_constructor(|| Histogram::new(SIZE_BYTES)),
            client_info: Family::default(),
        }
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let kind = self.kind;
        let cache = registry.sub_registry_with_prefix(format!("thanos_cache_{kind}"));
        let help = format!("Total number of items requests to {kind}");
        cache.register("requests", help, self.requests.clone());
        let help = "Total number of items requests to the cache that were a hit";
        cache.register("hits", help, self.hits.clone());
        let client = registry.sub_registry_with_prefix(format!("thanos_{kind}"));
        let help = format!("Total number of operations against {kind}");
        client.register("operations", help, self.operations.clone());
        let help = format!("Total number of operations against {kind} that failed");
        client.register("operation_failures", help, self.failures.clone());
        let help = format!("Total number of operations against {kind} that have been skipped");
        client.register("operation_skipped", help, self.skipped.clone());
        let help = format!("Duration of operations against {kind}");
        client.register("operation_duration_seconds", help, self.seconds.clone());
        let help = format!("Tracks the size of the data stored in and fetched from {kind}");
        client.register("operation_data_size_bytes", help, self.bytes.clone());
        let help = format!(
            "A metric with a constant '1' value labeled by configuration options from which {kind} client was configured"
        );
        client.register("client_info", help, self.client_info.clone());
    }

    /// Makes the series of the cache called `name`, so that a rate over them sees the first event.
    pub(in super::super) fn start(
        &self,
        name: &'static str,
        mut info: Vec<(&'static str, String)>,
    ) {
        self.looked_up(name, 0, 0);
        for operation in [Operation::GetMulti, Operation::Set] {
            let labels = operation_labels(operation, name);
            let _ = self.operations.get_or_create(&labels);
            let _ = self.seconds.get_or_create(&labels);
            let _ = self.bytes.get_or_create(&labels);
            for failure in Failure::ALL {
                let labels = reason_labels(operation, failure.as_str(), name);
                let _ = self.failures.get_or_create(&labels);
            }
        }
        for skip in [Skip::MaxItemSize, Skip::QueueFull] {
            let labels = reason_labels(Operation::Set, skip.as_str(), name);
            let _ = self.skipped.get_or_create(&labels);
        }
        info.push(("name", name.to_owned()));
        self.client_info.get_or_create(&info).set(1);
    }

    pub(in super::super) fn looked_up(&self, name: &'static str, requests: u64, hits: u64) {
        let label = NameLabel { name };
        self.requests.get_or_create(&label).inc_by(requests);
        self.hits.get_or_create(&label).inc_by(hits);
    }

    pub(in super::super) fn began(&self, operation: Operation, name: &'static str) {
        let labels = operation_labels(operation, name);
        self.operations.get_or_create(&labels).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes")]
    pub(in super::super) fn done(
        &self,
        operation: Operation,
        name: &'static str,
        bytes: usize,
        took: Duration,
    ) {
        let labels = operation_labels(operation, name);
        self.bytes.get_or_create(&labels).observe(bytes as f64);
        let seconds = took.as_secs_f64();
        self.seconds.get_or_create(&labels).observe(seconds);
    }

    pub(in super::super) fn failed(
        &self,
        operation: Operation,
        failure: Failure,
        name: &'static str,
    ) {
        let labels = reason_labels(operation, failure.as_str(), name);
        self.failures.get_or_create(&labels).inc();
    }

    pub(in super::super) fn skipped(&self, skip: Skip, name: &'static str) {
        let labels = reason_labels(Operation::Set, skip.as_str(), name);
        self.skipped.get_or_create(&labels).inc();
    }

    /// Returns how many operations failed, for whatever reason.
    #[cfg(test)]
    pub(in super::super) fn failures(&self, operation: Operation, name: &'static str) -> u64 {
        let count = |failure: Failure| {
            let labels = reason_labels(operation, failure.as_str(), name);
            self.failures.get_or_create(&labels).get()
        };
        Failure::ALL.into_iter().map(count).sum()
    }

    /// Returns how many values were not sent for that reason.
    #[cfg(all(test, feature = "memcached"))]
    pub(in super::super) fn skips(&self, skip: Skip, name: &'static str) -> u64 {
        let labels = reason_labels(Operation::Set, skip.as_str(), name);
        self.skipped.get_or_create(&labels).get()
    }
}

fn operation_labels(operation: Operation, name: &'static str) -> OperationLabels {
    OperationLabels {
        operation: operation.as_str(),
        name,
    }
}

fn reason_labels(operation: Operation, reason: &'static str, name: &'static str) -> ReasonLabels {
    ReasonLabels {
        operation: operation.as_str(),
        reason,
        name,
    }
}
