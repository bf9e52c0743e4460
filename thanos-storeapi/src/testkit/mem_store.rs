//! A store over series in memory: simple on purpose, the model that other stores are compared with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use thanos_core::chunk::SeriesChunk;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, LabelsBuilder, Matcher};
use thanos_core::query::{Missing, SeriesBatchBuilder, SeriesEvent, SeriesStream};
use thanos_core::time::TimeRange;

use super::faults::{Fault, Faults};
use crate::apis::Offers;
use crate::shard::ShardFilter;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, Store, StoreInfo,
    TsdbInfo,
};
use crate::tenant::TenantId;

/// One series of a [`MemStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemSeries {
    /// The labels, without external labels.
    pub labels: Labels,
    /// The chunks, sorted by time.
    pub chunks: Vec<SeriesChunk>,
}

/// A [`Store`] over series in memory that can be told to misbehave and that notes what it was asked.
#[derive(Debug, Default)]
pub struct MemStore {
    external_labels: Labels,
    series: Vec<MemSeries>,
    batch_series: usize,
    supports_sharding: bool,
    supports_projections: bool,
    supports_without_replica_labels: bool,
    warnings: Vec<String>,
    missing: Vec<Missing>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<SeriesRequest>>,
    tenants: Mutex<Vec<TenantId>>,
    open_streams: Arc<AtomicUsize>,
    sent_events: Arc<AtomicUsize>,
}

impl MemStore {
    /// Returns a store of `series`, all of which carry `external_labels`.
    pub fn new(external_labels: Labels, series: Vec<MemSeries>) -> Self {
        Self {
            external_labels,
            series,
            batch_series: 2,
            supports_projections: false,
            supports_sharding: true,
            supports_without_replica_labels: true,
            ..Self::default()
        }
    }

    /// Sets the faults it starts with.
    #[must_use]
    pub fn with_faults(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.set_faults(faults);
        self
    }

    /// Makes it send `warning` with every answer.
    #[must_use]
    pub fn with_warning(mut self, warning: &str) -> Self {
        self.warnings.push(warning.to_owned());
        self
    }

    /// Makes it declare `missing` with every answer.
    #[must_use]
    pub fn with_missing(mut self, missing: Missing) -> Self {
        self.missing.push(missing);
        self
    }

    /// Makes it ignore shards, as stores that do not announce sharding do.
    #[must_use]
    pub fn without_sharding(mut self) -> Self {
        self.supports_sharding = false;
        self
    }

    /// Makes it ignore replica labels, as stores that do not announce their removal do.
    #[must_use]
    pub fn without_replica_label_removal(mut self) -> Self {
        self.supports_without_replica_labels = false;
        self
    }

    /// Says that it honours projections.
    #[must_use]
    pub fn with_projections(mut self) -> Self {
        self.supports_projections = true;
        self
    }

    /// Sets how many series a batch holds.
    #[must_use]
    pub fn with_batch_series(mut self, batch_series: usize) -> Self {
        self.batch_series = batch_series.max(1);
        self
    }

    /// Replaces the faults; streams that are open keep theirs.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.faults.lock() = Faults(faults.into_iter().collect());
    }

    /// Returns the number of series calls and streams that have neither ended nor been dropped.
    pub fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Acquire)
    }

    /// Returns the number of events that streams were asked for so far.
    pub fn sent_events(&self) -> usize {
        self.sent_events.load(Ordering::Acquire)
    }

    /// Returns the series requests so far.
    pub fn requests(&self) -> Vec<SeriesRequest> {
        self.requests.lock().clone()
    }

    /// Returns the tenants of all calls so far.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.tenants.lock().clone()
    }

    fn faults(&self) -> Faults {
        self.faults.lock().clone()
    }

    /// Returns the series with all their labels that match and have data in `range`.
    fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<SeriesChunk>)> {
        let mut found = Vec::new();
        for series in &self.series {
            let mut labels = LabelsBuilder::from_labels(series.labels.as_ref());
            for (name, value) in self.external_labels.iter() {
                labels.set(&name, &value);
            }
            let labels = labels.build();
            let mut chunks = series.chunks.clone();
            chunks.retain(|chunk| !range.is_empty() && chunk.time_range().overlaps(range));
            let matches = matchers.iter().all(|m| m.matches_labels(labels.as_ref()));
            if matches && !chunks.is_empty() {
                found.push((labels, chunks));
            }
        }
        found
    }

    fn answer(&self, request: &SeriesRequest) -> Vec<(Labels, Vec<SeriesChunk>)> {
        let mut found = self.matching(&request.matchers, request.range);
        if self.supports_without_replica_labels {
            for (labels, _) in &mut found {
                *labels = without(labels, &request.without_replica_labels);
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        if self.supports_sharding
            && let Some(mut filter) = request.shard.as_ref().and_then(ShardFilter::new)
        {
            found.retain(|(labels, _)| filter.keeps(labels.as_ref()));
        }
        if let Some(last) = last_within_limit(&found, request.limit) {
            found.retain(|(labels, _)| *labels <= last);
        }
        if request.skip_chunks {
            found.iter_mut().for_each(|(_, chunks)| chunks.clear());
        }
        found
    }

    fn events(&self, request: &SeriesRequest, faults: &Faults) -> Vec<SeriesEvent> {
        let mut series = self.answer(request);
        if faults.has(&Fault::Unsorted) {
            series.reverse();
        }
        let mut events: Vec<_> = self
            .warnings
            .iter()
            .cloned()
            .map(SeriesEvent::Warning)
            .collect();
        events.extend(self.missing.iter().cloned().map(SeriesEvent::Missing));
        for part in series.chunks(self.batch_series) {
            let mut batch = SeriesBatchBuilder::new();
            for (labels, chunks) in part {
                batch.push(labels.as_ref(), chunks.iter().cloned());
            }
            events.push(SeriesEvent::Batch(batch.finish()));
        }
        events
    }

    fn label_sets(&self, matchers: &[Matcher], range: TimeRange, drop: &[String]) -> Vec<Labels> {
        let found = self.matching(matchers, range);
        found
            .iter()
            .map(|(labels, _)| without(labels, drop))
            .collect()
    }

    fn labels_response(&self, values: BTreeSet<String>, limit: u64) -> LabelsResponse {
        let limit = if limit == 0 {
            usize::MAX
        } else {
            usize::try_from(limit).unwrap_or(usize::MAX)
        };
        let mut response = LabelsResponse {
            values: values.into_iter().take(limit).collect(),
            warnings: self.warnings.clone(),
            ..LabelsResponse::default()
        };
        for missing in &self.missing {
            response.completeness.add(missing.clone());
        }
        response
    }
}

fn without(labels: &Labels, names: &[String]) -> Labels {
    LabelsBuilder::from_labels(labels.as_ref())
        .retain(|name| !names.iter().any(|gone| gone == name))
        .build()
}

/// Returns the label set of the last series of a sorted answer that `limit` lets through.
fn last_within_limit(series: &[(Labels, Vec<SeriesChunk>)], limit: u64) -> Option<Labels> {
    let distinct: BTreeSet<_> = series.iter().map(|(labels, _)| labels).collect();
    let place = usize::try_from(limit.checked_sub(1)?).ok()?;
    distinct.into_iter().nth(place).cloned()
}

/// Counts itself as an open stream until it is dropped.
#[derive(Debug)]
struct OpenStream(Arc<AtomicUsize>);

impl OpenStream {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a series stream is going to do.
#[derive(Debug)]
struct Script {
    events: std::vec::IntoIter<SeriesEvent>,
    sent: usize,
    sent_by_all: Arc<AtomicUsize>,
    faults: Faults,
    _open: OpenStream,
}

impl Script {
    async fn next(mut self) -> Result<Option<(SeriesEvent, Self)>> {
        self.faults.on_event(self.sent).await?;
        self.sent += 1;
        self.sent_by_all.fetch_add(1, Ordering::AcqRel);
        Ok(self.events.next().map(|event| (event, self)))
    }
}

#[async_trait]
impl Store for MemStore {
    async fn info(&self) -> Result<StoreInfo> {
        self.faults().on_info().await?;
        let chunks = || self.series.iter().flat_map(|series| &series.chunks);
        let min = chunks().map(|chunk| chunk.min_time).min();
        let max = chunks().map(|chunk| chunk.max_time).max();
        let tsdb = min.zip(max).map(|(min, max)| TsdbInfo {
            external_labels: self.external_labels.clone(),
            range: TimeRange { min, max },
        });
        Ok(StoreInfo {
            component: "store".into(),
            tsdbs: tsdb.into_iter().collect(),
            supports_sharding: self.supports_sharding,
            supports_without_replica_labels: self.supports_without_replica_labels,
            supports_projections: self.supports_projections,
            offers: Offers::default(),
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        self.tenants.lock().push(request.tenant.clone());
        self.requests.lock().push(request.clone());
        let (faults, open) = (self.faults(), OpenStream::new(&self.open_streams));
        faults.on_start().await?;
        if request.matchers.is_empty() {
            return Err(Error::invalid("no matchers specified"));
        }
        let script = Script {
            events: self.events(&request, &faults).into_iter(),
            sent: 0,
            sent_by_all: Arc::clone(&self.sent_events),
            faults,
            _open: open,
        };
        Ok(stream::try_unfold(script, Script::next).boxed())
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        self.tenants.lock().push(request.tenant.clone());
        self.faults().on_start().await?;
        let sets = self.label_sets(
            &request.matchers,
            request.range,
            &request.without_replica_labels,
        );
        let names = sets
            .iter()
            .flat_map(|labels| labels.iter().map(|(name, _)| name.into_owned()));
        Ok(self.labels_response(names.collect(), request.limit))
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        self.tenants.lock().push(request.tenant.clone());
        self.faults().on_start().await?;
        if request.label.is_empty() {
            return Err(Error::invalid("label name parameter cannot be empty"));
        }
        let sets = self.label_sets(
            &request.matchers,
            request.range,
            &request.without_replica_labels,
        );
        let values = sets.iter().filter_map(|labels| labels.get(&request.label));
        Ok(self.labels_response(
            values.map(|value| value.into_owned()).collect(),
            request.limit,
        ))
    }
}
