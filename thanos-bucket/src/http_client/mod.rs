//! The HTTP client of all clouds: reqwest over rustls with ring, with the limits of Thanos' `http_config`.
//!
//! The TLS configuration is made here with an explicit provider, so that a process may install whatever default it likes,
//! or none. Retries are above this, in the clients of `object_store`; dropping a request or its body ends it.

mod body;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyStream, StreamBody};
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind,
    HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use thanos_core::{Error, Result as CoreResult};
use thanos_storeapi::net::tls::{ClientTls, Pem};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::config::HttpConfig;
use body::MovingBody;

/// The slowest upload that is waited for: the time for an answer grows with the body that has to be sent first.
const UPLOAD_BYTES_PER_SEC_MIN: u64 = 64 << 10;
/// How often a connection is probed, as in Go.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How many unused connections Go keeps when the setting is 0.
const IDLE_CONNECTIONS_OF_GO: usize = 2;
/// How long a machine may take to connect to the address of its own keys. Source: `ClientOptions::metadata_options`.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long that address may take to answer.
const METADATA_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes HTTP clients for `object_store`; all that one connector makes share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    service: Service,
    /// For the addresses at which a cloud tells a machine its keys.
    metadata: Service,
}

#[derive(Debug, Clone)]
struct Service {
    client: reqwest::Client,
    permits: Option<Arc<Semaphore>>,
    answer_timeout: Option<Duration>,
    trace: bool,
}

impl Connector {
    /// Returns a connector with these settings.
    ///
    /// # Errors
    ///
    /// `Invalid` for certificates that cannot be used, `NotFound` for files that are not there.
    pub(crate) fn new(config: &HttpConfig) -> CoreResult<Self> {
        let connections = config.max_conns_per_host;
        let permits = (connections > 0).then(|| Arc::new(Semaphore::new(connections)));
        Ok(Self {
            service: Service {
                client: built(builder(config)?)?,
                permits,
                answer_timeout: limit(config.response_header_timeout),
                trace: false,
            },
            // The keys of a machine come from the machine itself: soon or not at all, and never through a proxy.
            metadata: Service {
                client: built(
                    builder(config)?
                        .connect_timeout(METADATA_CONNECT_TIMEOUT)
                        .no_proxy(),
                )?,
                permits: None,
                answer_timeout: Some(METADATA_ANSWER_TIMEOUT),
                trace: false,
            },
        })
    }

    /// Returns the connector, writing each request to the debug log if `trace`: without headers, which hold keys.
    #[cfg(feature = "s3")]
    pub(crate) fn traced(mut self, trace: bool) -> Self {
        self.service.trace = trace;
        self
    }

    /// Returns a client for requests of our own.
    #[cfg(feature = "azure")]
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.service.clone())
    }
}

fn builder(config: &HttpConfig) -> CoreResult<reqwest::ClientBuilder> {
    let idle = match config.max_idle_conns_per_host {
        0 => IDLE_CONNECTIONS_OF_GO,
        connections => connections,
    };
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config(config)?)
        .user_agent(concat!("thanos-rs/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .http1_only()
        .tcp_keepalive(KEEP_ALIVE)
        .pool_max_idle_per_host(idle)
        .pool_idle_timeout(limit(config.idle_conn_timeout));
    Ok(match limit(config.tls_handshake_timeout) {
        Some(connect) => builder.connect_timeout(connect),
        None => builder,
    })
}

fn built(builder: reqwest::ClientBuilder) -> CoreResult<reqwest::Client> {
    builder
        .build()
        .map_err(|error| Error::invalid("http_config cannot be used").with_source(error))
}

/// Reports whether `options` are those for the addresses of keys: `object_store` asks to connect to these quickly.
fn are_for_metadata(options: &ClientOptions) -> bool {
    let connect =
        |options: &ClientOptions| options.get_config_value(&ClientConfigKey::ConnectTimeout);
    let quickly = ClientOptions::default().with_connect_timeout(METADATA_CONNECT_TIMEOUT);
    connect(options) == connect(&quickly)
}

/// Returns the retries for a setting that counts attempts, 0 meaning `default`.
#[cfg(any(feature = "gcs", feature = "s3"))]
pub(crate) fn retries(attempts: usize, default: usize) -> object_store::RetryConfig {
    let attempts = if attempts == 0 { default } else { attempts };
    object_store::RetryConfig {
        max_retries: attempts.saturating_sub(1),
        ..object_store::RetryConfig::default()
    }
}

fn limit(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

impl HttpConnector for Connector {
    /// The settings of the connector stand; those of `options` are the defaults of `object_store`.
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let service = match are_for_metadata(options) {
            true => &self.metadata,
            false => &self.service,
        };
        Ok(HttpClient::new(service.clone()))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let permit = match &self.permits {
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        let traced = self
            .trace
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let started = Instant::now();
        let answer = self.answer(request).await;
        if let Some((method, path)) = traced {
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            let elapsed = started.elapsed();
            tracing::debug!(%method, path, status, ?elapsed, "request to the object storage");
        }
        let moving = |body| MovingBody::new(BodyStream::new(body), self.answer_timeout, permit);
        Ok(answer?.map(|body| HttpResponseBody::new(StreamBody::new(moving(body)))))
    }
}

impl Service {
    /// Returns the answer when its header is there.
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let body_len = request.body().content_length() as u64;
        let answer = HttpService::call(&self.client, request);
        let Some(limit) = self.answer_timeout else {
            return answer.await;
        };
        let sending = Duration::from_secs(body_len / UPLOAD_BYTES_PER_SEC_MIN);
        match timeout(limit + sending, answer).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(HttpError::new(HttpErrorKind::Timeout, elapsed)),
        }
    }
}

/// Returns the TLS side of `config`.
fn tls_config(config: &HttpConfig) -> CoreResult<rustls::ClientConfig> {
    let tls = &config.tls_config;
    let tls = ClientTls {
        authorities: Pem::file(&tls.ca_file),
        certificate: Pem::file(&tls.cert_file),
        key: Pem::file(&tls.key_file),
        // The host is still what the handshake asks for.
        server_name: tls.server_name.clone(),
        insecure_skip_verify: config.insecure_skip_verify || tls.insecure_skip_verify,
        ..ClientTls::default()
    };
    let mut config = tls.config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
