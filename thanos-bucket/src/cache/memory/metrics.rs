//! What a cache in memory measures: under the names of Thanos' index cache, by type of item, or under those of its
//! general cache, by the cache's name.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use super::InMemoryOptions;
use crate::cache::index::ItemType;

type Labels = Vec<(&'static str, &'static str)>;

/// Whose cache it is, which decides names and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Index,
    Named(&'static str),
}

/// Counts of one cache in memory.
#[derive(Debug, Clone)]
pub struct InMemoryMetrics {
    owner: Owner,
    requests: Counter,
    hits: Counter,
    hits_expired: Counter,
    added: Family<Labels, Counter>,
    evicted: Family<Labels, Counter>,
    overflowed: Family<Labels, Counter>,
    items: Family<Labels, Gauge>,
    item_bytes: Family<Labels, Gauge>,
    total_bytes: Family<Labels, Gauge>,
    bytes_max: Gauge,
    item_bytes_max: Gauge,
}

impl Default for InMemoryMetrics {
    fn default() -> Self {
        Self::index()
    }
}

impl InMemoryMetrics {
    /// Returns those of an index cache (`thanos_store_index_cache_*`).
    pub fn index() -> Self {
        Self::owned_by(Owner::Index)
    }

    /// Returns those of the cache that is called `name` (`thanos_cache_inmemory_*`).
    pub fn named(name: &'static str) -> Self {
        Self::owned_by(Owner::Named(name))
    }

    fn owned_by(owner: Owner) -> Self {
        let metrics = Self {
            owner,
            requests: Counter::default(),
            hits: Counter::default(),
            hits_expired: Counter::default(),
            added: Family::default(),
            evicted: Family::default(),
            overflowed: Family::default(),
            items: Family::default(),
            item_bytes: Family::default(),
            total_bytes: Family::default(),
            bytes_max: Gauge::default(),
            item_bytes_max: Gauge::default(),
        };
        // Every series exists from the start, so that a rate over it sees the first event.
        let all: Vec<Labels> = match owner {
            Owner::Index => ItemType::ALL
                .map(|item| vec![("item_type", item.as_str())])
                .into(),
            Owner::Named(name) => vec![vec![("name", name)]],
        };
        for labels in all {
            let _ = metrics.added.get_or_create(&labels);
            let _ = metrics.evicted.get_or_create(&labels);
            let _ = metrics.overflowed.get_or_create(&labels);
            let _ = metrics.items.get_or_create(&labels);
            let _ = metrics.item_bytes.get_or_create(&labels);
            let _ = metrics.total_bytes.get_or_create(&labels);
        }
        metrics
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        match self.owner {
            Owner::Index => {
                let registry = registry.sub_registry_with_prefix("thanos_store_index_cache");
                self.register_items(registry, "index");
                register_limits(self, registry, "index");
            }
            Owner::Named(name) => {
                let registry = registry.sub_registry_with_prefix("thanos_cache_inmemory");
                self.register_items(registry, "inmemory");
                let registry = registry.sub_registry_with_label(("name".into(), name.into()));
                register_limits(self, registry, "inmemory");
                let help = "Total number of requests to the inmemory cache";
                add(registry, "requests", help, &self.requests);
                let help = "Total number of requests to the inmemory cache that were a hit";
                add(registry, "hits", help, &self.hits);
                let help = "Total number of requests to the inmemory cache that were a hit but needed to be evicted \
                            due to TTL";
                add(registry, "hits_on_expired_data", help, &self.hits_expired);
            }
        }
    }

    fn register_items(&self, registry: &mut Registry, cache: &str) {
        let help = format!("Total number of items that were added to the {cache} cache");
        add(registry, "items_added", &help, &self.added);
        let help = format!("Total number of items that were evicted from the {cache} cache");
        add(registry, "items_evicted", &help, &self.evicted);
        let help = format!(
            "Total number of items that could not be added to the {cache} cache due to being too big"
        );
        add(registry, "items_overflowed", &help, &self.overflowed);
        let help = format!("Current number of items in the {cache} cache");
        add(registry, "items", &help, &self.items);
        let help = format!("Current byte size of items in the {cache} cache");
        add(registry, "items_size_bytes", &help, &self.item_bytes);
        let help =
            format!("Current byte size of items (value, key and bookkeeping) in the {cache} cache");
        add(registry, "total_size_bytes", &help, &self.total_bytes);
    }

    pub(super) fn set_limits(&self, options: InMemoryOptions) {
        self.bytes_max.set(gauge(options.bytes_max));
        self.item_bytes_max.set(gauge(options.item_bytes_max));
    }

    pub(super) fn requested(&self) {
        self.requests.inc();
    }

    pub(super) fn hit(&self) {
        self.hits.inc();
    }

    pub(super) fn found_expired(&self) {
        self.hits_expired.inc();
    }

    pub(super) fn overflowed(&self, key: &str) {
        self.overflowed.get_or_create(&self.labels(key)).inc();
    }

    pub(super) fn added(&self, key: &str, value_len: usize) {
        self.added.get_or_create(&self.labels(key)).inc();
        self.moved(key, value_len, 1);
    }

    pub(super) fn evicted(&self, key: &str, value_len: usize) {
        self.evicted.get_or_create(&self.labels(key)).inc();
        self.moved(key, value_len, -1);
    }

    pub(super) fn replaced(&self, key: &str, value_len: usize) {
        self.moved(key, value_len, -1);
    }

    fn moved(&self, key: &str, value_len: usize, sign: i64) {
        let labels = self.labels(key);
        let value = gauge(value_len as u64);
        let total = value + gauge(key.len() as u64 + super::ITEM_BYTES);
        self.items.get_or_create(&labels).inc_by(sign);
        self.item_bytes.get_or_create(&labels).inc_by(sign * value);
        self.total_bytes.get_or_create(&labels).inc_by(sign * total);
    }

    fn labels(&self, key: &str) -> Labels {
        match self.owner {
            Owner::Index => vec![("item_type", ItemType::of_key(key).as_str())],
            Owner::Named(name) => vec![("name", name)],
        }
    }
}

fn register_limits(metrics: &InMemoryMetrics, registry: &mut Registry, cache: &str) {
    let help = format!("Maximum number of bytes to be held in the {cache} cache");
    add(registry, "max_size_bytes", &help, &metrics.bytes_max);
    let help = format!("Maximum number of bytes for single entry to be held in the {cache} cache");
    add(
        registry,
        "max_item_size_bytes",
        &help,
        &metrics.item_bytes_max,
    );
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn add(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name, help, metric.clone());
}
