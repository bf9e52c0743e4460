//! The series of a Prometheus as a store.
//!
//! Series come over remote read. They leave in the order in which they come as long as the labels that are added and
//! removed are labels that no series of the server has; otherwise they are sorted in memory. Label names are asked for
//! from time to time to know which it is; an answer that is out of order all the same fails, and the next are sorted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{METRIC_NAME, MatchOp, Matcher};
use thanos_core::query::{SeriesEvent, SeriesStream};
use thanos_core::time::{Clock, SystemClock, TimeBound, TimeRange, Timestamp};

use super::client::{Parameters, checked};
use super::metrics::PrometheusStoreMetrics;
use super::read::frames::FrameCutter;
use super::read::series::{Order, SeriesReader};
use super::read::stream::StreamedAnswer;
use super::read::{request, samples};
use super::server::{Facts, PrometheusServer};
use crate::apis::Offers;
use crate::join::join_series;
use crate::label_edit::{LabelEdit, add_labels, edit_and_sort, strip_matchers};
use crate::net::http_client::{HttpRequest, HttpResponse};
use crate::shard::ShardFilter;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, Store, StoreInfo,
    TsdbInfo,
};

const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
const SAMPLED: &str = "application/x-protobuf";
/// How long label names are believed.
const NAMES_AGE_MAX_MS: u64 = 30_000;

/// What is done with requests that have matchers on external labels alone, which are all series of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExternalOnly {
    /// They are refused, as by Thanos' sidecar: whoever asks so rarely means it.
    #[default]
    Refuse,
    /// They are answered.
    Answer,
}

/// Settings of a [`PrometheusStore`].
#[derive(Debug, Clone)]
pub struct PrometheusStoreOptions {
    /// The component it announces.
    pub component: String,
    /// Data before this time is not served.
    pub min_time: TimeBound,
    /// What is done with requests for all series.
    pub external_only: ExternalOnly,
    /// What series that must be sorted in memory, frames that come in pieces, and whole answers take it from.
    pub budget: MemoryBudget,
    /// What is counted.
    pub metrics: PrometheusStoreMetrics,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the component answers beside series.
    pub offers: Offers,
}

impl Default for PrometheusStoreOptions {
    fn default() -> Self {
        Self {
            component: "sidecar".into(),
            min_time: TimeBound::At(Timestamp::MIN),
            external_only: ExternalOnly::Refuse,
            budget: MemoryBudget::unlimited(),
            metrics: PrometheusStoreMetrics::default(),
            clock: Arc::new(SystemClock),
            offers: Offers::default(),
        }
    }
}

/// A [`Store`] over a Prometheus server.
///
/// It answers with what [`PrometheusServer::facts`] says; whoever made the server refreshes it. While the server is not
/// up, it does not offer series.
#[derive(Debug)]
pub struct PrometheusStore {
    pub(super) server: PrometheusServer,
    options: PrometheusStoreOptions,
    names: Mutex<Option<(Timestamp, Arc<BTreeSet<String>>)>>,
    disorder: Arc<AtomicBool>,
}

/// What is asked of Prometheus for a request.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) facts: Arc<Facts>,
    /// Those that are left when the external labels have been compared.
    pub(super) matchers: Vec<Matcher>,
    pub(super) range: TimeRange,
}

impl PrometheusStore {
    /// Returns the store of `server`.
    pub fn new(server: PrometheusServer, options: PrometheusStoreOptions) -> Self {
        let client = server.client().clone().with_budget(options.budget.clone());
        Self {
            server: server.with_client(client),
            options,
            names: Mutex::new(None),
            disorder: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Returns the server.
    pub fn server(&self) -> &PrometheusServer {
        &self.server
    }

    /// Returns since when there is data that is served.
    pub fn min_time(&self) -> Timestamp {
        let lowest = self.server.facts().lowest_timestamp;
        let bound = self.options.min_time.at(self.options.clock.now());
        lowest.max(bound)
    }

    /// Returns what to ask, or `None` when the answer is nothing.
    pub(super) fn question(&self, matchers: &[Matcher], range: TimeRange) -> Option<Question> {
        let facts = self.server.facts();
        let matchers = strip_matchers(matchers, &facts.external_labels)?;
        let range = TimeRange {
            min: range.min.max(self.min_time()),
            max: range.max,
        };
        (!range.is_empty()).then_some(Question {
            facts,
            matchers,
            range,
        })
    }

    /// Reports whether adding and removing labels keeps the order of the series that Prometheus sends.
    async fn keeps_order(&self, edit: &LabelEdit) -> bool {
        if self.disorder.load(Ordering::Relaxed) {
            return false;
        }
        if edit.is_empty() {
            return true;
        }
        match self.label_names_known().await {
            Ok(names) => edit.only_adds(names.iter().map(String::as_str)),
            // Old servers do not tell; whatever else it is, the read itself is going to show it.
            Err(_) => false,
        }
    }

    /// Returns the names of all labels of the server, which may be some seconds old.
    async fn label_names_known(&self) -> Result<Arc<BTreeSet<String>>> {
        let now = self.options.clock.now();
        let is_fresh = |then: Timestamp| (now - then).unsigned_abs() < NAMES_AGE_MAX_MS;
        if let Some((then, names)) = &*self.names.lock()
            && is_fresh(*then)
        {
            return Ok(Arc::clone(names));
        }
        let answer = self.server.client().label_names(&[], TimeRange::ALL, 0);
        let names = Arc::new(answer.await?.values.into_iter().collect());
        *self.names.lock() = Some((now, Arc::clone(&names)));
        Ok(names)
    }

    /// Returns the series as Prometheus has them, with their final labels and in order.
    async fn read(&self, question: &Question, edit: LabelEdit) -> Result<SeriesStream> {
        let keeps_order = self.keeps_order(&edit).await;
        let answer = self.remote_read(question).await?;
        let content = answer.header("content-type").unwrap_or_default();
        if content.starts_with(STREAMED) {
            let external = question.facts.external_labels.iter();
            // The server has added them, in their latest form, and ours are going to be added.
            let external = external.map(|(name, _)| name.into_owned()).collect();
            return if keeps_order {
                let series = self.streamed(answer, question, external, Order::ByLabels)?;
                Ok(add_labels(series, edit))
            } else {
                let series = self.streamed(answer, question, Vec::new(), Order::Any)?;
                Ok(edit_and_sort(series, edit, self.options.budget.clone()))
            };
        }
        if content.starts_with(SAMPLED) {
            let series = self.sampled(answer).await?;
            return Ok(edit_and_sort(series, edit, self.options.budget.clone()));
        }
        Err(Error::unavailable(format!(
            "{}: not supported remote read content type: {content}",
            answer.request()
        )))
    }

    async fn remote_read(&self, question: &Question) -> Result<HttpResponse> {
        let client = self.server.client();
        let body = request::encode(question.range, &question.matchers)?;
        let address = client.address("api/v1/read", &Parameters::default());
        let request = HttpRequest::post(address, body)
            .header("Content-Encoding", "snappy")
            .header("Content-Type", "application/x-stream-protobuf")
            .header("X-Prometheus-Remote-Read-Version", "0.1.0");
        checked(client.http().send(request).await?).await
    }

    fn streamed(
        &self,
        answer: HttpResponse,
        question: &Question,
        without: Vec<String>,
        order: Order,
    ) -> Result<SeriesStream> {
        let request = answer.request().to_owned();
        let answer = StreamedAnswer::new(
            answer.into_body(),
            FrameCutter::new(&self.options.budget)?,
            SeriesReader::new(question.range, without, order),
            request,
            self.options.metrics.frames.clone(),
            Arc::clone(&self.disorder),
        );
        Ok(answer.boxed())
    }

    async fn sampled(&self, answer: HttpResponse) -> Result<SeriesStream> {
        let request = answer.request().to_owned();
        let in_context = |error: Error| error.in_file(request.clone());
        let (body, compressed) = answer.collect(&self.options.budget).await?;
        let (message, lease) =
            samples::decompress(&body, &self.options.budget).map_err(in_context)?;
        drop((body, compressed));
        let sampled = samples::read(&message).map_err(in_context)?;
        if sampled.empty_series > 0 {
            let series = sampled.empty_series;
            tracing::warn!(request, series, "found time series without any chunk");
        }
        let events = sampled.batches.into_iter().map(SeriesEvent::Batch).map(Ok);
        // The chunks are no larger than the samples were.
        let events = stream::iter(events).map(move |event| {
            let _held = &lease;
            event
        });
        Ok(events.boxed())
    }

    /// Returns the series without chunks.
    pub(super) async fn labels_only(
        &self,
        question: &Question,
        edit: LabelEdit,
        limit: u64,
    ) -> Result<SeriesStream> {
        // Prometheus' API refuses selectors that match series without labels; remote read takes them.
        if question.matchers.iter().all(Matcher::matches_empty) {
            let series = self.read(question, edit).await?;
            return Ok(series.map(|event| event.map(without_chunks)).boxed());
        }
        let client = self.server.client();
        let answer = client.series(&question.matchers, question.range, limit);
        let (batches, warnings) = answer.await?;
        let warnings = warnings.into_iter().map(SeriesEvent::Warning);
        let events = warnings.chain(batches.into_iter().map(SeriesEvent::Batch));
        let series = stream::iter(events.map(Ok)).boxed();
        Ok(edit_and_sort(series, edit, self.options.budget.clone()))
    }
}

fn without_chunks(event: SeriesEvent) -> SeriesEvent {
    match event {
        SeriesEvent::Batch(batch) => {
            let none = std::iter::repeat_n(0, batch.len());
            SeriesEvent::Batch(batch.with_chunks(Vec::new(), none))
        }
        other => other,
    }
}

#[async_trait]
impl Store for PrometheusStore {
    async fn info(&self) -> Result<StoreInfo> {
        let facts = self.server.facts();
        let tsdb = TsdbInfo {
            external_labels: facts.external_labels.clone(),
            range: TimeRange {
                min: self.min_time(),
                max: Timestamp::MAX,
            },
        };
        // Nothing is known of a server that has not answered yet.
        let tsdbs = match facts.external_labels.is_empty() && !facts.is_up {
            true => Vec::new(),
            false => vec![tsdb],
        };
        Ok(StoreInfo {
            component: self.options.component.clone(),
            tsdbs,
            supports_sharding: true,
            supports_without_replica_labels: true,
            supports_projections: false,
            offers: Offers {
                store: facts.is_up,
                ..self.options.offers
            },
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        if request.matchers.is_empty() {
            return Err(Error::invalid("no matchers specified"));
        }
        let Some(mut question) = self.question(&request.matchers, request.range) else {
            return Ok(stream::empty().boxed());
        };
        if question.matchers.is_empty() {
            if self.options.external_only == ExternalOnly::Refuse {
                return Err(Error::invalid(
                    "no matchers specified (excluding external labels)",
                ));
            }
            // Without any matcher, Prometheus answers with nothing.
            question
                .matchers
                .push(Matcher::new(MatchOp::Regex, METRIC_NAME, ".*")?);
        }
        let edit = LabelEdit::new(
            &question.facts.external_labels,
            &request.without_replica_labels,
        );
        let filter = request.shard.as_ref().and_then(ShardFilter::new);
        let series = if request.skip_chunks {
            // Series that become equal, or belong to another shard, must not take the place of others.
            let one_to_one = filter.is_none() && request.without_replica_labels.is_empty();
            let limit = if one_to_one { request.limit } else { 0 };
            self.labels_only(&question, edit, limit).await?
        } else {
            self.read(&question, edit).await?
        };
        let series = match filter {
            Some(filter) => filter.filter_stream(series),
            None => series,
        };
        Ok(join_series(series, request.limit))
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        self.names_of(&request).await
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        self.values_of(&request).await
    }
}
