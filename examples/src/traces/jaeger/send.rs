//! How batches of spans leave: over HTTP to a collector, or in packets of UDP to an agent.

use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_http::HttpClient;
use thanos_core::{Error, Result};

use super::super::config::TlsFiles;
use super::super::http_export::CollectorClient;
use super::config::JaegerConfig;
use super::model;
use super::thrift::{self, Fields, Value};

/// How long the collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest packet that agents take, and what of it is not spans and process. Source: Go
/// go.opentelemetry.io/otel/exporters/jaeger/agent.go.
const PACKET_BYTES_MAX: usize = 65_000;
const ENVELOPE_BYTES: usize = 70;
const AGENT_PORT: u16 = 6831;
/// How often the name of the agent is looked up again.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(30);

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where batches go.
#[derive(Debug)]
pub(super) enum Transport {
    Collector(Box<Collector>),
    Agent(Agent),
}

impl Transport {
    /// Returns the transport that `config` wants: the collector if it names one. Must be called on a runtime.
    pub(super) fn new(config: &JaegerConfig) -> Result<Self> {
        if !config.endpoint.is_empty() {
            return Ok(Self::Collector(Box::new(Collector::new(config)?)));
        }
        Ok(Self::Agent(Agent::new(config)))
    }

    /// Sends `spans` of `process`.
    pub(super) async fn send(
        &self,
        process: &Fields,
        spans: Vec<Fields>,
    ) -> std::result::Result<(), Failure> {
        match self {
            Self::Collector(collector) => collector.send(process, spans).await,
            Self::Agent(agent) => agent.send(process, spans),
        }
    }
}

/// A collector: `POST` of a batch in the binary protocol.
#[derive(Debug)]
pub(super) struct Collector {
    client: CollectorClient,
    endpoint: Uri,
    authorization: Option<HeaderValue>,
}

impl Collector {
    fn new(config: &JaegerConfig) -> Result<Self> {
        let endpoint = &config.endpoint;
        let wrong = |why: &dyn std::fmt::Display| {
            Error::invalid(format!("jaeger: endpoint {endpoint:?}: {why}"))
        };
        let endpoint: Uri = endpoint.parse().map_err(|error| wrong(&error))?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) {
            return Err(wrong(&"it is no URL of http or https"));
        }
        let (user, password) = (&config.user, &config.password.0);
        let authorization = match user.is_empty() || password.is_empty() {
            true => None,
            false => {
                let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                let mut value = HeaderValue::try_from(text).map_err(|error| wrong(&error))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            client: CollectorClient::new(&TlsFiles::default(), TIMEOUT)?,
            endpoint,
            authorization,
        })
    }

    async fn send(&self, process: &Fields, spans: Vec<Fields>) -> std::result::Result<(), Failure> {
        let body = thrift::binary(&model::batch(process, spans));
        let mut request = Request::post(self.endpoint.clone());
        request = request.header(CONTENT_TYPE, "application/x-thrift");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = self.client.send_bytes(request.body(body.into())?).await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("the collector answered {}", answer.status()).into()),
        }
    }
}

/// An agent: a call of `emitBatch` in the compact protocol for each packet.
#[derive(Debug)]
pub(super) struct Agent {
    host: String,
    port: u16,
    /// After this the name is looked up again.
    reconnect_interval: Option<Duration>,
    socket: Mutex<Option<(UdpSocket, Instant)>>,
}

impl Agent {
    fn new(config: &JaegerConfig) -> Self {
        // As in Thanos, only both together count.
        let (host, port) = match (config.agent_host.as_str(), config.agent_port) {
            ("", _) | (_, 0) => ("localhost", AGENT_PORT),
            named => named,
        };
        let interval = config.reporter_attempt_reconnect_interval.set();
        let interval = interval.unwrap_or(RECONNECT_INTERVAL);
        Self {
            host: host.to_owned(),
            port,
            reconnect_interval: (!config.reporter_disable_attempt_reconnecting).then_some(interval),
            socket: Mutex::new(None),
        }
    }

    /// This may block for the lookup of a name: exports have a thread of their own.
    fn send(&self, process: &Fields, spans: Vec<Fields>) -> std::result::Result<(), Failure> {
        let (packets, dropped) = packets(process, spans, PACKET_BYTES_MAX - ENVELOPE_BYTES);
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |at: &Instant| {
            self.reconnect_interval
                .is_some_and(|max| at.elapsed() > max)
        };
        if socket.as_ref().is_none_or(|(_, at)| age(at)) {
            *socket = Some((self.connected()?, Instant::now()));
        }
        if let Some((socket, _)) = &*socket {
            for packet in packets {
                socket.send(&packet)?;
            }
        }
        match dropped {
            0 => Ok(()),
            count => Err(format!("{count} spans are too large for a packet").into()),
        }
    }

    fn connected(&self) -> std::io::Result<UdpSocket> {
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            let any = match address.is_ipv4() {
                true => "0.0.0.0:0",
                false => "[::]:0",
            };
            let socket = UdpSocket::bind(any)?;
            match socket.connect(address) {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Returns calls with spans of no more than `bytes_max` with their process, and how many spans are too large for any.
pub(super) fn packets(
    process: &Fields,
    spans: Vec<Fields>,
    bytes_max: usize,
) -> (Vec<Vec<u8>>, usize) {
    let process_bytes = thrift::compact_len(process);
    let (mut packets, mut dropped) = (Vec::new(), 0);
    let (mut taken, mut bytes) = (Vec::new(), process_bytes);
    let mut finish = |spans: Vec<Fields>| {
        let batch = model::batch(process, spans);
        packets.push(thrift::compact_call(
            "emitBatch",
            &vec![(1, Value::Struct(batch))],
        ));
    };
    for span in spans {
        let span_bytes = thrift::compact_len(&span);
        if process_bytes + span_bytes >= bytes_max {
            dropped += 1;
            continue;
        }
        if bytes + span_bytes >= bytes_max {
            finish(std::mem::take(&mut taken));
            bytes = process_bytes;
        }
        bytes += span_bytes;
        taken.push(span);
    }
    if !taken.is_empty() {
        finish(taken);
    }
    (packets, dropped)
}
