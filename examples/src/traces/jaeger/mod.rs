//! Spans on their way to Jaeger, as its own clients send them. Jaeger takes OTLP as well; this is for configurations and
//! collectors from before that.

mod config;
mod model;
mod remote;
mod send;
#[cfg(test)]
mod tests;
mod thrift;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, ShouldSample, SpanData,
    SpanExporter,
};
use thanos_core::Result;

pub(super) use self::config::JaegerConfig;
use self::config::Sampling;
use self::remote::{RateLimit, Remote};
use self::send::Transport;
use self::thrift::Fields;
use super::sampler::{AskAgain, ForcedOr};

/// Returns what sends the spans that `config` wants. Must be called on a runtime.
pub(super) fn provider(config: &JaegerConfig) -> Result<SdkTracerProvider> {
    let own: Arc<dyn ShouldSample> = match config.sampling()? {
        Sampling::Ratio(ratio) => Arc::new(Sampler::TraceIdRatioBased(ratio)),
        Sampling::PerSecond(rate) => Arc::new(RateLimit::new(rate)),
        Sampling::Remote => Arc::new(Remote::start(config)?),
    };
    let again = AskAgain {
        local: config.sampler_parent_config.local_parent_sampled,
        remote: config.sampler_parent_config.remote_parent_sampled,
    };
    let exporter = Exporter {
        transport: Transport::new(config)?,
        process: Fields::new(),
    };
    let mut batches = BatchConfigBuilder::default();
    if config.reporter_max_queue_size > 0 {
        batches = batches.with_max_queue_size(config.reporter_max_queue_size);
    }
    if let Some(interval) = config.reporter_flush_interval.set() {
        batches = batches.with_scheduled_delay(interval);
    }
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build());
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor.build())
        .with_sampler(ForcedOr::after_parents(own, again))
        .with_resource(resource(config))
        .build())
}

/// Returns how the process is named; without a name, as the environment says.
fn resource(config: &JaegerConfig) -> Resource {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = match config.service_name.as_str() {
        "" => variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "unknown_service:thanos".to_owned()),
        name => name.to_owned(),
    };
    let tags = config.tags(variable).into_iter();
    let tags = tags.map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", name)])
        .with_attributes(tags)
        .build()
}

/// Sends spans.
#[derive(Debug)]
struct Exporter {
    transport: Transport,
    /// The struct `Process`, once the resource is known.
    process: Fields,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.iter().map(model::span).collect();
        let sent = self.transport.send(&self.process, spans).await;
        sent.map_err(|error| OTelSdkError::InternalFailure(format!("jaeger: {error}")))
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.process = model::process(resource);
    }
}
