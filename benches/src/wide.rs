//! Wide blocks: very many series with few samples, as a large Kubernetes cluster has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thanos_core::block::{BlockId, BlockWriter, BlockWriterOptions};
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

/// The time of the first sample of a wide block.
pub const WIDE_START: Timestamp = Timestamp::from_millis(1_793_491_200_000);
/// The time between the samples of consecutive series: the needle of [`write_wide`] is found by its time.
const SERIES_STEP_MS: i64 = 1;

/// Writes a block of `series` series with 12 labels and one chunk of one sample each into `parent`.
///
/// Series number `n` has its sample `n` milliseconds after [`WIDE_START`].
///
/// # Panics
///
/// When the block cannot be written.
pub fn write_wide(parent: &Path, series: usize) -> PathBuf {
    let mut labels: Vec<Labels> = (0..series).map(wide_labels).collect();
    labels.sort_unstable();
    let mut symbols = BTreeSet::new();
    for (name, value) in labels.iter().flat_map(Labels::iter) {
        for text in [name, value] {
            if !symbols.contains(&*text) {
                symbols.insert(text.into_owned());
            }
        }
    }
    let id = BlockId::from_parts(WIDE_START, 1);
    let mut writer = BlockWriter::create(parent, BlockWriterOptions::new(id), symbols)
        .expect("the directory can be written to");
    for (number, labels) in labels.iter().enumerate() {
        let time = WIDE_START + i64::try_from(number).expect("a small number") * SERIES_STEP_MS;
        let mut encoder = XorEncoder::new();
        encoder.append(time, 1.0);
        let chunk = SeriesChunk::raw(time, time, encoder.finish());
        writer
            .add_series(labels.as_ref(), &[chunk])
            .expect("series are in order");
    }
    writer.finish().expect("the directory can be written to");
    parent.join(id.to_string())
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
