//! Traces: which spans are kept, where they go, and how a trace goes on in the next process.
//!
//! The libraries write `tracing` spans and know nothing of traces. Here a layer turns them into those of OpenTelemetry, and
//! [`Propagation`] puts their ids into the metadata of calls. Spans have the names that they have with Thanos.

mod config;
mod connect;
mod http_export;
mod jaeger;
mod otlp;
mod propagation;
mod sampler;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use thanos_core::Result;

use self::config::Provider;
pub use self::config::TracingConfig;
pub use self::propagation::{Propagation, RequestId, RequestIds, call_context, parent_of};
pub(crate) use self::propagation::{REQUEST_ID, trace_id_of};

/// How long the last spans may take to leave when the process ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What sends the spans of this process; nothing without a configuration.
#[derive(Debug, Default)]
pub struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// Returns what sends spans as `config` says. Must be called on a runtime, which it needs until [`Traces::end`].
    ///
    /// # Errors
    ///
    /// `Invalid` for addresses, headers and certificates that cannot be used, `NotFound` for missing files.
    pub fn new(config: Option<&TracingConfig>) -> Result<Self> {
        let provider = config.map(|config| match &config.0 {
            Provider::Otlp(config, sampling) => otlp::provider(config, *sampling),
            Provider::Jaeger(config) => jaeger::provider(config),
        });
        let provider = provider.transpose()?;
        Ok(Self { provider })
    }

    /// Returns what makes spans, if any are sent.
    pub fn tracer(&self) -> Option<Tracer> {
        self.provider
            .as_ref()
            .map(|provider| provider.tracer("thanos"))
    }

    /// Sends what is left. Blocks for a few seconds at most.
    pub fn end(self) {
        let Some(provider) = self.provider else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
