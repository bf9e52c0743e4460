//! Calls in which a store panicked, read from the server when metrics are scraped.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use thanos_storeapi::server::ServerCounters;

/// What the gRPC server counts, from when there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Panics(Arc<OnceLock<Arc<ServerCounters>>>);

impl Panics {
    /// Reads from `counters` from now on.
    pub(super) fn read_from(&self, counters: Arc<ServerCounters>) {
        // A process has one gRPC server.
        let _ = self.0.set(counters);
    }
}

impl Collector for Panics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let panics = self.0.get().map_or(0, |counters| counters.panics());
        let counter = ConstCounter::new(panics);
        let encoder = encoder.encode_descriptor(
            "grpc_req_panics_recovered",
            "Total number of gRPC requests recovered from internal panic",
            None,
            counter.metric_type(),
        )?;
        counter.encode(encoder)
    }
}
