//! What the query API counts: places, selections, and how long queries of which size take.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Args;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use thanos_core::Result;
use thanos_core::query::{LabelQuery, LabelStrings, Queryable, Select, SeriesStream, SourcePlan};
use thanos_promql::admission::{AdmissionCounters, Places};
use thanos_storeapi::gate::GateMetrics;
use thanos_storeapi::limits::SelectLimitMetrics;
use thanos_storeapi::proxy::ProxyCounters;
use thanos_storeapi::queryable::{SelectCounts, StoreQueryable};
use thanos_storeapi::tenant::TenantId;

/// The spans of range queries are sorted into quarters of an hour, halves, hours and so on.
const SPAN_SECONDS: (f64, f64, u16) = (15.0 * 60.0, 2.0, 12);

/// Into which groups queries are sorted by size and duration.
#[derive(Debug, Clone, Args)]
pub struct TelemetryFlags {
    /// The quantiles for exporting metrics about the request duration quantiles.
    #[arg(id = "query.telemetry.request-duration-seconds-quantiles", long = "query.telemetry.request-duration-seconds-quantiles",
        value_name = "SECONDS", value_delimiter = ',', default_values_t = [0.1, 0.25, 0.75, 1.25, 1.75, 2.5, 3.0, 5.0, 10.0])]
    seconds: Vec<f64>,
    /// The quantiles for exporting metrics about the samples count quantiles.
    #[arg(id = "query.telemetry.request-samples-quantiles", long = "query.telemetry.request-samples-quantiles",
        value_name = "SAMPLES", value_delimiter = ',', default_values_t = [100.0, 1e3, 1e4, 1e5, 1e6])]
    samples: Vec<f64>,
    /// The quantiles for exporting metrics about the series count quantiles.
    #[arg(id = "query.telemetry.request-series-seconds-quantiles", long = "query.telemetry.request-series-seconds-quantiles",
        value_name = "SERIES", value_delimiter = ',', default_values_t = [10.0, 100.0, 1e3, 1e4, 1e5])]
    series: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SizeLabels {
    series_le: String,
    samples_le: String,
    tenant: String,
}

#[derive(Debug, Clone)]
struct Durations {
    buckets: Arc<[f64]>,
}

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.buckets.iter().copied())
    }
}

/// The metrics of the API and of what it reads from.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    /// Selections of queries before they begin.
    pub(super) selects: GateMetrics,
    /// Answers of stores that were too large.
    pub(super) limits: SelectLimitMetrics,
    queries: GateMetrics,
    heavy: Arc<AdmissionCounters>,
    proxy: Arc<ProxyCounters>,
    durations: Family<SizeLabels, Histogram, Durations>,
    series_le: Arc<[f64]>,
    samples_le: Arc<[f64]>,
    span: Histogram,
}

impl ApiMetrics {
    /// Returns the metrics of an API over the proxy of `proxy`, sorted as `flags` say; `places` come later.
    pub(super) fn new(flags: &TelemetryFlags, proxy: Arc<ProxyCounters>) -> Self {
        let (first, factor, count) = SPAN_SECONDS;
        Self {
            selects: GateMetrics::default(),
            limits: SelectLimitMetrics::default(),
            queries: GateMetrics::default(),
            heavy: Arc::default(),
            proxy,
            durations: Family::new_with_constructor(Durations {
                buckets: flags.seconds.clone().into(),
            }),
            series_le: flags.series.clone().into(),
            samples_le: flags.samples.clone().into(),
            span: Histogram::new(exponential_buckets(first, factor, count)),
        }
    }

    /// Returns the same with what is counted at `places`.
    pub(super) fn with_places(self, places: &Places) -> Self {
        Self {
            queries: places.gate_metrics().clone(),
            heavy: places.counters(),
            ..self
        }
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let gate = "thanos_query_concurrent_gate_queries";
        self.queries.register(registry, gate, "queries");
        let gate = "thanos_query_concurrent_selects_gate_selects";
        self.selects.register(registry, gate, "selects");
        self.limits.register(registry);
        self.proxy.register(registry);
        registry.register(
            "thanos_store_api_query_duration_seconds",
            "Duration of the Thanos Store API select phase for a query",
            self.durations.clone(),
        );
        registry.register(
            "thanos_query_range_requested_timespan_duration_seconds",
            "A histogram of the query range window in seconds",
            self.span.clone(),
        );
        registry.register_collector(Box::new(Heavy(Arc::clone(&self.heavy))));
    }

    /// Returns what counts the answers that were too large.
    pub fn limits(&self) -> SelectLimitMetrics {
        self.limits.clone()
    }

    /// Counts a range query from its first to its last step.
    pub(super) fn asked_span(&self, span: Duration) {
        self.span.observe(span.as_secs_f64());
    }

    /// Returns `queryable`, which is timed from now on until it is dropped.
    pub(super) fn timed(&self, queryable: StoreQueryable, tenant: &TenantId) -> Timed {
        Timed {
            metrics: self.clone(),
            tenant: tenant.as_str().to_owned(),
            started: Instant::now(),
            queryable,
        }
    }

    fn observe(&self, counts: &SelectCounts, tenant: &str, elapsed: Duration) {
        if [counts.series(), counts.chunks(), counts.samples()].contains(&0) {
            return;
        }
        let labels = SizeLabels {
            series_le: group(counts.series(), &self.series_le),
            samples_le: group(counts.samples(), &self.samples_le),
            tenant: tenant.to_owned(),
        };
        let histogram = self.durations.get_or_create(&labels);
        histogram.observe(elapsed.as_secs_f64());
    }
}

/// Returns the border of the group that `value` falls into. Source: Thanos `pkg/store/telemetry.go`, `findBucket`.
fn group(value: u64, borders: &[f64]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a group is a rough measure")]
    let value = value as f64;
    match borders.iter().find(|border| value <= **border) {
        Some(border) if borders.last().is_some_and(|last| value < *last) => border.to_string(),
        Some(_) | None => "+Inf".to_owned(),
    }
}

/// The data of one query, timed.
#[derive(Debug)]
pub(super) struct Timed {
    metrics: ApiMetrics,
    tenant: String,
    started: Instant,
    queryable: StoreQueryable,
}

#[async_trait]
impl Queryable for Timed {
    async fn select(&self, select: Select) -> Result<SeriesStream> {
        self.queryable.select(select).await
    }

    async fn sources(&self, select: &Select) -> Result<Vec<SourcePlan>> {
        self.queryable.sources(select).await
    }

    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings> {
        self.queryable.label_names(query).await
    }

    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings> {
        self.queryable.label_values(name, query).await
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let (counts, elapsed) = (self.queryable.counts(), self.started.elapsed());
        self.metrics.observe(counts, &self.tenant, elapsed);
    }
}

/// Heavy queries, as metrics.
#[derive(Debug)]
struct Heavy(Arc<AdmissionCounters>);

impl Collector for Heavy {
    fn encode(
        &self,
        mut encoder: DescriptorEncoder<'_>,
    ) -> std::result::Result<(), std::fmt::Error> {
        let counters = &self.0;
        for (name, help, count) in [
            (
                "thanos_query_heavy_queries",
                "Queries that needed more memory than their allowance",
                &counters.heavy,
            ),
            (
                "thanos_query_heavy_queries_refused",
                "Heavy queries that were refused because too many waited",
                &counters.heavy_refused,
            ),
        ] {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            let encoder = encoder.encode_descriptor(name, help, None, count.metric_type())?;
            count.encode(encoder)?;
        }
        for (name, help, count) in [
            (
                "thanos_query_heavy_queries_waiting",
                "Heavy queries that wait for a place",
                &counters.heavy_waiting,
            ),
            (
                "thanos_query_heavy_queries_running",
                "Heavy queries that are evaluated",
                &counters.heavy_running,
            ),
        ] {
            let count = i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            let count = ConstGauge::new(count);
            let encoder = encoder.encode_descriptor(name, help, None, count.metric_type())?;
            count.encode(encoder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a count at a border is in the group of it; one at or over the last border has none.
    #[test]
    fn counts_are_sorted_into_groups() {
        let borders = [10.0, 100.0, 1000.0];
        for (value, expected) in [
            (1, "10"),
            (10, "10"),
            (11, "100"),
            (100, "100"),
            (999, "1000"),
            (1000, "+Inf"),
            (5000, "+Inf"),
        ] {
            assert_eq!(group(value, &borders), expected, "{value}");
        }
        assert_eq!(group(1, &[]), "+Inf");
    }
}
