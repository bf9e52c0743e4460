//! What the caching bucket measures, under Thanos' names.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What is asked of the bucket; `operation` and `config` in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Attributes,
    Exists,
    Get,
    GetRange,
    Iter,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::Attributes,
        Self::Exists,
        Self::Get,
        Self::GetRange,
        Self::Iter,
    ];

    fn labels(self) -> OperationLabels {
        let (operation, config) = match self {
            Self::Attributes => ("attributes", CHUNKS),
            Self::Exists => ("exists", "meta.jsons"),
            Self::Get => ("get", "meta.jsons"),
            Self::GetRange => ("get_range", CHUNKS),
            Self::Iter => ("iter", "blocks-iter"),
        };
        OperationLabels { operation, config }
    }
}

/// Where bytes of chunks came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Cache,
    Bucket,
}

impl Origin {
    fn labels(self) -> OriginLabels {
        let origin = match self {
            Self::Cache => "cache",
            Self::Bucket => "bucket",
        };
        OriginLabels {
            origin,
            config: CHUNKS,
        }
    }
}

const CHUNKS: &str = "chunks";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    config: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabels {
    origin: &'static str,
    config: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigLabel {
    config: &'static str,
}

const CHUNKS_LABEL: ConfigLabel = ConfigLabel { config: CHUNKS };

/// Counts of a caching bucket.
#[derive(Debug, Clone)]
pub struct CachingStoreMetrics {
    requests: Family<OperationLabels, Counter>,
    /// A read of which a part was there is a part of a hit.
    hits: Family<OperationLabels, Counter<f64, AtomicU64>>,
    requested_bytes: Family<ConfigLabel, Counter>,
    fetched_bytes: Family<OriginLabels, Counter>,
    refetched_bytes: Family<OriginLabels, Counter>,
    damaged: Counter,
}

impl Default for CachingStoreMetrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            hits: Family::default(),
            requested_bytes: Family::default(),
            fetched_bytes: Family::default(),
            refetched_bytes: Family::default(),
            damaged: Counter::default(),
        };
        for operation in Operation::ALL {
            let _ = metrics.requests.get_or_create(&operation.labels());
            let _ = metrics.hits.get_or_create(&operation.labels());
        }
        metrics.requested_bytes(0);
        metrics.refetched_bytes(0);
        metrics.fetched_bytes(Origin::Cache, 0);
        metrics.fetched_bytes(Origin::Bucket, 0);
        metrics
    }
}

impl CachingStoreMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let cache = registry.sub_registry_with_prefix("thanos_store_bucket_cache");
        let help = "Number of requested operations matching given config";
        cache.register("operation_requests", help, self.requests.clone());
        let help = "Number of operations served from cache for given config";
        cache.register("operation_hits", help, self.hits.clone());
        let help = "Total number of bytes requested via GetRange";
        let requested = self.requested_bytes.clone();
        cache.register("getrange_requested_bytes", help, requested);
        let help = "Total number of bytes fetched because of GetRange operation. Data from bucket is then stored to cache";
        cache.register("getrange_fetched_bytes", help, self.fetched_bytes.clone());
        let help = "Total number of bytes re-fetched from storage because of GetRange operation, despite being in cache already";
        let refetched = self.refetched_bytes.clone();
        cache.register("getrange_refetched_bytes", help, refetched);
        let help = "Total number of values that did not have their checksum, and were read from the bucket";
        cache.register("damaged_values", help, self.damaged.clone());
    }

    pub(super) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(super) fn requested(&self, operation: Operation) {
        self.requests.get_or_create(&operation.labels()).inc();
    }

    pub(super) fn hit(&self, operation: Operation) {
        self.hit_in_part(operation, 1.0);
    }

    pub(super) fn hit_in_part(&self, operation: Operation, part: f64) {
        self.hits.get_or_create(&operation.labels()).inc_by(part);
    }

    pub(super) fn requested_bytes(&self, bytes: u64) {
        self.requested_bytes
            .get_or_create(&CHUNKS_LABEL)
            .inc_by(bytes);
    }

    pub(super) fn fetched_bytes(&self, origin: Origin, bytes: u64) {
        self.fetched_bytes
            .get_or_create(&origin.labels())
            .inc_by(bytes);
    }

    pub(super) fn refetched_bytes(&self, bytes: u64) {
        self.refetched_bytes
            .get_or_create(&Origin::Cache.labels())
            .inc_by(bytes);
    }
}
