//! The HTTP client of the exporter: its thread is none of the runtime, so that requests are tasks of it.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use thanos_core::{Error, Result};
use tokio::runtime::Handle;

use super::config::TlsFiles;
use super::otlp::client_tls;

/// The most bytes of an answer: a few words.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Sends spans to a collector.
#[derive(Debug)]
pub(super) struct CollectorClient {
    client: reqwest::Client,
    runtime: Handle,
}

impl CollectorClient {
    /// Returns a client that shows and believes what `files` say. Must be called on a runtime.
    pub(super) fn new(files: &TlsFiles, timeout: Duration) -> Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_tls(files).config()?)
            .user_agent(concat!("thanos-rs/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .http1_only()
            .timeout(timeout)
            .build()
            .map_err(|error| Error::invalid("otlp: no HTTP client").with_source(error))?;
        Ok(Self {
            client,
            runtime: Handle::current(),
        })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(
        &self,
        request: Request<Bytes>,
    ) -> std::result::Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(send(client, request)).await?
    }
}

async fn send(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> std::result::Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request)?;
    let mut answer = client.execute(request).await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err("the answer of the collector is too long".into());
        }
        body.extend_from_slice(&piece);
    }
    *response.body_mut() = body.into();
    Ok(response)
}
