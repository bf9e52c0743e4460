//! The cache in a Redis server.
//!
//! One connection carries all requests, pipelined; it is made when it is needed and again after it broke, but not more
//! often than once a second and with nobody waiting for it, so that a server that is gone costs no query its timeout. Whatever goes wrong is
//! counted and is a miss.
//!
//! | `addr`, `master_name` | which server |
//! |---|---|
//! | one address | this one |
//! | several | the first that answers; the redirections of a Redis Cluster are not followed and count as failures |
//! | with `master_name` | the addresses are Sentinels, which are asked for the master at every connect |

mod connect;
pub(crate) mod guard;
mod options;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future};
use parking_lot::Mutex;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use thanos_core::Result;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use self::connect::Connector;
pub use self::options::RedisOptions;
use super::Backend;
use super::remote::breaker::Breaker;
use super::remote::queue::{QueueOptions, Write, WriteQueue};
use super::remote::{Failure, Operation, RemoteMetrics, Skip, enter, gate};

/// How long a server that could not be reached is left alone.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// A [`Backend`] in a Redis server.
pub struct RedisCache {
    client: Arc<Client>,
    queue: WriteQueue,
}

struct Client {
    name: &'static str,
    options: RedisOptions,
    connector: Connector,
    link: Mutex<Link>,
    /// Held by who makes the first connection.
    first: tokio::sync::Mutex<()>,
    get_gate: Option<Semaphore>,
    set_gate: Option<Semaphore>,
    breaker: Breaker,
    metrics: RemoteMetrics,
}

/// The connection, if there is one.
#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Grows with each connection, so that who sees one break does not drop the next.
    generation: u64,
    is_connecting: bool,
    /// Whether the last connection broke or could not be made.
    is_gone: bool,
    failed_at: Option<Instant>,
}

impl RedisCache {
    /// Returns the cache called `name` in metrics; it connects when it is used. In a tokio runtime only.
    ///
    /// # Errors
    ///
    /// `Invalid` for options that cannot work.
    pub fn new(name: &'static str, options: RedisOptions, metrics: RemoteMetrics) -> Result<Self> {
        options.validate()?;
        if options.cache_size.0 > 0 {
            warn!(
                "cache_size of the redis configuration is ignored: there is no client-side cache"
            );
        }
        metrics.start(name, Vec::new());
        let queue = QueueOptions {
            capacity: options.max_async_buffer_size,
            concurrency: options.max_async_concurrency,
            batch: options.set_multi_batch_size,
        };
        let client = Arc::new(Client {
            name,
            connector: Connector::new(&options)?,
            link: Mutex::default(),
            first: tokio::sync::Mutex::default(),
            get_gate: gate(options.max_get_multi_concurrency),
            set_gate: gate(options.max_set_multi_concurrency),
            breaker: Breaker::new(options.set_async_circuit_breaker_config.clone()),
            metrics,
            options,
        });
        let writer = Arc::clone(&client);
        let queue = WriteQueue::start(queue, move |batch| {
            let writer = Arc::clone(&writer);
            async move { writer.write(batch).await }.boxed()
        });
        Ok(Self { client, queue })
    }
}

/// What went wrong.
#[derive(Debug)]
enum Problem {
    /// The server was not there a moment ago.
    Away,
    Timeout,
    Redis(RedisError),
}

impl Problem {
    fn failure(&self) -> Failure {
        match self {
            Self::Timeout => Failure::Timeout,
            Self::Away => Failure::Network,
            Self::Redis(error) if error.is_timeout() => Failure::Timeout,
            Self::Redis(error) if error.is_io_error() || error.is_connection_dropped() => {
                Failure::Network
            }
            Self::Redis(_) => Failure::Server,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("the server could not be reached a moment ago"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Redis(error) => error.fmt(f),
        }
    }
}

impl Client {
    /// Returns the connection. Who wants the first one waits for it; when one broke, or could not be made, the next is
    /// made behind everybody's back.
    async fn connection(
        self: &Arc<Self>,
    ) -> std::result::Result<(MultiplexedConnection, u64), Problem> {
        if let Some(known) = self.known_connection()? {
            return Ok(known);
        }
        let _turn = self.first.lock().await;
        if let Some(known) = self.known_connection()? {
            return Ok(known);
        }
        let client = Arc::clone(self);
        let connecting = tokio::spawn(async move { client.connect().await });
        connecting.await.unwrap_or(Err(Problem::Away))
    }

    /// Returns the connection, nothing when there never was one.
    fn known_connection(
        self: &Arc<Self>,
    ) -> std::result::Result<Option<(MultiplexedConnection, u64)>, Problem> {
        let mut link = self.link.lock();
        if let Some(connection) = &link.connection {
            return Ok(Some((connection.clone(), link.generation)));
        }
        if !link.is_gone {
            return Ok(None);
        }
        let failed_now = link
            .failed_at
            .is_some_and(|failed| failed.elapsed() < RECONNECT_INTERVAL);
        if !failed_now && !link.is_connecting {
            link.is_connecting = true;
            let client = Arc::clone(self);
            tokio::spawn(async move { drop(client.connect().await) });
        }
        Err(Problem::Away)
    }

    async fn connect(&self) -> std::result::Result<(MultiplexedConnection, u64), Problem> {
        let connected = self.connector.connect().await;
        let mut link = self.link.lock();
        link.is_connecting = false;
        match connected {
            Ok(connection) => {
                link.generation += 1;
                link.connection = Some(connection.clone());
                link.is_gone = false;
                link.failed_at = None;
                Ok((connection, link.generation))
            }
            Err(error) => {
                link.is_gone = true;
                link.failed_at = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// Asks the server; a connection that failed is not used again.
    async fn ask<T: redis::FromRedisValue>(
        self: &Arc<Self>,
        pipeline: redis::Pipeline,
        timeout: Duration,
    ) -> std::result::Result<T, Problem> {
        let (mut connection, generation) = self.connection().await?;
        let answer = pipeline.query_async(&mut connection);
        let answered = match tokio::time::timeout(timeout, answer).await {
            Ok(answered) => answered.map_err(Problem::Redis),
            Err(_) => Err(Problem::Timeout),
        };
        if let Err(problem) = &answered
            && problem.failure() != Failure::Server
        {
            let mut link = self.link.lock();
            if link.generation == generation {
                link.connection = None;
                link.is_gone = true;
            }
        }
        answered
    }

    async fn get_batch(self: &Arc<Self>, keys: &[String]) -> Vec<Option<Bytes>> {
        let _place = enter(self.get_gate.as_ref()).await;
        let started = Instant::now();
        self.metrics.began(Operation::GetMulti, self.name);
        let mut pipeline = redis::pipe();
        let names = keys.iter().map(|key| self.options.prefixed(key));
        pipeline.cmd("MGET").arg(names.collect::<Vec<_>>());
        let timeout = self.options.read_timeout();
        let answered: std::result::Result<(Vec<Option<Vec<u8>>>,), _> =
            self.ask(pipeline, timeout).await;
        match answered {
            Ok((values,)) if values.len() == keys.len() => {
                let values: Vec<_> = values
                    .into_iter()
                    .map(|value| value.map(Bytes::from))
                    .collect();
                let bytes = values.iter().flatten().map(Bytes::len).sum();
                let took = started.elapsed();
                self.metrics
                    .done(Operation::GetMulti, self.name, bytes, took);
                values
            }
            Ok(_) => {
                self.metrics
                    .failed(Operation::GetMulti, Failure::Other, self.name);
                vec![None; keys.len()]
            }
            Err(problem) => {
                debug!(error = %problem, "values could not be read");
                let failure = problem.failure();
                self.metrics.failed(Operation::GetMulti, failure, self.name);
                vec![None; keys.len()]
            }
        }
    }

    async fn write(self: &Arc<Self>, batch: Vec<Write>) {
        let _place = enter(self.set_gate.as_ref()).await;
        let started = Instant::now();
        self.metrics.began(Operation::Set, self.name);
        if !self.breaker.allows() {
            self.metrics
                .failed(Operation::Set, Failure::Other, self.name);
            return;
        }
        let mut pipeline = redis::pipe();
        for write in &batch {
            let command = pipeline.cmd("SETEX");
            command.arg(self.options.prefixed(&write.key));
            command
                .arg(write.ttl.as_secs().max(1))
                .arg(&write.value[..]);
            command.ignore();
        }
        let written: std::result::Result<(), _> =
            self.ask(pipeline, self.options.write_timeout()).await;
        self.breaker.note(written.is_ok());
        match written {
            Ok(()) => {
                let bytes = batch.iter().map(|write| write.value.len()).sum();
                let took = started.elapsed();
                self.metrics.done(Operation::Set, self.name, bytes, took);
            }
            Err(problem) => {
                debug!(error = %problem, "values could not be stored");
                let failure = problem.failure();
                self.metrics.failed(Operation::Set, failure, self.name);
            }
        }
    }
}

#[async_trait]
impl Backend for RedisCache {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let client = &self.client;
        let batch = match client.options.get_multi_batch_size {
            0 => keys.len().max(1),
            batch => batch,
        };
        let batches: Vec<_> = keys
            .chunks(batch)
            .map(|keys| client.get_batch(keys))
            .collect();
        let values = future::join_all(batches).await.concat();
        let hits = values.iter().flatten().count();
        client
            .metrics
            .looked_up(client.name, keys.len() as u64, hits as u64);
        values
    }

    fn put(&self, key: String, value: Bytes, ttl: Duration) {
        if !self.queue.put(Write { key, value, ttl }) {
            self.client
                .metrics
                .skipped(Skip::QueueFull, self.client.name);
        }
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("name", &self.client.name)
            .field("addr", &self.client.options.addr)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
