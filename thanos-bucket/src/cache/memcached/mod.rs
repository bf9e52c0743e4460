//! The cache in memcached servers.
//!
//! Reads are one `get` of many keys per server, writes go through a queue. Whatever goes wrong (no server, no answer in
//! time, an answer that is none) is counted and is a miss. Keys are spread over the servers as Thanos does it, so that
//! gateways of both kinds find each other's values.

mod options;
mod pool;
pub(crate) mod protocol;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future, stream};
use parking_lot::RwLock;
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::debug;

pub use self::options::MemcachedOptions;
use self::pool::ServerPool;
use super::Backend;
use super::remote::addresses::{Servers, look_up, pick};
use super::remote::breaker::Breaker;
use super::remote::queue::{QueueOptions, Write, WriteQueue};
use super::remote::{Failure, Operation, RemoteMetrics, Skip, enter, gate};

/// How long all lookups of addresses may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Keys of one request where the configuration sets no limit.
const BATCH_MAX: usize = 4096;

/// A [`Backend`] in memcached servers.
pub struct MemcachedCache {
    client: Arc<Client>,
    queue: WriteQueue,
    /// Looks the servers up again and again.
    refresh: JoinHandle<()>,
}

struct Client {
    name: &'static str,
    options: MemcachedOptions,
    /// In the order that decides which keys a server has.
    servers: RwLock<Vec<Arc<ServerPool>>>,
    known: tokio::sync::Mutex<Servers>,
    gate: Option<Semaphore>,
    breaker: Breaker,
    metrics: RemoteMetrics,
    clock: Arc<dyn Clock>,
}

impl MemcachedCache {
    /// Looks the servers up and returns the cache called `name` in metrics. In a tokio runtime only.
    ///
    /// # Errors
    ///
    /// `Invalid` for options that cannot work, `Unavailable` when no address is known; a server that does not answer is
    /// none.
    pub async fn new(
        name: &'static str,
        options: MemcachedOptions,
        metrics: RemoteMetrics,
    ) -> Result<Self> {
        options.validate()?;
        metrics.start(name, options.info());
        let client = Arc::new(Client {
            name,
            servers: RwLock::default(),
            known: tokio::sync::Mutex::default(),
            gate: gate(options.max_get_multi_concurrency),
            breaker: Breaker::new(options.set_async_circuit_breaker_config.clone()),
            metrics,
            clock: Arc::new(SystemClock),
            options,
        });
        client.look_up().await;
        if client.servers.read().is_empty() {
            let message = format!("no server address resolved for {name}");
            return Err(Error::unavailable(message));
        }
        let queue = QueueOptions {
            capacity: client.options.max_async_buffer_size,
            concurrency: client.options.max_async_concurrency,
            batch: 1,
        };
        let writer = Arc::clone(&client);
        let queue = WriteQueue::start(queue, move |batch| {
            let writer = Arc::clone(&writer);
            async move {
                for write in batch {
                    writer.write(write).await;
                }
            }
            .boxed()
        });
        let refresh = tokio::spawn(refresh(Arc::downgrade(&client)));
        Ok(Self {
            client,
            queue,
            refresh,
        })
    }
}

async fn refresh(client: Weak<Client>) {
    loop {
        let Some(interval) = client
            .upgrade()
            .map(|client| client.options.dns_provider_update_interval)
        else {
            return;
        };
        tokio::time::sleep(interval).await;
        let Some(client) = client.upgrade() else {
            return;
        };
        client.look_up().await;
    }
}

impl Client {
    /// Finds out which servers there are. Those that stay keep their connections.
    async fn look_up(&self) {
        let lookups = self.options.addresses.iter().map(|address| async move {
            let found = async {
                if self.options.auto_discovery {
                    protocol::discover(address, self.options.timeout()).await
                } else {
                    look_up(address).await
                }
            };
            let found = tokio::time::timeout(LOOK_UP_TIMEOUT, found).await;
            let timed_out = || Err(std::io::ErrorKind::TimedOut.into());
            (address, found.unwrap_or_else(|_| timed_out()))
        });
        let found = future::join_all(lookups).await;
        let mut known = self.known.lock().await;
        for (address, servers) in found {
            known.note(address, servers);
        }
        let addresses = known.sorted();
        let mut servers = self.servers.write();
        let pool = |address: String| {
            let known = servers.iter().find(|server| server.address() == address);
            known.cloned().unwrap_or_else(|| {
                let idle_max = self.options.max_idle_connections;
                Arc::new(ServerPool::new(address, idle_max, self.options.timeout()))
            })
        };
        *servers = addresses.into_iter().map(pool).collect();
    }

    fn server_of(&self, key: &str) -> Option<Arc<ServerPool>> {
        let servers = self.servers.read();
        servers.get(pick(key, servers.len())).cloned()
    }

    /// Returns which keys each server has, by their places in `keys`.
    fn by_server(&self, keys: &[String]) -> Vec<(Arc<ServerPool>, Vec<usize>)> {
        let servers = self.servers.read().clone();
        let mut by_server: Vec<(Arc<ServerPool>, Vec<usize>)> = servers
            .iter()
            .map(|server| (Arc::clone(server), Vec::new()))
            .collect();
        for (at, key) in keys.iter().enumerate() {
            if !protocol::is_key(key) {
                self.failed(Operation::GetMulti, Failure::MalformedKey);
            } else if let Some((_, places)) = by_server.get_mut(pick(key, servers.len())) {
                places.push(at);
            }
        }
        by_server
    }

    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let batch_max = match self.options.max_get_multi_batch_size {
            0 => BATCH_MAX,
            batch_max => batch_max,
        };
        let mut batches = Vec::new();
        for (server, places) in self.by_server(keys) {
            for batch in places.chunks(batch_max) {
                batches.push((Arc::clone(&server), batch.to_vec()));
            }
        }
        let concurrency = batches.len().max(1);
        let reads = batches.into_iter().map(|(server, places)| async move {
            let wanted: Vec<&str> = places.iter().map(|at| keys[*at].as_str()).collect();
            (self.get_batch(&server, &wanted).await, places)
        });
        let mut reads = stream::iter(reads).buffer_unordered(concurrency);
        let mut values = vec![None; keys.len()];
        while let Some((mut found, places)) = reads.next().await {
            for at in places {
                values[at] = found.remove(&keys[at]);
            }
        }
        values
    }

    async fn get_batch(&self, server: &ServerPool, keys: &[&str]) -> HashMap<String, Bytes> {
        let _place = enter(self.gate.as_ref()).await;
        let started = Instant::now();
        self.metrics.began(Operation::GetMulti, self.name);
        match server.get(keys, self.options.value_bytes_max()).await {
            Ok(found) => {
                let bytes = found.values().map(Bytes::len).sum();
                let took = started.elapsed();
                self.metrics
                    .done(Operation::GetMulti, self.name, bytes, took);
                found
            }
            Err(error) => {
                debug!(server = server.address(), %error, "values could not be read");
                self.failed(Operation::GetMulti, error.failure());
                HashMap::new()
            }
        }
    }

    async fn write(&self, write: Write) {
        let started = Instant::now();
        self.metrics.began(Operation::Set, self.name);
        if !self.breaker.allows() {
            self.failed(Operation::Set, Failure::Other);
            return;
        }
        let Some(server) = self.server_of(&write.key) else {
            return;
        };
        // Seconds since the epoch, as Thanos sends them: a number of seconds from now must not be longer than 30 days.
        let ttl_ms = i64::try_from(write.ttl.as_millis()).unwrap_or(i64::MAX);
        let expires = self.clock.now().saturating_add_millis(ttl_ms).as_millis() / 1000;
        let written = server.set(&write.key, expires, &write.value).await;
        self.breaker.note(written.is_ok());
        match written {
            Ok(()) => {
                let took = started.elapsed();
                self.metrics
                    .done(Operation::Set, self.name, write.value.len(), took);
            }
            Err(error) => {
                debug!(server = server.address(), key = write.key, %error, "value could not be stored");
                self.failed(Operation::Set, error.failure());
            }
        }
    }

    fn failed(&self, operation: Operation, failure: Failure) {
        self.metrics.failed(operation, failure, self.name);
    }
}

#[async_trait]
impl Backend for MemcachedCache {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let values = self.client.get_many(keys).await;
        let hits = values.iter().flatten().count();
        self.client
            .metrics
            .looked_up(self.client.name, keys.len() as u64, hits as u64);
        values
    }

    fn put(&self, key: String, value: Bytes, ttl: Duration) {
        let client = &self.client;
        let item_bytes_max = client.options.max_item_size.0;
        if item_bytes_max > 0 && value.len() as u64 > item_bytes_max {
            client.metrics.skipped(Skip::MaxItemSize, client.name);
        } else if !protocol::is_key(&key) {
            client.failed(Operation::Set, Failure::MalformedKey);
        } else if !self.queue.put(Write { key, value, ttl }) {
            client.metrics.skipped(Skip::QueueFull, client.name);
        }
    }
}

impl Drop for MemcachedCache {
    fn drop(&mut self) {
        self.refresh.abort();
    }
}

impl fmt::Debug for MemcachedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedCache")
            .field("name", &self.client.name)
            .field("servers", &self.client.servers.read())
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
