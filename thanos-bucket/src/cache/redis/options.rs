//! The settings of a cache in a Redis server.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use thanos_core::{Error, Result};

use crate::cache::config::{ByteSize, go_duration};
use crate::cache::remote::breaker::BreakerOptions;
use crate::cache::remote::tls::TlsOptions;

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How a Redis server is used; names and defaults are those of Thanos.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisOptions {
    /// Where the server is, `host:port`; several are separated by commas.
    pub addr: String,
    /// Put before every key.
    pub prefix: String,
    /// Who we are, to a server with users.
    pub username: String,
    /// The password.
    pub password: String,
    /// The number of the database.
    pub db: i64,
    /// How long connecting may take.
    #[serde(deserialize_with = "go_duration")]
    pub dial_timeout: Duration,
    /// How long a read may take.
    #[serde(deserialize_with = "go_duration")]
    pub read_timeout: Duration,
    /// How long a write may take.
    #[serde(deserialize_with = "go_duration")]
    pub write_timeout: Duration,
    /// Reads that are under way at once; 0 means any number.
    pub max_get_multi_concurrency: usize,
    /// Keys of one read; 0 means any number.
    pub get_multi_batch_size: usize,
    /// Batches of writes that are under way at once; 0 means any number.
    pub max_set_multi_concurrency: usize,
    /// Values that are written together.
    pub set_multi_batch_size: usize,
    /// Whether connections are TLS.
    pub tls_enabled: bool,
    /// How.
    pub tls_config: TlsOptions,
    /// The size of a cache in the client, which there is none of: a warning says so.
    pub cache_size: ByteSize,
    /// The name of the master that the Sentinels at `addr` know.
    pub master_name: String,
    /// Writes that may wait; more are dropped.
    pub max_async_buffer_size: usize,
    /// Batches of writes that are taken from the queue at once.
    pub max_async_concurrency: usize,
    /// When writes are refused.
    pub set_async_circuit_breaker_config: BreakerOptions,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            addr: String::new(),
            prefix: String::new(),
            username: String::new(),
            password: String::new(),
            db: 0,
            dial_timeout: DIAL_TIMEOUT,
            read_timeout: ANSWER_TIMEOUT,
            write_timeout: ANSWER_TIMEOUT,
            max_get_multi_concurrency: 100,
            get_multi_batch_size: 100,
            max_set_multi_concurrency: 100,
            set_multi_batch_size: 100,
            tls_enabled: false,
            tls_config: TlsOptions::default(),
            cache_size: ByteSize(0),
            master_name: String::new(),
            max_async_buffer_size: 10_000,
            max_async_concurrency: 20,
            set_async_circuit_breaker_config: BreakerOptions::default(),
        }
    }
}

impl RedisOptions {
    /// Checks that they can work.
    ///
    /// # Errors
    ///
    /// `Invalid` that says what is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.addr.is_empty() {
            return Err(Error::invalid("no redis addr provided"));
        }
        if self.tls_enabled {
            self.tls_config.validate()?;
        }
        self.set_async_circuit_breaker_config.validate()
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        let addresses = self.addr.split(',').map(str::trim);
        addresses.map(str::to_owned).collect()
    }

    pub(super) fn prefixed(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        or_default(self.dial_timeout, DIAL_TIMEOUT)
    }

    pub(super) fn read_timeout(&self) -> Duration {
        or_default(self.read_timeout, ANSWER_TIMEOUT)
    }

    pub(super) fn write_timeout(&self) -> Duration {
        or_default(self.write_timeout, ANSWER_TIMEOUT)
    }
}

/// A query must not wait forever, whatever the configuration says.
fn or_default(timeout: Duration, default: Duration) -> Duration {
    if timeout.is_zero() { default } else { timeout }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("addr", &self.addr)
            .field("prefix", &self.prefix)
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}
