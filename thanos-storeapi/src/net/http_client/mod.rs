//! An HTTP client with the settings that Thanos takes for its own: `--prometheus.http-client` and the like.
//!
//! It is reqwest over rustls; neither shows in the types here. Bodies of answers are streams: dropping one ends the
//! request at the server. Retries are above this.

mod config;
mod credentials;
mod message;
mod metrics;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use thanos_core::{Error, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub use config::{Authorization, BasicAuth, HttpClientConfig, Secret, TlsConfig, TransportConfig};
use credentials::Credentials;
pub use message::{HttpBody, HttpRequest, HttpResponse, Method};
pub use metrics::HttpClientMetrics;

use crate::net::tls::{ClientTls, Pem, TlsClient};

/// How a client names itself unless a request does.
pub const THANOS_USER_AGENT: &str = concat!("Thanos/", env!("CARGO_PKG_VERSION"));

/// How many hops are followed, as in Go.
const REDIRECTS_MAX: usize = 10;
/// How often a connection is probed, as in Go.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How many unused connections Go keeps when the setting is 0.
const IDLE_CONNECTIONS_OF_GO: usize = 2;

/// A client; clones share their connections.
///
/// # Example
///
/// ```no_run
/// use thanos_storeapi::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics, HttpRequest};
///
/// # async fn run() -> thanos_core::Result<()> {
/// let config = HttpClientConfig::from_yaml("bearer_token_file: /var/run/token")?;
/// let client = HttpClient::new(&config, "example", HttpClientMetrics::default())?;
/// let answer = client.send(HttpRequest::get("http://prometheus:9090/-/ready")).await?;
/// println!("{}", answer.status());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    client: reqwest::Client,
    credentials: Credentials,
    permits: Option<Arc<Semaphore>>,
    head_timeout: Option<Duration>,
    metrics: HttpClientMetrics,
}

impl HttpClient {
    /// Returns a client; `name` tells it from others in `metrics`.
    ///
    /// # Errors
    ///
    /// `Invalid` for settings that cannot be used, `NotFound` for certificates that are not there.
    pub fn new(config: &HttpClientConfig, name: &str, metrics: HttpClientMetrics) -> Result<Self> {
        config.validate()?;
        let connections = config.transport_config.max_conns_per_host;
        let inner = Inner {
            name: name.to_owned(),
            client: connector(config)?,
            credentials: Credentials::new(config),
            permits: (connections > 0).then(|| Arc::new(Semaphore::new(connections))),
            head_timeout: limit(config.transport_config.response_header_timeout),
            metrics,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Sends a request and returns the answer when its head is there, whatever its status.
    ///
    /// # Errors
    ///
    /// `Unavailable` when there is no answer; the message has the address and the reasons.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        let inner = &*self.inner;
        let permit = match &inner.permits {
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        let method = request.method;
        let (built, shown) = inner.build(request)?;
        let in_flight = InFlight(inner.metrics.start(&inner.name));
        let started = Instant::now();
        let answer = match inner.head_timeout {
            None => inner.client.execute(built).await,
            Some(limit) => match timeout(limit, inner.client.execute(built)).await {
                Ok(answer) => answer,
                Err(_) => {
                    return Err(Error::unavailable(format!(
                        "{shown}: no answer within {limit:?}"
                    )));
                }
            },
        };
        let answer = answer.map_err(|error| failed(&shown, error))?;
        drop(in_flight);
        let (code, seconds) = (answer.status().as_u16(), started.elapsed().as_secs_f64());
        inner
            .metrics
            .answered(&inner.name, method.as_str(), code, seconds);
        Ok(HttpResponse::new(answer, shown, permit))
    }
}

/// Ends the count of a request that is answered, failed or dropped.
struct InFlight(prometheus_client::metrics::gauge::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Inner {
    /// Returns the request, and how it is named in errors.
    fn build(&self, request: HttpRequest) -> Result<(reqwest::Request, String)> {
        let url = reqwest::Url::parse(&request.url)
            .map_err(|error| Error::invalid(format!("{:?}: {error}", request.url)))?;
        let mut shown = url.clone();
        // What is secret about an address is not shown; failing means that there is nothing to hide.
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        let shown = format!("{} {shown}", request.method.as_str());
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut built = reqwest::Request::new(method, url);
        let headers = built.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(THANOS_USER_AGENT));
        if let Some(credentials) = self.credentials.header()? {
            headers.insert(AUTHORIZATION, credentials);
        }
        for (name, value) in request.headers {
            let name = HeaderName::try_from(name);
            let value = HeaderValue::try_from(value);
            match (name, value) {
                (Ok(name), Ok(value)) => headers.insert(name, value),
                _ => {
                    return Err(Error::invalid(format!(
                        "{shown}: a header has characters that none may have"
                    )));
                }
            };
        }
        *built.body_mut() = request.body.map(reqwest::Body::from);
        Ok((built, shown))
    }
}

fn limit(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn connector(config: &HttpClientConfig) -> Result<reqwest::Client> {
    let transport = &config.transport_config;
    let idle = match transport.max_idle_conns_per_host {
        0 => IDLE_CONNECTIONS_OF_GO,
        connections => connections,
    };
    // Connecting includes the handshake here.
    let connecting = transport.dialer_timeout + transport.tls_handshake_timeout;
    let tls = TlsClient::new(client_tls(&config.tls_config), &["http/1.1"])?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls.config()).clone())
        .redirect(match config.follow_redirects {
            true => Policy::limited(REDIRECTS_MAX),
            false => Policy::none(),
        })
        .referer(false)
        .http1_only()
        .tcp_keepalive(KEEP_ALIVE)
        .pool_max_idle_per_host(idle)
        .pool_idle_timeout(limit(transport.idle_conn_timeout))
        .no_proxy();
    if let Some(connecting) = limit(connecting) {
        builder = builder.connect_timeout(connecting);
    }
    if !config.proxy_url.is_empty() {
        let proxy = reqwest::Proxy::all(&config.proxy_url);
        builder =
            builder
                .proxy(proxy.map_err(|error| {
                    Error::invalid("proxy_url is not a URL").with_source(error)
                })?);
    }
    builder
        .build()
        .map_err(|error| Error::invalid("the HTTP client cannot be made").with_source(error))
}

fn client_tls(config: &TlsConfig) -> ClientTls {
    ClientTls {
        authorities: Pem::file(&config.ca_file),
        certificate: Pem::file(&config.cert_file),
        key: Pem::file(&config.key_file),
        server_name: config.server_name.clone(),
        insecure_skip_verify: config.insecure_skip_verify,
        ..ClientTls::default()
    }
}

/// Returns the error of a request or of its body, with all its reasons.
fn failed(shown: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut message = format!("{shown}: {error}");
    let mut reason = error.source();
    while let Some(next) = reason {
        let _ = write!(message, ": {next}");
        reason = next.source();
    }
    Error::unavailable(message).with_source(error)
}
