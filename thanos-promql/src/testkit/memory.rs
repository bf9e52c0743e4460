//! A [`Queryable`] over series that are given as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use thanos_core::Result;
use thanos_core::chunk::{self, Samples, SeriesChunk};
use thanos_core::labels::{Labels, LabelsRef, Matcher};
use thanos_core::query::{
    LabelQuery, LabelStrings, Missing, Queryable, Select, SeriesBatchBuilder, SeriesEvent,
    SeriesStream,
};
use thanos_core::time::{TimeRange, Timestamp};

/// Series in memory, kept as chunks like in a block.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_promql::testkit::MemoryQueryable;
///
/// let mut data = MemoryQueryable::default();
/// data.push(Labels::from_pairs([("__name__", "up")]), [(0, 1.0), (15_000, 1.0)]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryQueryable {
    series: BTreeMap<Labels, Vec<SeriesChunk>>,
    missing: Vec<Missing>,
}

impl MemoryQueryable {
    /// Adds a series of (milliseconds, value), ascending in time.
    pub fn push(&mut self, labels: Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        let mut columns = Samples::new();
        for (ms, value) in samples {
            columns.push_float(Timestamp::from_millis(ms), value);
        }
        self.push_samples(labels, &columns);
    }

    /// Adds a series of floats, histograms or both, ascending in time; it keeps their start timestamps.
    pub fn push_samples(&mut self, labels: Labels, samples: &Samples) {
        self.push_chunks(labels, chunk::encode(samples));
    }

    /// Adds a series that is encoded already.
    pub fn push_chunks(&mut self, labels: Labels, chunks: Vec<SeriesChunk>) {
        self.series.entry(labels).or_default().extend(chunks);
    }

    /// Lets every answer say that `missing` did not contribute.
    pub fn push_missing(&mut self, missing: Missing) {
        self.missing.push(missing);
    }

    /// Returns this data behind the pointer that engines take.
    pub fn into_queryable(self) -> Arc<dyn Queryable> {
        Arc::new(self)
    }

    fn matching(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> impl Iterator<Item = (LabelsRef<'_>, Vec<SeriesChunk>)> {
        self.series.iter().filter_map(move |(labels, chunks)| {
            let is_match = matchers
                .iter()
                .all(|matcher| matcher.matches_labels(labels.as_ref()));
            let chunks: Vec<SeriesChunk> = chunks
                .iter()
                .filter(|chunk| chunk.time_range().overlaps(range))
                .cloned()
                .collect();
            (is_match && !chunks.is_empty()).then(|| (labels.as_ref(), chunks))
        })
    }
}

#[async_trait]
impl Queryable for MemoryQueryable {
    async fn select(&self, select: Select) -> Result<SeriesStream> {
        let mut events: Vec<Result<SeriesEvent>> = self
            .missing
            .iter()
            .map(|missing| Ok(SeriesEvent::Missing(missing.clone())))
            .collect();
        let mut builder = SeriesBatchBuilder::new();
        for (labels, chunks) in self.matching(&select.matchers, select.range) {
            builder.push(labels, chunks);
            if builder.is_full() {
                events.push(Ok(SeriesEvent::Batch(builder.finish())));
            }
        }
        events.push(Ok(SeriesEvent::Batch(builder.finish())));
        Ok(Box::pin(stream::iter(events)))
    }

    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings> {
        let series = self.matching(&query.matchers, query.range);
        let names = series.flat_map(|(labels, _)| labels.iter().map(|(name, _)| name.into_owned()));
        Ok(sorted(names))
    }

    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings> {
        let series = self.matching(&query.matchers, query.range);
        Ok(sorted(series.filter_map(|(labels, _)| {
            labels.get(name).map(std::borrow::Cow::into_owned)
        })))
    }
}

fn sorted(strings: impl Iterator<Item = String>) -> LabelStrings {
    let unique: BTreeSet<String> = strings.collect();
    LabelStrings {
        values: unique.into_iter().collect(),
        ..LabelStrings::default()
    }
}
