//! Wide blocks: very many series with few samples, as a large Kubernetes cluster has them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thanos_core::block::{BlockId, BlockWriter, BlockWriterOptions, ThanosMeta};
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::testkit::TestRandom;
use thanos_core::time::Timestamp;

/// The time of the first sample of a wide block.
pub const WIDE_START: Timestamp = Timestamp::from_millis(1_793_491_200_000);
/// The time between the samples of consecutive series: the needle of [`write_wide`] is found by its time.
const SERIES_STEP_MS: i64 = 1;
/// The name of the series of [`write_wide_counters`].
pub const WIDE_COUNTERS: &str = "container_metric_total";
/// How long the series of [`write_wide_counters`] are, in milliseconds.
pub const WIDE_COUNTERS_MS: i64 = 3_600_000;
/// The time between their samples.
const SCRAPE_MS: i64 = 30_000;

/// Writes a block of `series` series with 12 labels and one chunk of one sample each into `parent`.
///
/// Series number `n` has its sample `n` milliseconds after [`WIDE_START`].
///
/// # Panics
///
/// When the block cannot be written.
pub fn write_wide(parent: &Path, series: usize) -> PathBuf {
    let options = BlockWriterOptions::new(BlockId::from_parts(WIDE_START, 1));
    write(parent, options, (0..series).map(wide_labels), |number| {
        let after = i64::try_from(number).expect("a small number") * SERIES_STEP_MS;
        vec![(WIDE_START + after, 1.0)]
    })
}

/// Writes a block of the wide series with these numbers into `parent`, as a sidecar with the external label `store` would
/// have uploaded it: counters with a sample every 30 seconds for an hour, in one chunk. All are called
/// [`WIDE_COUNTERS`], so that there are rates of all; the label `service` tells them apart.
///
/// # Panics
///
/// When the block cannot be written.
pub fn write_wide_counters(parent: &Path, store: &str, series: Range<usize>) -> PathBuf {
    let id = BlockId::from_parts(WIDE_START, series.start as u128);
    let options = BlockWriterOptions {
        time: Some((WIDE_START, WIDE_START + WIDE_COUNTERS_MS)),
        thanos: Some(ThanosMeta {
            labels: [("store".to_owned(), store.to_owned())].into(),
            source: "sidecar".to_owned(),
            ..ThanosMeta::default()
        }),
        ..BlockWriterOptions::new(id)
    };
    let labels = series.map(|number| {
        let mut labels = LabelsBuilder::from_labels(wide_labels(number).as_ref());
        labels.set("__name__", WIDE_COUNTERS);
        labels.set("service", &format!("kubelet-{:02}", number % 50));
        labels.build()
    });
    write(parent, options, labels, |number| {
        let mut random = TestRandom::new(number as u64);
        let first = WIDE_START + i64::try_from(random.below(30_000)).expect("a small number");
        let mut value = random.below(1000) as f64;
        let samples = 0..WIDE_COUNTERS_MS / SCRAPE_MS;
        let sample = |scrape: i64| {
            value += random.below(50) as f64;
            (first + scrape * SCRAPE_MS, value)
        };
        samples.map(sample).collect()
    })
}

/// Writes a block of these series, whose samples `samples` makes from their place in label order.
fn write(
    parent: &Path,
    options: BlockWriterOptions,
    labels: impl Iterator<Item = Labels>,
    samples: impl Fn(usize) -> Vec<(Timestamp, f64)>,
) -> PathBuf {
    let mut labels: Vec<Labels> = labels.collect();
    labels.sort_unstable();
    let mut symbols = BTreeSet::new();
    for (name, value) in labels.iter().flat_map(Labels::iter) {
        for text in [name, value] {
            if !symbols.contains(&*text) {
                symbols.insert(text.into_owned());
            }
        }
    }
    let dir = parent.join(options.id.to_string());
    let mut writer =
        BlockWriter::create(parent, options, symbols).expect("the directory can be written to");
    for (number, labels) in labels.iter().enumerate() {
        let samples = samples(number);
        let mut encoder = XorEncoder::new();
        for (time, value) in &samples {
            encoder.append(*time, *value);
        }
        let [first, last] = [0, samples.len() - 1].map(|at| samples[at].0);
        let chunk = SeriesChunk::raw(first, last, encoder.finish());
        writer
            .add_series(labels.as_ref(), &[chunk])
            .expect("series are in order");
    }
    writer.finish().expect("the directory can be written to");
    dir
}

/// 50 metrics of pods in 20 namespaces on 500 nodes.
fn wide_labels(number: usize) -> Labels {
    let (pod, metric) = (number / 50, number % 50);
    let node = pod % 500;
    let namespace = pod % 20;
    let app = pod / 20;
    Labels::from_pairs([
        (
            "__name__",
            format!("container_metric_{metric:02}_total").as_str(),
        ),
        ("cluster", "eu-central-1-a"),
        ("container", ["main", "sidecar", "init"][pod % 3]),
        ("endpoint", "https-metrics"),
        ("id", &format!("/kubepods/burstable/pod{pod:08x}")),
        (
            "image",
            &format!("registry.example/app-{}:v1.{}", app % 300, app % 7),
        ),
        (
            "instance",
            &format!("10.0.{}.{}:10250", node / 250, node % 250),
        ),
        ("job", "kubelet"),
        ("namespace", &format!("team-{namespace:02}")),
        ("node", &format!("worker-{node:03}.eu-central-1.internal")),
        ("pod", &format!("app-{}-{pod:06x}", app % 300)),
        ("service", "kube-prometheus-kubelet"),
    ])
}
