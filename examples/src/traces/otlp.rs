//! Spans on their way to a collector, over gRPC or HTTP.
//!
//! What the configuration does not say, the environment may: `OTEL_EXPORTER_OTLP_*` where and how spans are sent,
//! `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` what the process calls itself, `OTEL_BSP_*` how many at once.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    Compression, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thanos_core::{Error, Result};
use thanos_storeapi::net::tls::{ClientTls, Pem, TlsClient};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::config::{ClientType, OtlpConfig, RetryConfig, Sampling, TlsFiles};
use super::connect::Encrypted;
use super::http_export::CollectorClient;
use super::sampler::ForcedOr;

/// How long an export may take when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);
const TRACES_PATH: &str = "/v1/traces";

/// Returns what sends those spans that `sampling` keeps as `config` wants. Must be called on a runtime.
pub(super) fn provider(config: &OtlpConfig, sampling: Sampling) -> Result<SdkTracerProvider> {
    let exporter = match config.client_type {
        ClientType::Grpc => grpc(config)?,
        ClientType::Http => http(config)?,
        ClientType::Missing => return Err(Error::internal("tracing: the client type was checked")),
    };
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(ForcedOr::new(sampling))
        .with_resource(resource(config))
        .build())
}

/// Returns how the process is named; the configuration counts before the environment.
fn resource(config: &OtlpConfig) -> Resource {
    let name = Some(&config.service_name).filter(|name| !name.is_empty());
    let name = name.map(|name| KeyValue::new("service.name", name.clone()));
    let others = config.resource_attributes.iter();
    let others = others.map(|(name, value)| KeyValue::new(name.clone(), value.0.clone()));
    Resource::builder()
        .with_attributes(name.into_iter().chain(others))
        .build()
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("otlp: {error}")).with_source(error)
}

fn grpc(config: &OtlpConfig) -> Result<SpanExporter> {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel(config)?)
        .with_metadata(MetadataMap::from_headers(headers(config)?));
    if let Some(timeout) = config.timeout.set() {
        builder = builder.with_timeout(timeout);
    }
    if config.compression == "gzip" {
        builder = builder.with_compression(Compression::Gzip);
    }
    if let Some(policy) = retries(&config.retry_config) {
        builder = builder.with_retry_policy(policy);
    }
    builder.build().map_err(failed)
}

/// Returns the connection to the collector, which is made with the first export.
fn channel(config: &OtlpConfig) -> Result<Channel> {
    let address = address(config, "localhost:4317");
    let is_plain = config.insecure || address.starts_with("http://");
    let authority = address
        .split_once("://")
        .map_or(&*address, |(_, rest)| rest);
    let scheme = if is_plain { "http" } else { "https" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}")).map_err(failed)?;
    let endpoint = endpoint.timeout(config.timeout.set().unwrap_or(TIMEOUT));
    if is_plain {
        return Ok(endpoint.connect_lazy());
    }
    let tls = TlsClient::new(client_tls(&config.tls_config), &["h2"])?;
    Ok(endpoint.connect_with_connector_lazy(Encrypted::new(tls)))
}

/// Returns the address of the collector: that of the configuration, of the environment, or the usual one.
fn address(config: &OtlpConfig, default: &str) -> String {
    if !config.endpoint.is_empty() {
        return config.endpoint.clone();
    }
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let found = names.into_iter().find_map(|name| std::env::var(name).ok());
    let found = found.filter(|address| !address.is_empty());
    found.unwrap_or_else(|| default.to_owned())
}

fn http(config: &OtlpConfig) -> Result<SpanExporter> {
    let client = CollectorClient::new(&config.tls_config, config.timeout.set().unwrap_or(TIMEOUT))?;
    let headers = headers(config)?;
    let headers = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap_or_default().to_owned();
        (name.as_str().to_owned(), value)
    });
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_headers(headers.collect::<HashMap<_, _>>());
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(url(config));
    }
    if let Some(timeout) = config.timeout.set() {
        builder = builder.with_timeout(timeout);
    }
    if config.compression == "gzip" {
        builder = builder.with_compression(Compression::Gzip);
    }
    if let Some(policy) = retries(&config.retry_config) {
        builder = builder.with_retry_policy(policy);
    }
    builder.build().map_err(failed)
}

/// Returns the URL of a configured collector: Thanos' `endpoint` is `host:port`, and a URL is taken as well.
fn url(config: &OtlpConfig) -> String {
    let path = match config.url_path.as_str() {
        "" => TRACES_PATH,
        path => path,
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let endpoint = config.endpoint.trim_end_matches('/');
    let scheme = match (endpoint.contains("://"), config.insecure) {
        (true, _) => "",
        (false, true) => "http://",
        (false, false) => "https://",
    };
    format!("{scheme}{endpoint}{slash}{path}")
}

fn headers(config: &OtlpConfig) -> Result<axum::http::HeaderMap> {
    let of = |name: &String, value: &str| {
        let bad = || Error::invalid(format!("otlp: header {name:?} cannot be sent"));
        let name = HeaderName::try_from(name).map_err(|_| bad())?;
        Ok((name, HeaderValue::try_from(value).map_err(|_| bad())?))
    };
    let headers = config.headers.iter();
    headers.map(|(name, value)| of(name, &value.0)).collect()
}

/// Returns how exports are tried again; without a setting as the exporter does by itself.
///
/// COMPAT: Go bounds the time of all attempts together; here that is turned into a number of attempts.
fn retries(config: &RetryConfig) -> Option<RetryPolicy> {
    if !config.retry_enabled {
        return None;
    }
    let initial = config.retry_initial_interval.set();
    let initial = initial.unwrap_or(Duration::from_secs(5));
    let longest = config.retry_max_interval.set();
    let longest = longest.unwrap_or(Duration::from_secs(30)).max(initial);
    let elapsed = config.retry_max_elapsed_time.set();
    let elapsed = elapsed.unwrap_or(Duration::from_secs(60));
    let (mut attempts, mut waited, mut wait) = (0, Duration::ZERO, initial);
    while waited + wait <= elapsed && attempts < ATTEMPTS_MAX {
        (attempts, waited) = (attempts + 1, waited + wait);
        wait = (wait * 2).min(longest);
    }
    let policy = RetryPolicy::recommended()
        .with_max_retries(attempts)
        .with_initial_delay(initial)
        .with_max_delay(longest);
    Some(policy)
}

/// How often an export is tried at most.
const ATTEMPTS_MAX: usize = 100;

/// Returns `files` for connections.
pub(super) fn client_tls(files: &TlsFiles) -> ClientTls {
    ClientTls {
        authorities: Pem::file(&files.ca_file),
        certificate: Pem::file(&files.cert_file),
        key: Pem::file(&files.key_file),
        server_name: files.server_name.clone(),
        insecure_skip_verify: files.insecure_skip_verify,
        ..ClientTls::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Provider, TracingConfig};
    use super::*;

    fn config(rest: &str) -> OtlpConfig {
        let yaml = format!("type: OTLP\nconfig: {{client_type: http, {rest}}}\n");
        match TracingConfig::from_yaml(&yaml).unwrap().0 {
            Provider::Otlp(otlp, _) => *otlp,
            other @ Provider::Jaeger(_) => panic!("{other:?}"),
        }
    }

    ///
    #[test]
    fn urls_are_made_of_parts() {
        for (rest, expected) in [
            ("endpoint: 'c:4318'", "https://c:4318/v1/traces"),
            (
                "endpoint: 'c:4318', insecure: true",
                "http://c:4318/v1/traces",
            ),
            ("endpoint: 'c:1', url_path: /x/y", "https://c:1/x/y"),
            ("endpoint: 'http://c:1/'", "http://c:1/v1/traces"),
        ] {
            assert_eq!(url(&config(rest)), expected);
        }
    }

    #[test]
    fn the_time_for_retries_is_a_number_of_them() {
        let rest = "retry_config: {retry_enabled: true, retry_initial_interval: 1s, retry_max_interval: 4s, \
                    retry_max_elapsed_time: 12s}";
        let policy = retries(&config(rest).retry_config).unwrap();
        // After 1, 2, 4 and 4 seconds.
        assert!(
            format!("{policy:?}").contains("max_retries: 4"),
            "{policy:?}"
        );
        assert!(retries(&RetryConfig::default()).is_none());
    }
}
