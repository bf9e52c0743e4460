//! Samples that tombstones hide: taken out of the stream of a block, which stays as it is in the bucket.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use thanos_core::Result;
use thanos_core::block::{Intervals, without_deleted};
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream};
use thanos_core::time::TimeRange;

use super::block::GatewayBlock;
use crate::compute::Compute;
use crate::tombstones::{Tombstone, selects};

/// What is hidden of the series of one block.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    /// Selectors within the block, and the whole windows that they hide.
    hidden: Arc<[(Vec<Matcher>, Intervals)]>,
    /// The times that the request wants of the block.
    wanted: TimeRange,
}

impl Mask {
    /// Returns what `tombstones` hide of `block`, or nothing when all of it may be seen by a request for `range`.
    pub(super) fn of(
        tombstones: &[Arc<Tombstone>],
        block: &GatewayBlock,
        range: TimeRange,
    ) -> Option<Self> {
        let (covered, resolution_ms) = (block.time_range(), block.resolution_ms());
        let wanted = TimeRange {
            min: covered.min.max(range.min),
            max: covered.max.min(range.max),
        };
        let mut hidden = Vec::new();
        for tombstone in tombstones {
            let times = Intervals::from_ranges(vec![tombstone.range]).widened(resolution_ms);
            if times.overlapping(wanted).next().is_none() {
                continue;
            }
            let selectors = tombstone.selectors_within(block.external_labels().as_ref());
            hidden.extend(
                selectors
                    .into_iter()
                    .map(|selector| (selector, times.clone())),
            );
        }
        (!hidden.is_empty()).then(|| Self {
            hidden: hidden.into(),
            wanted,
        })
    }

    /// Reports whether whole series may be hidden, not only some of their samples.
    pub(super) fn hides_series(&self) -> bool {
        let mut times = self.hidden.iter().map(|(_, times)| times);
        times.len() > 1 || times.any(|times| times.covers(self.wanted))
    }

    /// Returns the hidden times of a series, which has the labels that its block has.
    fn of_series(&self, labels: LabelsRef<'_>) -> Option<Intervals> {
        let mut times: Option<Intervals> = None;
        for (selector, intervals) in &*self.hidden {
            if selects(selector, labels) {
                let all = times.get_or_insert_default();
                intervals.ranges().iter().for_each(|range| all.add(*range));
            }
        }
        times
    }

    /// Returns what may be seen of `batch`.
    fn apply(&self, mut batch: SeriesBatch, has_chunks: HasChunks) -> Result<Option<SeriesBatch>> {
        let hidden: Vec<Option<Intervals>> = (batch.iter())
            .map(|series| self.of_series(series.labels))
            .collect();
        if hidden.iter().all(Option::is_none) {
            return Ok(Some(batch));
        }
        let mut seen = SeriesBatchBuilder::new();
        for (index, hidden) in hidden.iter().enumerate() {
            let mut chunks: Vec<_> = batch.take_chunks(index).collect();
            let is_gone = match (hidden, has_chunks) {
                (None, _) => false,
                (Some(hidden), HasChunks::No) => hidden.covers(self.wanted),
                (Some(hidden), HasChunks::Yes) => {
                    chunks = without_deleted(chunks, hidden)?;
                    chunks.is_empty()
                }
            };
            if !is_gone {
                seen.push(batch.get(index).labels, chunks);
            }
        }
        Ok((!seen.is_empty()).then(|| seen.finish()))
    }
}

/// Whether the series have their chunks. Without them a series is hidden when all the wanted time of its block is: one
/// whose samples happen to lie in hidden times, beside others that may be seen, is still listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HasChunks {
    Yes,
    No,
}

/// Returns the series of a block, which are in label order and without its external labels, as far as `mask` lets them
/// be seen.
pub(super) fn masked(
    series: SeriesStream,
    mask: Mask,
    has_chunks: HasChunks,
    compute: Compute,
) -> SeriesStream {
    let seen = series.try_filter_map(move |event| {
        let (mask, compute) = (mask.clone(), compute.clone());
        async move {
            let SeriesEvent::Batch(batch) = event else {
                return Ok(Some(event));
            };
            let seen = compute.run(move || mask.apply(batch, has_chunks)).await??;
            Ok(seen.map(SeriesEvent::Batch))
        }
    });
    seen.boxed()
}
