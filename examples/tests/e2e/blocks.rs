//! Small blocks in buckets: one series, ten samples over two hours.

use std::sync::atomic::{AtomicU64, Ordering};

use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::testkit::{BlockData, BlockSpec, Sizes};
use thanos_core::block::BlockId;
use thanos_core::chunk::{Samples, encode};
use thanos_core::labels::Labels;
use thanos_core::testkit::shapes::HistogramSpec;
use thanos_core::time::{Clock, SystemClock, Timestamp, UtcTime};
use tokio::runtime::Runtime;

/// The length of a block, as of those that Prometheus cuts.
const BLOCK_MS: i64 = 2 * 3_600_000;
const SAMPLES: usize = 10;
/// The age of a block that is old enough to be served.
pub(crate) const OLD_MS: i64 = 30 * 60_000;

/// What kind of samples a series has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Float,
    Histogram,
    FloatHistogram,
}

/// A bucket, seen from outside of the processes under test.
pub(crate) struct Outside {
    pub(crate) runtime: Runtime,
    pub(crate) bucket: Bucket,
    /// The first time of all blocks.
    pub(crate) now: Timestamp,
    /// Whether meta.json says how large things are, as that of an uploader does.
    pub(crate) sizes: Sizes,
}

impl Outside {
    pub(crate) fn open(yaml: &str) -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            bucket: BucketConfig::from_yaml(yaml).unwrap().open().unwrap(),
            now: SystemClock.now(),
            sizes: Sizes::Unknown,
        }
    }

    /// Uploads a block of one series, made `age_ms` before now.
    pub(crate) fn upload(
        &self,
        series: &[(&str, &str)],
        kind: Kind,
        external: &[(&str, &str)],
        age_ms: i64,
    ) -> BlockId {
        self.upload_series(
            &[Labels::from_pairs(series.iter().copied())],
            kind,
            external,
            age_ms,
        )
    }

    /// Uploads a block of many series.
    pub(crate) fn upload_series(
        &self,
        series: &[Labels],
        kind: Kind,
        external: &[(&str, &str)],
        age_ms: i64,
    ) -> BlockId {
        self.upload_samples(series, &samples(kind, self.now), external, age_ms)
    }

    /// Uploads a block of many series that have the same samples.
    pub(crate) fn upload_samples(
        &self,
        series: &[Labels],
        samples: &Samples,
        external: &[(&str, &str)],
        age_ms: i64,
    ) -> BlockId {
        let chunks = encode(samples);
        let series: Vec<_> = series
            .iter()
            .map(|labels| (labels.clone(), chunks.clone()))
            .collect();
        let data = BlockData::of_series(&series).unwrap();
        let label = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let spec = BlockSpec {
            id: new_id(self.now + -age_ms),
            labels: external.iter().map(label).collect(),
            sizes: self.sizes,
            ..BlockSpec::default()
        };
        self.runtime
            .block_on(data.upload(&self.bucket, &spec))
            .unwrap();
        spec.id
    }

    /// Removes one object.
    pub(crate) fn delete(&self, object: &str) {
        self.runtime.block_on(self.bucket.delete(object)).unwrap();
    }

    /// Removes a block: its meta.json first, as everybody should.
    pub(crate) fn delete_block(&self, id: BlockId) {
        self.delete(&format!("{id}/meta.json"));
        let directory = id.to_string();
        let objects = self.bucket.objects_under(&directory);
        for (object, _) in self.runtime.block_on(objects).unwrap() {
            self.delete(&object);
        }
    }

    /// A time at which all series have a sample, for a query.
    pub(crate) fn query_time(&self) -> String {
        UtcTime::from_timestamp(self.now + 1000).to_string()
    }
}

fn samples(kind: Kind, start: Timestamp) -> Samples {
    let step_ms = BLOCK_MS / i64::try_from(SAMPLES).unwrap();
    let histograms = HistogramSpec {
        samples: SAMPLES,
        reset_in: 0,
        ..HistogramSpec::default()
    };
    let mut samples = Samples::new();
    let mut time = start;
    for (number, (_, histogram)) in histograms.samples().iter().enumerate() {
        match kind {
            Kind::Float => samples.push_float(time, number as f64),
            Kind::Histogram => samples.push_histogram(time, histogram),
            Kind::FloatHistogram => samples.push_float_histogram(time, &histogram.to_float()),
        }
        time = time + step_ms;
    }
    samples
}

/// Returns an id that says it was made at `created`.
fn new_id(created: Timestamp) -> BlockId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    BlockId::from_parts(created, NEXT.fetch_add(1, Ordering::Relaxed).into())
}
