//! Connections to Redis: over TCP or TLS, to an address or to what Sentinels name.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use thanos_core::Result;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::Guarded;
use super::{Problem, RedisOptions};

/// Makes connections.
pub(super) struct Connector {
    addresses: Vec<String>,
    master_name: String,
    info: RedisConnectionInfo,
    tls: Option<TlsConnector>,
    server_name: String,
    timeout: Duration,
    answer_timeout: Duration,
}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Self> {
        let mut info = RedisConnectionInfo::default().set_db(options.db);
        if !options.username.is_empty() {
            info = info.set_username(&options.username);
        }
        if !options.password.is_empty() {
            info = info.set_password(&options.password);
        }
        let tls = if options.tls_enabled {
            let config = options.tls_config.client_config()?;
            Some(TlsConnector::from(Arc::new(config)))
        } else {
            None
        };
        Ok(Self {
            addresses: options.addresses(),
            master_name: options.master_name.clone(),
            info,
            tls,
            server_name: options.tls_config.server_name.clone(),
            timeout: options.dial_timeout(),
            answer_timeout: options.read_timeout(),
        })
    }

    /// Connects to the first server that answers.
    pub(super) async fn connect(&self) -> std::result::Result<MultiplexedConnection, Problem> {
        let mut last = Problem::Away;
        for address in &self.addresses {
            let connect = self.connect_by(address);
            match tokio::time::timeout(self.timeout, connect).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = Problem::Redis(error),
                Err(_) => last = Problem::Timeout,
            }
        }
        Err(last)
    }

    async fn connect_by(&self, address: &str) -> redis::RedisResult<MultiplexedConnection> {
        if self.master_name.is_empty() {
            return self.connect_to(address, &self.info).await;
        }
        // Sentinels have passwords and no databases of their own; Thanos asks them without.
        let sentinel = RedisConnectionInfo::default();
        let mut sentinel = self.connect_to(address, &sentinel).await?;
        let master: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(&self.master_name)
            .query_async(&mut sentinel)
            .await?;
        let Some((host, port)) = master else {
            let message = format!("the sentinel knows no master {}", self.master_name);
            return Err(RedisError::from((ErrorKind::Client, "sentinel", message)));
        };
        self.connect_to(&format!("{host}:{port}"), &self.info).await
    }

    async fn connect_to(
        &self,
        address: &str,
        info: &RedisConnectionInfo,
    ) -> redis::RedisResult<MultiplexedConnection> {
        let stream = TcpStream::connect(address).await?;
        // Without it only the latency is worse.
        let _ = stream.set_nodelay(true);
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.answer_timeout));
        let Some(tls) = &self.tls else {
            let stream = Guarded::new(stream);
            let made = MultiplexedConnection::new_with_config(info, stream, config).await?;
            tokio::spawn(made.1);
            return Ok(made.0);
        };
        let name = self.name_of(address)?;
        let stream = Guarded::new(tls.connect(name, stream).await?);
        let made = MultiplexedConnection::new_with_config(info, stream, config).await?;
        tokio::spawn(made.1);
        Ok(made.0)
    }

    /// Returns the name that the server has to prove.
    fn name_of(&self, address: &str) -> redis::RedisResult<ServerName<'static>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = if self.server_name.is_empty() {
            host.trim_matches(['[', ']'])
        } else {
            &self.server_name
        };
        ServerName::try_from(name.to_owned()).map_err(|error| {
            RedisError::from((ErrorKind::InvalidClientConfig, "name", error.to_string()))
        })
    }
}
