//! The messages of whole queries.

use std::sync::Arc;
use std::time::Duration;

use thanos_core::error::{Error, Result};
use thanos_core::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Span};
use thanos_core::query::Missing;
use thanos_core::time::{Clock, SystemClock, Timestamp};

use crate::apis::query::{QueryEvent, QueryRequest, QuerySeries, QueryStats, QueryTimes};
use crate::convert::info::{labels_from_pb, labels_to_pb};
use crate::convert::matchers::{matchers_from_pb, matchers_to_pb};
use crate::convert::request::{count_from_pb, count_to_pb, shard_from_pb};
use crate::matchers::MatcherSource;
use crate::pb::prometheus_copy as series_pb;
use crate::pb::thanos as pb;
use crate::store::PartialResponse;
use crate::tenant::TenantId;
use crate::wire::warning_text;
use series_pb::histogram::{Count, ResetHint, ZeroCount};

/// A message of an answer.
pub(crate) trait Answered: prost::Message + Default {
    /// Returns the message of a piece.
    fn of_event(event: QueryEvent, batched: Batched) -> Vec<Self>;

    /// Returns the piece that `peer` sent; nothing for one that this version does not know.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a histogram that is none.
    fn event(self, peer: &str) -> Result<Option<QueryEvent>>;
}

/// Whether the caller takes several series in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batched {
    Yes,
    No,
}

macro_rules! answered {
    ($message:ident, $module:ident) => {
        impl Answered for pb::$message {
            fn of_event(event: QueryEvent, batched: Batched) -> Vec<Self> {
                use pb::$module::Result as Piece;
                let message = |result| Self {
                    result: Some(result),
                };
                match event {
                    QueryEvent::Warning(text) => vec![message(Piece::Warnings(text))],
                    QueryEvent::Missing(missing) => {
                        vec![message(Piece::Warnings(warning_text(&missing)))]
                    }
                    QueryEvent::Stats(stats) => vec![message(Piece::Stats(pb::QueryStats {
                        samples_total: stats.samples_total,
                        peak_samples: stats.peak_samples,
                    }))],
                    QueryEvent::Series(series) if batched == Batched::Yes => {
                        let series = series.into_iter().map(series_to_pb).collect();
                        vec![message(Piece::TimeseriesBatch(pb::TimeSeriesBatch {
                            series,
                        }))]
                    }
                    QueryEvent::Series(series) => series
                        .into_iter()
                        .map(|one| message(Piece::Timeseries(series_to_pb(one))))
                        .collect(),
                }
            }

            fn event(self, peer: &str) -> Result<Option<QueryEvent>> {
                use pb::$module::Result as Piece;
                Ok(match self.result {
                    None => None,
                    Some(Piece::Warnings(text)) => Some(said(text, peer)),
                    Some(Piece::Stats(stats)) => Some(QueryEvent::Stats(QueryStats {
                        samples_total: stats.samples_total,
                        peak_samples: stats.peak_samples,
                    })),
                    Some(Piece::Timeseries(one)) => {
                        Some(QueryEvent::Series(vec![series_from_pb(one)?]))
                    }
                    Some(Piece::TimeseriesBatch(batch)) => {
                        let series = batch.series.into_iter().map(series_from_pb);
                        Some(QueryEvent::Series(series.collect::<Result<_>>()?))
                    }
                })
            }
        }
    };
}

answered!(QueryResponse, query_response);
answered!(QueryRangeResponse, query_range_response);

/// Returns what a warning of `peer` means: data is missing, unless it is about the query alone. A peer may send several
/// warnings as one, so that what names a failure counts as one whatever it begins with.
fn said(text: String, peer: &str) -> QueryEvent {
    let is_about_query = text.starts_with("PromQL warning: ") || text.starts_with("PromQL info: ");
    let failures = [
        "rpc error",
        "remote query",
        "receive series",
        "fetch series",
        "failed",
    ];
    if is_about_query && !failures.iter().any(|failure| text.contains(failure)) {
        return QueryEvent::Warning(text);
    }
    QueryEvent::Missing(Missing {
        source: peer.to_owned(),
        reason: text,
    })
}

fn series_to_pb(series: QuerySeries) -> series_pb::TimeSeries {
    let sample = |(time, value): (Timestamp, f64)| series_pb::Sample {
        value,
        timestamp: time.as_millis(),
    };
    let histograms = series.histograms.into_iter();
    series_pb::TimeSeries {
        labels: labels_to_pb(&series.labels).labels,
        samples: series.floats.into_iter().map(sample).collect(),
        exemplars: Vec::new(),
        histograms: histograms
            .map(|(time, histogram)| histogram_to_pb(time, &histogram))
            .collect(),
    }
}

fn series_from_pb(series: series_pb::TimeSeries) -> Result<QuerySeries> {
    let labels = pb::ZLabelSet {
        labels: series.labels,
    };
    let samples = series.samples.iter();
    let histograms = series.histograms.into_iter().map(histogram_from_pb);
    Ok(QuerySeries {
        labels: labels_from_pb(&labels),
        floats: samples
            .map(|sample| (Timestamp::from_millis(sample.timestamp), sample.value))
            .collect(),
        histograms: histograms.collect::<Result<_>>()?,
    })
}

fn histogram_to_pb(time: Timestamp, histogram: &FloatHistogram) -> series_pb::Histogram {
    let layout = histogram.layout();
    let spans = |spans: &[Span]| {
        let span = |span: &Span| series_pb::BucketSpan {
            offset: span.offset,
            length: span.length,
        };
        spans.iter().map(span).collect()
    };
    series_pb::Histogram {
        sum: histogram.sum,
        schema: layout.schema,
        zero_threshold: layout.zero_threshold,
        negative_spans: spans(&layout.negative_spans),
        negative_deltas: Vec::new(),
        negative_counts: histogram.negative_buckets().to_vec(),
        positive_spans: spans(&layout.positive_spans),
        positive_deltas: Vec::new(),
        positive_counts: histogram.positive_buckets().to_vec(),
        reset_hint: match histogram.counter_reset_hint {
            CounterResetHint::Unknown => ResetHint::Unknown,
            CounterResetHint::CounterReset => ResetHint::Yes,
            CounterResetHint::NotCounterReset => ResetHint::No,
            CounterResetHint::Gauge => ResetHint::Gauge,
        }
        .into(),
        timestamp: time.as_millis(),
        custom_values: layout.custom_values.clone(),
        count: Some(Count::CountFloat(histogram.count)),
        zero_count: Some(ZeroCount::ZeroCountFloat(histogram.zero_count)),
    }
}

/// Returns a histogram with float counts; one with integers has deltas from bucket to bucket.
fn histogram_from_pb(message: series_pb::Histogram) -> Result<(Timestamp, FloatHistogram)> {
    let spans = |spans: Vec<series_pb::BucketSpan>| {
        let span = |span: series_pb::BucketSpan| Span {
            offset: span.offset,
            length: span.length,
        };
        spans.into_iter().map(span).collect()
    };
    let layout = BucketLayout {
        schema: message.schema,
        zero_threshold: message.zero_threshold,
        positive_spans: spans(message.positive_spans),
        negative_spans: spans(message.negative_spans),
        custom_values: message.custom_values,
    };
    let counts = |counts: Vec<f64>, deltas: &[i64]| {
        if !counts.is_empty() {
            return counts;
        }
        let mut count = 0_i64;
        let absolute = deltas.iter().map(|delta| {
            count = count.wrapping_add(*delta);
            to_f64(count)
        });
        absolute.collect()
    };
    let positive = counts(message.positive_counts, &message.positive_deltas);
    let negative = counts(message.negative_counts, &message.negative_deltas);
    let broken = |error: Error| Error::corrupt(format!("a histogram of an answer: {error}"));
    let layout = Arc::new(layout);
    let mut histogram = FloatHistogram::new(layout, &positive, &negative).map_err(broken)?;
    histogram.sum = message.sum;
    histogram.count = match message.count {
        None => 0.0,
        Some(Count::CountInt(count)) => count as f64,
        Some(Count::CountFloat(count)) => count,
    };
    histogram.zero_count = match message.zero_count {
        None => 0.0,
        Some(ZeroCount::ZeroCountInt(count)) => count as f64,
        Some(ZeroCount::ZeroCountFloat(count)) => count,
    };
    histogram.counter_reset_hint = match ResetHint::try_from(message.reset_hint) {
        Ok(ResetHint::Yes) => CounterResetHint::CounterReset,
        Ok(ResetHint::No) => CounterResetHint::NotCounterReset,
        Ok(ResetHint::Gauge) => CounterResetHint::Gauge,
        Ok(ResetHint::Unknown) | Err(_) => CounterResetHint::Unknown,
    };
    Ok((Timestamp::from_millis(message.timestamp), histogram))
}

fn to_f64(count: i64) -> f64 {
    count as f64
}

fn seconds(duration: Option<Duration>) -> i64 {
    // Zero means none, so a short one is a second.
    duration.map_or(0, |duration| {
        i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
    })
}

fn duration(seconds: i64) -> Option<Duration> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs)
}

/// Returns whole seconds, which is how times travel.
fn time_to_pb(ms: i64) -> Result<i64> {
    if ms % 1000 != 0 {
        return Err(Error::invalid(format!(
            "{ms} ms is no time in whole seconds, which the Query API has"
        )));
    }
    Ok(ms / 1000)
}

fn time_from_pb(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// A request on its way.
pub(crate) enum Sent {
    Instant(pb::QueryRequest),
    Range(pb::QueryRangeRequest),
}

/// Fills a message of either kind with what both have.
macro_rules! filled {
    ($message:ident, $request:expr, $($field:ident: $value:expr),*) => {
        pb::$message {
            $($field: $value,)*
            query_plan: $request.plan.map(|json| pb::QueryPlan {
                encoding: Some(pb::query_plan::Encoding::Json(json)),
            }),
            timeout_seconds: seconds($request.timeout),
            max_resolution_seconds: $request.max_resolution_ms / 1000,
            replica_labels: $request.replica_labels,
            store_matchers: $request
                .store_matchers
                .iter()
                .map(|set| pb::StoreMatchers {
                    label_matchers: matchers_to_pb(set),
                })
                .collect(),
            enable_dedup: $request.dedup,
            enable_partial_response: $request.partial_response == PartialResponse::Warn,
            skip_chunks: $request.skip_chunks,
            shard_info: $request.shard.map(pb::ShardInfo::from),
            lookback_delta_seconds: seconds($request.lookback_delta),
            engine: pb::EngineType::Default.into(),
            response_batch_size: count_to_pb($request.response_batch_size),
            query: $request.query,
        }
    };
}

/// Returns the message of a request.
///
/// # Errors
///
/// `Invalid` for times that are not in whole seconds.
pub(crate) fn request_to_pb(request: QueryRequest) -> Result<Sent> {
    Ok(match request.times {
        QueryTimes::Instant(time) => {
            let time = time_to_pb(time.as_millis())?;
            Sent::Instant(filled!(QueryRequest, request, time_seconds: time))
        }
        QueryTimes::Range {
            start,
            end,
            step_ms,
        } => {
            let start = time_to_pb(start.as_millis())?;
            let end = time_to_pb(end.as_millis())?;
            let step = time_to_pb(step_ms)?;
            Sent::Range(filled!(QueryRangeRequest, request,
                start_time_seconds: start,
                end_time_seconds: end,
                interval_seconds: step))
        }
    })
}

/// Reads what both kinds of requests have.
macro_rules! read {
    ($message:expr, $source:expr, $times:expr) => {{
        let sets = $message.store_matchers.iter();
        let sets = sets.map(|set| matchers_from_pb(&set.label_matchers, $source));
        let encoding = $message.query_plan.and_then(|plan| plan.encoding);
        Ok(QueryRequest {
            query: $message.query,
            plan: encoding.map(|pb::query_plan::Encoding::Json(json)| json),
            times: $times,
            timeout: duration($message.timeout_seconds),
            max_resolution_ms: $message.max_resolution_seconds.saturating_mul(1000),
            replica_labels: $message.replica_labels,
            store_matchers: sets.collect::<Result<_>>()?,
            dedup: $message.enable_dedup,
            partial_response: if $message.enable_partial_response {
                PartialResponse::Warn
            } else {
                PartialResponse::Abort
            },
            skip_chunks: $message.skip_chunks,
            shard: shard_from_pb($message.shard_info)?,
            lookback_delta: duration($message.lookback_delta_seconds),
            response_batch_size: count_from_pb($message.response_batch_size),
            tenant: TenantId::default(),
        })
    }};
}

/// Returns the request for one time; no time means now.
///
/// # Errors
///
/// `Invalid` for matchers and shards that are none.
pub(crate) fn instant_from_pb(
    message: pb::QueryRequest,
    source: &dyn MatcherSource,
) -> Result<QueryRequest> {
    let time = match message.time_seconds {
        0 => SystemClock.now(),
        seconds => time_from_pb(seconds),
    };
    read!(message, source, QueryTimes::Instant(time))
}

/// Returns the request for several times.
///
/// # Errors
///
/// As [`instant_from_pb`].
pub(crate) fn range_from_pb(
    message: pb::QueryRangeRequest,
    source: &dyn MatcherSource,
) -> Result<QueryRequest> {
    let times = QueryTimes::Range {
        start: time_from_pb(message.start_time_seconds),
        end: time_from_pb(message.end_time_seconds),
        step_ms: message.interval_seconds.saturating_mul(1000),
    };
    read!(message, source, times)
}
