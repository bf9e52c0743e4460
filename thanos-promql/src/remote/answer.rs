//! What the engine found, as the pieces in which it goes to another engine.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{StreamExt, future, stream};
use thanos_core::budget::Lease;
use thanos_core::error::{Error as DataError, ErrorKind as DataErrorKind};
use thanos_core::labels::Labels;
use thanos_storeapi::apis::query::{QueryEvent, QuerySeries, QueryStats};

use crate::engine::missing_texts;
use crate::error::{Error, ErrorKind};
use crate::value::{HistogramPoint, Point, QueryResult, SampleValue, Series, Value};

/// Returns the pieces of an answer.
pub(crate) fn events(
    result: QueryResult,
    text: &str,
    batch: usize,
) -> impl futures::Stream<Item = thanos_core::Result<QueryEvent>> + Send + use<> {
    let missing = result.completeness.missing().to_vec();
    let said = missing_texts(&result.completeness);
    let warnings = result.annotations.iter().map(|one| one.render(text));
    // What is missing is among the annotations, too.
    let warnings: Vec<String> = warnings.filter(|text| !said.contains(text)).collect();
    let stats = QueryStats {
        samples_total: to_i64(result.stats.samples),
        peak_samples: to_i64(result.stats.peak_samples()),
    };
    let (value, lease) = result.into_parts();
    let head = missing
        .into_iter()
        .map(QueryEvent::Missing)
        .chain(warnings.into_iter().map(QueryEvent::Warning));
    let batches = Batches {
        left: series(value),
        batch,
        _lease: lease,
    };
    stream::iter(head.map(Ok))
        .chain(stream::iter(
            batches.map(|batch| Ok(QueryEvent::Series(batch))),
        ))
        .chain(stream::once(future::ready(Ok(QueryEvent::Stats(stats)))))
}

/// Series that are taken some at a time, with the lease of their memory.
struct Batches {
    left: VecDeque<Series>,
    batch: usize,
    _lease: Option<Lease>,
}

impl Iterator for Batches {
    type Item = Vec<QuerySeries>;

    fn next(&mut self) -> Option<Vec<QuerySeries>> {
        let count = self.batch.min(self.left.len());
        let batch: Vec<QuerySeries> = self.left.drain(..count).map(query_series).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

fn query_series(series: Series) -> QuerySeries {
    let floats = series.points.iter();
    let histograms = series.histograms.into_iter();
    QuerySeries {
        labels: series.labels,
        floats: floats.map(|point| (point.time, point.value)).collect(),
        histograms: histograms
            .map(|point| (point.time, Arc::unwrap_or_clone(point.histogram)))
            .collect(),
    }
}

/// Returns the series of a value; a text has none.
fn series(value: Value) -> VecDeque<Series> {
    match value {
        Value::Scalar(point) => VecDeque::from([Series {
            labels: Labels::empty(),
            points: vec![point],
            histograms: Vec::new(),
        }]),
        Value::String(..) => VecDeque::new(),
        Value::Matrix(series) => series.into(),
        Value::Vector(samples) => samples
            .into_iter()
            .map(|sample| {
                let mut series = Series {
                    labels: sample.labels,
                    ..Series::default()
                };
                match sample.value {
                    SampleValue::Float(value) => series.points.push(Point {
                        time: sample.time,
                        value,
                    }),
                    SampleValue::Histogram(histogram) => {
                        series.histograms.push(HistogramPoint {
                            time: sample.time,
                            histogram,
                        });
                    }
                }
                series
            })
            .collect(),
    }
}

fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Keeps what the caller can do about an error.
pub(crate) fn to_data_error(error: Error) -> DataError {
    let kind = match error.kind() {
        ErrorKind::Invalid | ErrorKind::Execution => DataErrorKind::Invalid,
        ErrorKind::LimitExceeded => DataErrorKind::LimitExceeded,
        ErrorKind::Timeout | ErrorKind::Cancelled => DataErrorKind::Cancelled,
        ErrorKind::Storage | ErrorKind::NotReady => DataErrorKind::Unavailable,
        ErrorKind::NotFound => DataErrorKind::NotFound,
        ErrorKind::Internal => DataErrorKind::Internal,
    };
    DataError::new(kind, error.to_string()).with_source(error)
}
