//! Series as a Kubernetes cluster has them: many pods, each with the same metrics under long labels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::block::{BlockId, BlockWriter, BlockWriterOptions};
use crate::chunk::{SeriesChunk, XorEncoder};
use crate::labels::Labels;
use crate::time::Timestamp;

use super::TestRandom;

/// The samples after which Prometheus cuts a chunk.
const CHUNK_SAMPLES: usize = 120;
/// The series of one pod.
const POD_SERIES: usize = 100;

/// How much data to generate, and when it lies.
#[derive(Debug, Clone)]
pub struct K8sSpec {
    /// The number of series.
    pub series: usize,
    /// The number of samples of each.
    pub samples: usize,
    /// The time of the first sample.
    pub start: Timestamp,
    /// The time between two samples.
    pub step_ms: i64,
    /// What the values are made from.
    pub seed: u64,
}

impl Default for K8sSpec {
    /// A thousand series over two hours at 15 seconds.
    fn default() -> Self {
        Self {
            series: 1000,
            samples: 480,
            start: Timestamp::from_millis(1_793_491_200_000),
            step_ms: 15_000,
            seed: 1,
        }
    }
}

impl K8sSpec {
    /// Returns the label sets of all series, sorted.
    pub fn labels(&self) -> Vec<Labels> {
        let mut labels: Vec<Labels> = (0..self.series).map(series_labels).collect();
        labels.sort_unstable();
        labels
    }

    /// Returns the chunks of the series with this number: every third is a gauge, the others are counters.
    pub fn chunks(&self, number: usize) -> Vec<SeriesChunk> {
        let mut random = TestRandom::new(self.seed ^ (number as u64).wrapping_mul(0x1000_0001));
        let is_gauge = number.is_multiple_of(3);
        // Targets are scraped at different moments of the interval, and a few milliseconds late.
        let offset_ms = signed(random.below(self.step_ms.unsigned_abs()));
        let mut value = (random.below(1 << 20)) as f64;
        let mut chunks = Vec::new();
        let mut encoder = XorEncoder::new();
        let mut first = self.start;
        for i in 0..self.samples {
            let late_ms = signed(random.below(8));
            let time =
                self.start + (offset_ms + late_ms + self.step_ms * i64::try_from(i).unwrap_or(0));
            if encoder.num_samples() == 0 {
                first = time;
            }
            encoder.append(time, value);
            value = next_value(value, is_gauge, &mut random);
            if encoder.num_samples() == CHUNK_SAMPLES || i + 1 == self.samples {
                let full = std::mem::take(&mut encoder).finish();
                chunks.push(SeriesChunk::raw(first, time, full));
            }
        }
        chunks
    }

    /// Writes a block of all series into the database directory `parent` and returns its directory.
    ///
    /// # Panics
    ///
    /// When the block can not be written.
    pub fn write_block(&self, parent: &Path) -> PathBuf {
        let labels = self.labels();
        let id = BlockId::from_parts(self.start, u128::from(self.seed));
        let mut writer = BlockWriter::create(parent, BlockWriterOptions::new(id), symbols(&labels))
            .expect("the directory can be written to");
        for (number, labels) in labels.iter().enumerate() {
            writer
                .add_series(labels.as_ref(), &self.chunks(number))
                .expect("generated series are in order");
        }
        writer.finish().expect("the directory can be written to");
        parent.join(id.to_string())
    }
}

/// Returns all names and values of `labels`, sorted.
pub(super) fn symbols(labels: &[Labels]) -> BTreeSet<String> {
    let mut symbols = BTreeSet::new();
    for (name, value) in labels.iter().flat_map(Labels::iter) {
        for text in [name, value] {
            if !symbols.contains(&*text) {
                symbols.insert(text.into_owned());
            }
        }
    }
    symbols
}

fn signed(small: u64) -> i64 {
    i64::try_from(small).unwrap_or(0)
}

fn next_value(value: f64, is_gauge: bool, random: &mut TestRandom) -> f64 {
    match (is_gauge, random.below(4)) {
        (true, _) => value + random.unit() - 0.5,
        (false, 0) => value,
        (false, _) => value + random.below(100) as f64,
    }
}

fn series_labels(number: usize) -> Labels {
    const NAMESPACES: [&str; 6] = [
        "default",
        "kube-system",
        "monitoring",
        "payments",
        "search",
        "web",
    ];
    const METRICS: [&str; 10] = [
        "container_cpu_usage_seconds_total",
        "container_fs_reads_bytes_total",
        "container_memory_rss",
        "container_memory_working_set_bytes",
        "container_network_receive_bytes_total",
        "container_network_transmit_bytes_total",
        "container_processes",
        "kube_pod_container_status_restarts_total",
        "kube_pod_status_ready",
        "process_open_fds",
    ];
    let (pod, series) = (number / POD_SERIES, number % POD_SERIES);
    let namespace = NAMESPACES[pod % NAMESPACES.len()];
    let pod_hash = TestRandom::new(pod as u64).next_u64();
    let pod_name = format!("{namespace}-app-{}-{:010x}", pod / 6, pod_hash >> 24);
    let node = format!(
        "ip-10-0-{}-{}.eu-central-1.compute.internal",
        pod / 200,
        pod % 200
    );
    let container = format!("container-{}", series / METRICS.len());
    Labels::from_pairs([
        ("__name__", METRICS[series % METRICS.len()]),
        ("cluster", "eu-1"),
        ("container", &container),
        ("instance", &format!("{node}:10250")),
        ("job", "kubelet"),
        ("namespace", namespace),
        ("node", &node),
        ("pod", &pod_name),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;
    use crate::chunk;
    use crate::query::Select;
    use crate::testkit::TempDir;

    #[test]
    fn labels_are_sorted_and_unique() {
        let spec = K8sSpec {
            series: 2500,
            ..K8sSpec::default()
        };
        let labels = spec.labels();
        assert_eq!(labels.len(), 2500);
        assert!(labels.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_written_block_holds_the_series() {
        let dir = TempDir::new("k8s-block");
        let spec = K8sSpec {
            series: 300,
            samples: 130,
            ..K8sSpec::default()
        };
        let block = Block::open(&spec.write_block(dir.path())).unwrap();
        let stats = &block.meta().stats;
        assert_eq!((stats.num_series, stats.num_chunks), (300, 600));
        assert_eq!(stats.num_samples, 300 * 130);
        let batches = block.select(&Select::default()).unwrap();
        let labels = spec.labels();
        let mut number = 0;
        for batch in batches.map(Result::unwrap) {
            for series in batch.iter() {
                assert_eq!(series.labels, labels[number].as_ref());
                assert_eq!(series.chunks, spec.chunks(number));
                number += 1;
            }
        }
        assert_eq!(number, 300);
    }

    #[test]
    fn chunks_hold_the_samples_in_order() {
        let spec = K8sSpec::default();
        for number in [0, 1, 999] {
            let chunks = spec.chunks(number);
            let mut times = Vec::new();
            for part in &chunks {
                let samples = chunk::samples(part.get(chunk::Aggregate::Raw).unwrap()).unwrap();
                assert_eq!(samples.times().first(), Some(&part.min_time.as_millis()));
                assert_eq!(samples.times().last(), Some(&part.max_time.as_millis()));
                times.extend_from_slice(samples.times());
            }
            assert_eq!((chunks.len(), times.len()), (4, spec.samples));
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(spec.chunks(number), chunks);
        }
    }
}
