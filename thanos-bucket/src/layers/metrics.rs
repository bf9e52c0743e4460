//! Thanos' metrics of a bucket.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use thanos_core::time::{Clock, SystemClock};

/// Bounds of the durations in seconds. Source: objstore's `BucketMetrics`.
const DURATION_SECS: [f64; 14] = [
    0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0,
];
/// Bounds of the sizes: 16 of them from 32 KiB to 1 GiB. Source: objstore's `BucketMetrics`.
const TRANSFERRED_BYTES: (f64, f64, u16) = (32_768.0, 2.0, 16);

/// What is done with buckets, as metrics with Thanos' names. Clones are the same metrics.
///
/// Series appear when a bucket is opened with them.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_bucket::{Bucket, layers::BucketMetrics};
///
/// let metrics = BucketMetrics::default();
/// let mut registry = prometheus_client::registry::Registry::default();
/// metrics.register(&mut registry);
/// let store = Arc::new(object_store::memory::InMemory::new());
/// let bucket = Bucket::with_metrics(store, metrics, "blocks");
/// # let _ = bucket;
/// ```
#[derive(Debug, Clone)]
pub struct BucketMetrics {
    operations: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    transferred: Family<Labels, Histogram, fn() -> Histogram>,
    fetched: Family<Labels, Counter>,
    last_upload: Family<BucketLabel, Gauge<f64, AtomicU64>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    bucket: String,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BucketLabel {
    bucket: String,
}

impl Default for BucketMetrics {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_SECS)),
            transferred: Family::new_with_constructor(|| {
                let (first, factor, count) = TRANSFERRED_BYTES;
                Histogram::new(exponential_buckets(first, factor, count))
            }),
            fetched: Family::default(),
            last_upload: Family::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl BucketMetrics {
    /// Returns metrics that take the time of an upload from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_objstore_bucket_operations",
            "Total number of all attempted operations against a bucket",
            self.operations.clone(),
        );
        registry.register(
            "thanos_objstore_bucket_operation_failures",
            "Total number of operations against a bucket that failed, but were not expected to fail in certain way from caller perspective. Those errors have to be investigated",
            self.failures.clone(),
        );
        registry.register(
            "thanos_objstore_bucket_operation_duration_seconds",
            "Duration of successful operations against the bucket per operation - iter operations include time spent on each callback",
            self.durations.clone(),
        );
        registry.register(
            "thanos_objstore_bucket_operation_transferred_bytes",
            "Number of bytes transferred from/to bucket per operation",
            self.transferred.clone(),
        );
        registry.register(
            "thanos_objstore_bucket_operation_fetched_bytes",
            "Total number of bytes fetched from bucket, per operation",
            self.fetched.clone(),
        );
        registry.register(
            "thanos_objstore_bucket_last_successful_upload_time",
            "Second timestamp of the last successful upload to the bucket",
            self.last_upload.clone(),
        );
    }

    pub(super) fn operation(&self, bucket: &str, operation: &'static str) -> OperationMetrics {
        let labels = Labels {
            bucket: bucket.to_owned(),
            operation,
        };
        // As in Thanos, operations that move no contents have no series of bytes.
        let moves = matches!(operation, "get" | "get_range" | "upload");
        OperationMetrics {
            operations: self.operations.get_or_create(&labels).clone(),
            failures: self.failures.get_or_create(&labels).clone(),
            duration: self.durations.get_or_create(&labels).clone(),
            transferred: moves.then(|| self.transferred.get_or_create(&labels).clone()),
            fetched: moves.then(|| self.fetched.get_or_create(&labels).clone()),
        }
    }

    pub(super) fn upload_time(&self, bucket: &str) -> UploadTime {
        let labels = BucketLabel {
            bucket: bucket.to_owned(),
        };
        UploadTime {
            gauge: self.last_upload.get_or_create(&labels).clone(),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// The series of one operation on one bucket, looked up once.
#[derive(Debug, Clone)]
pub(super) struct OperationMetrics {
    operations: Counter,
    failures: Counter,
    duration: Histogram,
    transferred: Option<Histogram>,
    fetched: Option<Counter>,
}

impl OperationMetrics {
    pub(super) fn begin(&self) {
        self.operations.inc();
    }

    pub(super) fn fail(&self) {
        self.failures.inc();
    }

    pub(super) fn fetch(&self, bytes: u64) {
        if let Some(fetched) = &self.fetched {
            fetched.inc_by(bytes);
        }
    }

    pub(super) fn succeed(&self, duration: Duration, bytes: u64) {
        self.duration.observe(duration.as_secs_f64());
        if let Some(transferred) = &self.transferred {
            transferred.observe(bytes as f64);
        }
    }
}

/// When something was last written.
#[derive(Debug, Clone)]
pub(super) struct UploadTime {
    gauge: Gauge<f64, AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl UploadTime {
    pub(super) fn set_to_now(&self) {
        self.gauge.set(self.clock.now().as_millis() as f64 / 1000.0);
    }
}
