//! The settings of a cache in memcached servers.

use std::time::Duration;

use serde::Deserialize;
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};

use crate::cache::config::{ByteSize, go_duration};
use crate::cache::remote::addresses;
use crate::cache::remote::breaker::BreakerOptions;

/// What an operation may take where the configuration says 0.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// No value is read that is longer, where the configuration sets no limit.
const VALUE_BYTES_MAX: u64 = 128 << 20;

/// How memcached servers are used; names and defaults are those of Thanos.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemcachedOptions {
    /// Where the servers are: `host:port`, or `dns+host:port` for all addresses of a host.
    pub addresses: Vec<String>,
    /// How long connecting may take, and how long an operation.
    #[serde(deserialize_with = "go_duration")]
    pub timeout: Duration,
    /// Connections to one server that are kept for later.
    pub max_idle_connections: usize,
    /// Writes that are under way at once.
    pub max_async_concurrency: usize,
    /// Writes that may wait; more are dropped.
    pub max_async_buffer_size: usize,
    /// Reads that are under way at once; 0 means any number.
    pub max_get_multi_concurrency: usize,
    /// A larger value is not stored; 0 means any size.
    pub max_item_size: ByteSize,
    /// Keys of one read; 0 means any number.
    pub max_get_multi_batch_size: usize,
    /// How often addresses are looked up.
    #[serde(deserialize_with = "go_duration")]
    pub dns_provider_update_interval: Duration,
    /// Whether the addresses are asked which servers there are (as ElastiCache answers).
    pub auto_discovery: bool,
    /// When writes are refused.
    pub set_async_circuit_breaker_config: BreakerOptions,
}

impl Default for MemcachedOptions {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
            max_idle_connections: 100,
            max_async_concurrency: 20,
            max_async_buffer_size: 10_000,
            max_get_multi_concurrency: 100,
            max_item_size: ByteSize(1 << 20),
            max_get_multi_batch_size: 0,
            dns_provider_update_interval: Duration::from_secs(10),
            auto_discovery: false,
            set_async_circuit_breaker_config: BreakerOptions::default(),
        }
    }
}

impl MemcachedOptions {
    /// Checks that they can work.
    ///
    /// # Errors
    ///
    /// `Invalid` that says what is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.addresses.is_empty() {
            return Err(Error::invalid("no memcached addresses provided"));
        }
        if self.dns_provider_update_interval.is_zero() {
            let message = "DNS provider update interval must be positive";
            return Err(Error::invalid(message));
        }
        if self.max_async_concurrency == 0 {
            return Err(Error::invalid("max async concurrency must be positive"));
        }
        self.set_async_circuit_breaker_config.validate()?;
        addresses::validate(&self.addresses)
    }

    pub(super) fn timeout(&self) -> Duration {
        if self.timeout.is_zero() {
            TIMEOUT_DEFAULT
        } else {
            self.timeout
        }
    }

    /// Returns how long a value may be that a server sends: others may store larger ones than we do, up to what servers
    /// take by default.
    pub(super) fn value_bytes_max(&self) -> u64 {
        match self.max_item_size.0 {
            0 => VALUE_BYTES_MAX,
            item_bytes_max => item_bytes_max.max(1 << 20),
        }
    }

    /// Returns the labels of `thanos_memcached_client_info`.
    pub(super) fn info(&self) -> Vec<(&'static str, String)> {
        let go = |duration: Duration| {
            let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
            SignedDuration::from_nanos(nanos).go().to_string()
        };
        vec![
            ("timeout", go(self.timeout)),
            (
                "max_idle_connections",
                self.max_idle_connections.to_string(),
            ),
            (
                "max_async_concurrency",
                self.max_async_concurrency.to_string(),
            ),
            (
                "max_async_buffer_size",
                self.max_async_buffer_size.to_string(),
            ),
            ("max_item_size", self.max_item_size.0.to_string()),
            (
                "max_get_multi_concurrency",
                self.max_get_multi_concurrency.to_string(),
            ),
            (
                "max_get_multi_batch_size",
                self.max_get_multi_batch_size.to_string(),
            ),
            (
                "dns_provider_update_interval",
                go(self.dns_provider_update_interval),
            ),
        ]
    }
}
