//! The stream of one store behind a proxy: timed, checked, and brought into the shape the merge needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;
use thanos_core::query::{SeriesBatch, SeriesEvent, SeriesStream, SourceLog, SourceUse};

use super::counters::ProxyCounters;
use super::endpoint::Endpoint;
use super::timeout::{Elapsed, within};
use tracing::{Instrument, Span};

use crate::label_edit::{LabelEdit, edit_and_sort};
use crate::policy::until_error;
use crate::queryable::samples_of;
use crate::shard::ShardFilter;
use crate::store::{SeriesRequest, StoreInfo};

/// What the stream of a store needs besides the request.
#[derive(Debug, Clone)]
pub(super) struct SourceOptions {
    pub(super) frame_timeout: Option<Duration>,
    pub(super) budget: MemoryBudget,
    pub(super) counters: Arc<ProxyCounters>,
}

/// Returns the answer of a store: sorted after replica labels were removed, of the wanted shard only, and with every
/// failure as an error.
pub(super) fn open(
    endpoint: &Arc<Endpoint>,
    info: Option<&StoreInfo>,
    mut request: SeriesRequest,
    options: &SourceOptions,
) -> SeriesStream {
    // A store that did not tell what it can do gets none of the work, which is never wrong.
    let can_shard = info.is_some_and(|info| info.supports_sharding);
    let can_remove = info.is_some_and(|info| info.supports_without_replica_labels);
    let filter = request.shard.as_ref().filter(|_| !can_shard);
    let filter = filter.and_then(ShardFilter::new);
    let remove = if can_remove {
        Vec::new()
    } else {
        request.without_replica_labels.clone()
    };
    if filter.is_some() || !remove.is_empty() {
        // The store would count series that are dropped or joined here.
        request.limit = 0;
    }
    let mut stream = Frames::of(Arc::clone(endpoint), request, options);
    options.counters.asked.inc();
    if !remove.is_empty() {
        options.counters.sorted.inc();
        let edit = LabelEdit::new(&Labels::empty(), &remove);
        stream = edit_and_sort(stream, edit, options.budget.clone());
    }
    stream = in_order(stream, Arc::clone(endpoint));
    match filter {
        Some(filter) => filter.filter_stream(stream),
        None => stream,
    }
}

/// The events of a store; the wait for each is limited.
struct Frames {
    endpoint: Arc<Endpoint>,
    usage: Option<Usage>,
    timeout: Option<Duration>,
    counters: Arc<ProxyCounters>,
    has_sent: bool,
    /// On whose behalf the store is asked, which may be in another task.
    span: Span,
    state: State,
}

/// What a store has given so far; tells the log when it is dropped.
struct Usage {
    log: Arc<SourceLog>,
    started: Instant,
    sum: SourceUse,
}

impl Usage {
    fn new(source: &str, log: Arc<SourceLog>) -> Self {
        Self {
            log,
            started: Instant::now(),
            sum: SourceUse {
                source: source.to_owned(),
                ..SourceUse::default()
            },
        }
    }

    fn add(&mut self, event: &SeriesEvent) {
        self.sum.responses += 1;
        if let SeriesEvent::Batch(batch) = event {
            self.sum.bytes += batch.memory_bytes() as u64;
            self.sum.series += batch.len() as u64;
            self.sum.chunks += batch.chunk_count() as u64;
            self.sum.samples += samples_of(batch);
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.sum.elapsed = self.started.elapsed();
        self.log.add(std::mem::take(&mut self.sum));
    }
}

enum State {
    Ask(Box<SeriesRequest>),
    Read(SeriesStream),
    Ended,
}

impl Frames {
    fn of(
        endpoint: Arc<Endpoint>,
        request: SeriesRequest,
        options: &SourceOptions,
    ) -> SeriesStream {
        let log = request.log.clone();
        let frames = Self {
            usage: log.map(|log| Usage::new(endpoint.name(), log)),
            endpoint,
            timeout: options.frame_timeout,
            counters: Arc::clone(&options.counters),
            has_sent: false,
            span: Span::current(),
            state: State::Ask(Box::new(request)),
        };
        stream::unfold(frames, Self::next).boxed()
    }

    async fn next(mut self) -> Option<(Result<SeriesEvent>, Self)> {
        let event = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return None,
            State::Read(stream) => self.read(stream).await,
            State::Ask(request) => {
                let span = self.span.clone();
                match self.ask(*request).instrument(span).await {
                    Ok(stream) => self.read(stream).await,
                    Err(error) => Some(Err(error)),
                }
            }
        };
        self.count(event.as_ref());
        match &event {
            Some(Ok(event)) => self.usage.iter_mut().for_each(|usage| usage.add(event)),
            // Told before the end is seen: whoever sees it may read the log.
            Some(Err(_)) | None => drop(self.usage.take()),
        }
        event.map(|event| (event, self))
    }

    fn count(&mut self, event: Option<&Result<SeriesEvent>>) {
        if matches!(event, Some(Err(_))) {
            self.counters.failed.inc();
        }
        match event {
            Some(Ok(_)) => self.has_sent = true,
            None | Some(Err(_)) if !self.has_sent => {
                self.counters.empty.inc();
            }
            None | Some(Err(_)) => {}
        }
    }

    async fn ask(&mut self, request: SeriesRequest) -> Result<SeriesStream> {
        let asked = within(self.timeout, self.endpoint.store().series(request)).await;
        let answer = asked.map_err(|elapsed| self.no_data(elapsed))?;
        answer.map_err(|error| error.context(format_args!("fetch series for {}", self.endpoint)))
    }

    async fn read(&mut self, mut stream: SeriesStream) -> Option<Result<SeriesEvent>> {
        match within(self.timeout, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(event))) => {
                self.state = State::Read(stream);
                Some(Ok(event))
            }
            Ok(Some(Err(error))) => {
                let context = format!("receive series from {}", self.endpoint);
                Some(Err(error.context(context)))
            }
            Err(elapsed) => Some(Err(self.no_data(elapsed))),
        }
    }

    fn no_data(&self, waited: Elapsed) -> Error {
        let endpoint = &self.endpoint;
        Error::unavailable(format!(
            "failed to receive any data in {waited} from {endpoint}"
        ))
    }
}

/// Ends the stream with an error where a series is out of order: merging it would silently split or lose series.
fn in_order(stream: SeriesStream, endpoint: Arc<Endpoint>) -> SeriesStream {
    let mut last_key = Vec::new();
    let mut check = move |batch: &SeriesBatch| {
        for (index, series) in batch.iter().enumerate() {
            let is_behind = if index == 0 {
                series.labels.key() < last_key.as_slice()
            } else {
                series.labels < batch.get(index - 1).labels
            };
            if is_behind {
                let labels = series.labels;
                return Err(Error::corrupt(format!(
                    "receive series from {endpoint}: series {labels} is not in order"
                )));
            }
        }
        if let Some(last) = batch.len().checked_sub(1) {
            last_key.clear();
            last_key.extend_from_slice(batch.get(last).labels.key());
        }
        Ok(())
    };
    let checked = stream.map(move |event| match event {
        Ok(SeriesEvent::Batch(batch)) => check(&batch).map(|()| SeriesEvent::Batch(batch)),
        other => other,
    });
    until_error(checked.boxed())
}
