//! What an index cache measures, by type of item and tenant, under Thanos' names.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::ItemType;

/// How many tenants have series of their own; tenants come from requests, so that their number must be bounded.
const TENANTS_MAX: usize = 1000;
/// The label of the others; not the name of a tenant, because of its brackets.
const OTHER_TENANTS: &str = "[others]";
/// The tenant of requests that name none.
const DEFAULT_TENANT: &str = "default-tenant";

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const SIZE_BYTES: [f64; 13] = [
    32.0,
    256.0,
    512.0,
    KIB,
    32.0 * KIB,
    256.0 * KIB,
    512.0 * KIB,
    MIB,
    32.0 * MIB,
    64.0 * MIB,
    128.0 * MIB,
    256.0 * MIB,
    512.0 * MIB,
];
const FETCH_SECONDS: [f64; 15] = [
    0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabels {
    item_type: &'static str,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    item_type: &'static str,
}

/// Counts of an index cache.
#[derive(Debug, Clone)]
pub struct IndexCacheMetrics {
    tenants: Arc<Mutex<HashSet<String>>>,
    requests: Family<ItemLabels, Counter>,
    hits: Family<ItemLabels, Counter>,
    stored_bytes: Family<ItemLabels, Histogram, fn() -> Histogram>,
    fetch_seconds: Family<ItemLabels, Histogram, fn() -> Histogram>,
    unreadable: Family<TypeLabel, Counter>,
}

impl Default for IndexCacheMetrics {
    fn default() -> Self {
        let metrics = Self {
            tenants: Arc::default(),
            requests: Family::default(),
            hits: Family::default(),
            stored_bytes: Family::new_with_constructor(|| Histogram::new(SIZE_BYTES)),
            fetch_seconds: Family::new_with_constructor(|| Histogram::new(FETCH_SECONDS)),
            unreadable: Family::default(),
        };
        for item in ItemType::ALL {
            metrics.looked_up(item, DEFAULT_TENANT, 0, 0);
        }
        metrics
    }
}

impl IndexCacheMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let cache = registry.sub_registry_with_prefix("thanos_store_index_cache");
        let help = "Total number of items requests to the cache";
        cache.register("requests", help, self.requests.clone());
        let help = "Total number of items requests to the cache that were a hit";
        cache.register("hits", help, self.hits.clone());
        let help = "Histogram to track item data size stored in index cache";
        cache.register("stored_data_size_bytes", help, self.stored_bytes.clone());
        let help = "Histogram to track latency to fetch items from index cache";
        cache.register("fetch_duration_seconds", help, self.fetch_seconds.clone());
        let help =
            "Total number of items of the cache that could not be decoded and counted as missing";
        cache.register("items_unreadable", help, self.unreadable.clone());
    }

    fn labels(&self, item: ItemType, tenant: &str) -> ItemLabels {
        let mut tenants = self.tenants.lock();
        let is_known = tenants.contains(tenant);
        if !is_known && tenants.len() < TENANTS_MAX {
            tenants.insert(tenant.to_owned());
        } else if !is_known {
            return ItemLabels {
                item_type: item.as_str(),
                tenant: OTHER_TENANTS.to_owned(),
            };
        }
        ItemLabels {
            item_type: item.as_str(),
            tenant: tenant.to_owned(),
        }
    }

    pub(super) fn looked_up(&self, item: ItemType, tenant: &str, requests: u64, hits: u64) {
        let labels = self.labels(item, tenant);
        self.requests.get_or_create(&labels).inc_by(requests);
        self.hits.get_or_create(&labels).inc_by(hits);
    }

    pub(super) fn took(&self, item: ItemType, tenant: &str, took: Duration) {
        let labels = self.labels(item, tenant);
        self.fetch_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes")]
    pub(super) fn stored(&self, item: ItemType, tenant: &str, bytes: usize) {
        let labels = self.labels(item, tenant);
        self.stored_bytes
            .get_or_create(&labels)
            .observe(bytes as f64);
    }

    pub(super) fn unreadable(&self, item: ItemType) {
        let label = TypeLabel {
            item_type: item.as_str(),
        };
        self.unreadable.get_or_create(&label).inc();
    }

    /// Returns how many items of a type were asked for and found, on behalf of `tenant`.
    #[cfg(test)]
    pub(crate) fn requests_and_hits(&self, item: ItemType, tenant: &str) -> (u64, u64) {
        let labels = self.labels(item, tenant);
        let requests = self.requests.get_or_create(&labels).get();
        (requests, self.hits.get_or_create(&labels).get())
    }
}
