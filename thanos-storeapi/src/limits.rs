//! A store whose answers have a limit: `--store.limits.request-series` and `--store.limits.request-samples`.
//!
//! It is the outermost of the wrappers of a component's store: what it counts is what leaves.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use thanos_core::error::{Error, Result};
use thanos_core::query::{SeriesEvent, SeriesStream};

use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SourcePlan, Store,
    StoreInfo,
};

/// As many samples as a chunk counts for.
const SAMPLES_PER_CHUNK: u64 = 120;

/// How much one answer may hold; 0 means any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SelectLimits {
    /// The most series.
    pub series: u64,
    /// The most samples; each chunk counts as 120.
    pub samples: u64,
}

/// Answers that were too large.
#[derive(Debug, Clone, Default)]
pub struct SelectLimitMetrics {
    dropped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl SelectLimitMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        for reason in ["series", "chunks"] {
            // Shown before there is one.
            drop(self.dropped.get_or_create(&[("reason", reason)]));
        }
        registry.register(
            "thanos_store_selects_dropped",
            "Number of select queries that were dropped due to configured limits",
            self.dropped.clone(),
        );
    }
}

/// A store that fails answers that are too large.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_storeapi::limits::{LimitedStore, SelectLimitMetrics, SelectLimits};
/// # use thanos_core::block::Blocks;
/// # use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../thanos-core/testdata/block-1k-2h");
///
/// let store = Arc::new(LocalStore::open(dir.as_ref(), LocalStoreOptions::default())?);
/// let limits = SelectLimits { series: 1000, samples: 0 };
/// let limited = LimitedStore::new(store, limits, SelectLimitMetrics::default());
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LimitedStore {
    store: Arc<dyn Store>,
    limits: SelectLimits,
    metrics: SelectLimitMetrics,
}

impl LimitedStore {
    /// Returns `store` within `limits`.
    pub fn new(store: Arc<dyn Store>, limits: SelectLimits, metrics: SelectLimitMetrics) -> Self {
        Self {
            store,
            limits,
            metrics,
        }
    }
}

/// What has left of an answer.
#[derive(Debug)]
struct Meter {
    limits: SelectLimits,
    metrics: SelectLimitMetrics,
    series: u64,
    samples: u64,
}

impl Meter {
    /// Counts an event.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when there is more than allowed.
    fn count(&mut self, event: &SeriesEvent) -> Result<()> {
        let SeriesEvent::Batch(batch) = event else {
            return Ok(());
        };
        self.series += batch.len() as u64;
        self.samples += batch.chunk_count() as u64 * SAMPLES_PER_CHUNK;
        self.check("series", self.limits.series, self.series)?;
        self.check("samples", self.limits.samples, self.samples)
    }

    fn check(&self, what: &'static str, limit: u64, found: u64) -> Result<()> {
        if limit == 0 || found <= limit {
            return Ok(());
        }
        let reason = if what == "series" { "series" } else { "chunks" };
        self.metrics
            .dropped
            .get_or_create(&[("reason", reason)])
            .inc();
        Err(Error::limit_exceeded(format!(
            "failed to send {what}: limit {limit} violated (got {found})"
        )))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for LimitedStore {
    async fn info(&self) -> Result<StoreInfo> {
        self.store.info().await
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        let series = self.store.series(request).await?;
        if self.limits == SelectLimits::default() {
            return Ok(series);
        }
        let meter = Meter {
            limits: self.limits,
            metrics: self.metrics.clone(),
            series: 0,
            samples: 0,
        };
        let state = Some((series, meter));
        let counted = futures::stream::unfold(state, |state| async move {
            let (mut series, mut meter) = state?;
            let event = series.next().await?;
            let event = event.and_then(|event| meter.count(&event).map(|()| event));
            // An error ends the answer.
            let next = event.is_ok().then_some((series, meter));
            Some((event, next))
        });
        Ok(counted.boxed())
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

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use prometheus_client::encoding::text::encode;
    use thanos_core::ErrorKind;
    use thanos_core::labels::{Labels, Matcher};
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::testkit::{Answer, Dataset, DatasetSeries, conformance};

    fn three_series() -> Dataset {
        let samples = || (0..200).map(|at| (Timestamp::from_millis(at), 1.0));
        let series = ["1", "2", "3"].map(|value| DatasetSeries {
            labels: Labels::from_pairs([("a", "x"), ("b", value)]),
            samples: samples().collect(),
        });
        Dataset::new(Labels::empty(), series.to_vec())
    }

    /// SC-35: what is over a limit fails, and is counted; what is at it does not.
    #[test]
    fn answers_over_a_limit_fail_and_are_counted() {
        for (series, samples, reason) in [
            (2, 0, Some("series")),
            (3, 0, None),
            (0, 719, Some("chunks")),
            (0, 720, None),
            (0, 0, None),
        ] {
            let metrics = SelectLimitMetrics::default();
            let mut registry = Registry::default();
            metrics.register(&mut registry);
            let limits = SelectLimits { series, samples };
            let store = Arc::new(three_series().to_mem_store());
            let store = LimitedStore::new(store, limits, metrics);
            let request = SeriesRequest {
                matchers: vec![Matcher::equal("a", "x")],
                ..SeriesRequest::default()
            };
            let answer = block_on(async { Answer::collect(store.series(request).await?).await });
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            for counted in ["series", "chunks"] {
                let count = u8::from(reason == Some(counted));
                let line =
                    format!("thanos_store_selects_dropped_total{{reason=\"{counted}\"}} {count}");
                assert!(text.contains(&line), "{limits:?}: {line} is not in {text}");
            }
            match answer {
                Ok(answer) => assert_eq!((answer.series.len(), reason), (3, None)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                    assert!(reason.is_some(), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn generous_limits_change_nothing() {
        let limits = SelectLimits {
            series: 1_000_000,
            samples: 1_000_000_000,
        };
        conformance::run(async |data: Dataset| {
            let store = Arc::new(data.to_mem_store());
            let limited = LimitedStore::new(store, limits, SelectLimitMetrics::default());
            Arc::new(limited) as Arc<dyn Store>
        })
        .await;
    }
}
