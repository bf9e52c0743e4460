//! Names, sources, groups and health.

#[cfg(feature = "config")]
mod files;
mod health;
mod lookups;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;
use thanos_core::time::{Clock, Timestamp};

use super::*;
use crate::testkit::{Dataset, DatasetSeries, Fault, MemStore};

/// Stores in memory by address, which counts connections.
#[derive(Debug, Default)]
struct FakeNetwork {
    stores: Mutex<BTreeMap<String, Arc<MemStore>>>,
    connections: AtomicUsize,
}

impl FakeNetwork {
    fn of(addresses: &[&str]) -> Arc<Self> {
        let network = Self::default();
        for address in addresses {
            let series = DatasetSeries {
                labels: Labels::from_pairs([("__name__", "up")]),
                samples: vec![(Timestamp::from_millis(1000), 1.0)],
            };
            let external = Labels::from_pairs([("store", *address)]);
            let store = Arc::new(Dataset::new(external, vec![series]).to_mem_store());
            network.stores.lock().insert((*address).to_owned(), store);
        }
        Arc::new(network)
    }

    fn store(&self, address: &str) -> Arc<MemStore> {
        Arc::clone(&self.stores.lock()[address])
    }

    fn faults(&self, address: &str, faults: &[Fault]) {
        self.store(address).set_faults(faults.iter().cloned());
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Connector for FakeNetwork {
    fn connect(&self, address: &str, _settings: &ClientSettings) -> Result<Component> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let stores = self.stores.lock();
        let store = stores.get(address).cloned();
        let store = store.ok_or_else(|| Error::invalid(format!("no such host: {address}")))?;
        Ok(Component {
            store,
            apis: Apis::default(),
        })
    }
}

#[derive(Debug)]
struct FakeClock(Mutex<Timestamp>);

impl FakeClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_millis(0))))
    }

    fn advance_secs(&self, secs: i64) {
        let mut now = self.0.lock();
        *now = Timestamp::from_millis(now.as_millis() + secs * 1000);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}
