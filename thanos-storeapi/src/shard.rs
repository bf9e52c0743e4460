//! The shard filter: which series belong to one of several shards of a query.
//!
//! ```text
//! shard = xxhash64({ name 0xFF value 0xFF } for the hashed labels, in name order) mod total_shards
//! ```
//!
//! Source: Thanos pkg/store/storepb/shard_info.go. The labels are those of the answer: external labels added,
//! replica labels removed.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use thanos_core::error::Result;
use thanos_core::labels::LabelsRef;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream};
use xxhash_rust::xxh64::xxh64;

use crate::store::ShardInfo;

const SEPARATOR: u8 = 0xFF;

/// Decides for label sets whether they belong to a shard.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_storeapi::shard::ShardFilter;
/// use thanos_storeapi::store::ShardInfo;
///
/// let series = Labels::from_pairs([("__name__", "up"), ("pod", "a")]);
/// let shard = |shard_index| ShardInfo { shard_index, total_shards: 2, by: true, labels: vec!["pod".into()] };
/// let hits = (0..2).filter(|index| ShardFilter::new(&shard(*index)).is_some_and(|mut f| f.keeps(series.as_ref())));
/// assert_eq!(hits.count(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct ShardFilter {
    total_shards: u64,
    shard_index: u64,
    by: bool,
    labels: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl ShardFilter {
    /// Returns the filter for `shard`, or `None` when there is nothing to split: every series belongs to it.
    pub fn new(shard: &ShardInfo) -> Option<Self> {
        (shard.total_shards > 0).then(|| Self {
            total_shards: shard.total_shards,
            shard_index: shard.shard_index,
            by: shard.by,
            labels: shard.labels.iter().cloned().collect(),
            buffer: Vec::new(),
        })
    }

    /// Reports whether a series with `labels` belongs to the shard.
    pub fn keeps(&mut self, labels: LabelsRef<'_>) -> bool {
        self.buffer.clear();
        for (name, value) in labels.iter() {
            if self.labels.contains(&*name) == self.by {
                self.buffer.extend_from_slice(name.as_bytes());
                self.buffer.push(SEPARATOR);
                self.buffer.extend_from_slice(value.as_bytes());
                self.buffer.push(SEPARATOR);
            }
        }
        xxh64(&self.buffer, 0) % self.total_shards == self.shard_index
    }

    /// Returns the series of `stream` that belong to the shard, and everything that is not series.
    pub fn filter_stream(mut self, stream: SeriesStream) -> SeriesStream {
        let filtered = stream.map_ok(move |event| match event {
            SeriesEvent::Batch(batch) => SeriesEvent::Batch(self.filter_batch(&batch)),
            other => other,
        });
        let is_worth_sending = |event: &Result<SeriesEvent>| {
            std::future::ready(!matches!(event, Ok(SeriesEvent::Batch(batch)) if batch.is_empty()))
        };
        Box::pin(filtered.filter(is_worth_sending))
    }

    fn filter_batch(&mut self, batch: &SeriesBatch) -> SeriesBatch {
        let mut kept = SeriesBatchBuilder::new();
        for series in batch.iter() {
            if self.keeps(series.labels) {
                kept.push(series.labels, series.chunks.iter().cloned());
            }
        }
        kept.finish()
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::labels::Labels;

    use super::*;

    fn shard(shard_index: u64, total_shards: u64, by: bool, labels: &[&str]) -> ShardInfo {
        let labels = labels.iter().map(|name| (*name).to_owned()).collect();
        ShardInfo {
            shard_index,
            total_shards,
            by,
            labels,
        }
    }

    fn series(pod: usize, method: &str) -> Labels {
        let pod = format!("pod-{pod}");
        Labels::from_pairs([
            ("__name__", "http"),
            ("pod", pod.as_str()),
            ("method", method),
        ])
    }

    /// Q-40: the union of the shards is the whole and no series is in two.
    #[test]
    fn every_series_belongs_to_exactly_one_shard() {
        for (by, names) in [
            (true, &["pod"][..]),
            (false, &["method"]),
            (false, &[]),
            (true, &[]),
        ] {
            for pod in 0..50 {
                let labels = series(pod, "GET");
                let hits = (0..3).filter(|index| {
                    let mut filter = ShardFilter::new(&shard(*index, 3, by, names)).unwrap();
                    filter.keeps(labels.as_ref())
                });
                assert_eq!(hits.count(), 1, "by={by} {names:?} pod {pod}");
            }
        }
    }

    #[test]
    fn labels_outside_the_hash_do_not_matter() {
        for index in 0..4 {
            for (by, names) in [(true, &["pod"][..]), (false, &["method"])] {
                let mut filter = ShardFilter::new(&shard(index, 4, by, names)).unwrap();
                for pod in 0..20 {
                    assert_eq!(
                        filter.keeps(series(pod, "GET").as_ref()),
                        filter.keeps(series(pod, "POST").as_ref())
                    );
                }
            }
        }
    }

    #[test]
    fn the_hash_is_that_of_the_pairs_ended_by_ff() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        let wanted = xxh64(b"a\xff1\xffb\xff2\xff", 0) % 1000;
        let mut filter = ShardFilter::new(&shard(wanted, 1000, false, &[])).unwrap();
        assert!(filter.keeps(labels.as_ref()));
        let by_name = xxh64(b"b\xff2\xff", 0) % 1000;
        let mut filter = ShardFilter::new(&shard(by_name, 1000, true, &["b"])).unwrap();
        assert!(filter.keeps(labels.as_ref()));
    }

    #[test]
    fn zero_shards_mean_no_filter() {
        assert!(ShardFilter::new(&shard(0, 0, true, &["a"])).is_none());
    }
}
