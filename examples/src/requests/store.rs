//! A store around a store that counts how large the answers to `Series` are, as Thanos' servers do (Go
//! pkg/store/telemetry.go).

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_core::Result;
use thanos_core::query::{SeriesEvent, SeriesStream};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SourcePlan, Store,
    StoreInfo,
};

const SERIES: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
const CHUNKS: [f64; 8] = [1.0, 100.0, 1e3, 1e4, 1e5, 1e7, 1e8, 1e9];

/// How large the answers to `Series` were, and how many are under way.
#[derive(Debug, Clone)]
pub(super) struct AnswerMetrics {
    series: Histogram,
    chunks: Histogram,
    pending: Gauge,
}

impl Default for AnswerMetrics {
    fn default() -> Self {
        Self {
            series: Histogram::new(SERIES),
            chunks: Histogram::new(CHUNKS),
            pending: Gauge::default(),
        }
    }
}

impl AnswerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("thanos_store_server");
        let help = "Number of requested series for Series calls";
        registry.register("series_requested", help, self.series.clone());
        let help = "Number of requested chunks for Series calls";
        registry.register("chunks_requested", help, self.chunks.clone());
        let help = "Number of pending series requests";
        registry.register("pending_series_requests", help, self.pending.clone());
    }
}

/// A store whose answers are counted.
#[derive(Debug)]
pub(super) struct CountedStore {
    store: Arc<dyn Store>,
    metrics: AnswerMetrics,
}

impl CountedStore {
    /// Returns `store`, whose answers `metrics` counts.
    pub(super) fn new(store: Arc<dyn Store>, metrics: AnswerMetrics) -> Self {
        Self { store, metrics }
    }
}

/// An answer under way; it counts when it has come to its end, and not when it failed.
struct Answer {
    metrics: AnswerMetrics,
    series: usize,
    chunks: usize,
}

impl Answer {
    fn start(metrics: &AnswerMetrics) -> Self {
        metrics.pending.inc();
        Self {
            metrics: metrics.clone(),
            series: 0,
            chunks: 0,
        }
    }

    fn add(&mut self, event: &SeriesEvent) {
        if let SeriesEvent::Batch(batch) = event {
            self.series += batch.len();
            let chunks = batch.iter().map(|series| series.chunks.len());
            self.chunks += chunks.sum::<usize>();
        }
    }

    fn end(&self) {
        self.metrics.series.observe(self.series as f64);
        self.metrics.chunks.observe(self.chunks as f64);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.metrics.pending.dec();
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for CountedStore {
    async fn info(&self) -> Result<StoreInfo> {
        self.store.info().await
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        let answer = Answer::start(&self.metrics);
        let events = self.store.series(request).await?;
        let state = (events, answer, false);
        let counted =
            futures::stream::unfold(state, |(mut events, mut answer, failed)| async move {
                let event = events.next().await;
                match &event {
                    Some(Ok(event)) => answer.add(event),
                    None if !failed => answer.end(),
                    Some(Err(_)) | None => {}
                }
                let failed = failed || matches!(event, Some(Err(_)));
                Some((event?, (events, answer, failed)))
            });
        Ok(Box::pin(counted))
    }

    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        self.store.sources(request).await
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        self.store.label_names(request).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        self.store.label_values(request).await
    }
}
