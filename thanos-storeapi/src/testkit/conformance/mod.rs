//! What every [`Store`] must do, as one suite of cases that any implementer runs.
//!
//! The tables of label and matcher cases follow Thanos' own acceptance test (pkg/store/acceptance_test.go), which
//! runs on each of its stores; the rules on order, limits, shards and replica labels, and the generated cases,
//! are ours. A store may hold the data set several times over, told apart by an external label `replica`: every
//! request names it as a replica label.

mod generated;
mod rules;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use thanos_core::chunk::SeriesChunk;
use thanos_core::error::Result;
use thanos_core::labels::{Labels, LabelsBuilder, MatchOp, Matcher};
use thanos_core::time::{TimeRange, Timestamp};

use super::{Answer, Dataset, DatasetSeries};
use crate::store::{LabelNamesRequest, LabelValuesRequest, SeriesRequest, Store};

/// The label under which a store may hold the data set several times.
pub const REPLICA_LABEL: &str = "replica";

/// How many failures [`run`] shows.
const SHOWN_MAX: usize = 20;
/// How much of a failure is shown: lists of samples are long.
const PROBLEM_CHARS_MAX: usize = 1500;

/// Runs the suite on stores that `make_store` returns for given data sets.
///
/// # Panics
///
/// When a case fails; the message names the first that failed.
pub async fn run<F>(make_store: F)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let failures = failures(make_store).await;
    assert!(
        failures.is_empty(),
        "{} checks of the Store conformance suite failed, the first are:\n{}",
        failures.len(),
        failures[..failures.len().min(SHOWN_MAX)].join("\n")
    );
}

/// Runs the suite like [`run`] and returns what failed, one line each.
pub async fn failures<F>(make_store: F) -> Vec<String>
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let mut report = Report::default();
    tables::check(&make_store, &mut report).await;
    rules::check(&make_store, &mut report).await;
    generated::check(&make_store, &mut report).await;
    report.failures
}

/// Collects the failures of the suite.
#[derive(Debug, Default)]
struct Report {
    failures: Vec<String>,
}

impl Report {
    fn fail(&mut self, case: &str, problem: impl std::fmt::Display) {
        let mut line: String = problem
            .to_string()
            .chars()
            .take(PROBLEM_CHARS_MAX)
            .collect();
        if line.len() >= PROBLEM_CHARS_MAX {
            line.push_str("...");
        }
        self.failures.push(format!("- {case}: {line}"));
    }

    fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        case: &str,
        what: &str,
        found: T,
        wanted: T,
    ) {
        if found != wanted {
            self.fail(
                case,
                format!("{what}:\n    found  {found:?}\n    wanted {wanted:?}"),
            );
        }
    }

    /// Returns the value, or notes the error and returns `None`.
    fn ok<T>(&mut self, case: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fail(case, format!("failed: {error}")))
            .ok()
    }
}

/// A matcher in a table of cases.
#[derive(Debug, Clone, Copy)]
struct M(&'static str, MatchOp, &'static str);

const fn eq(name: &'static str, value: &'static str) -> M {
    M(name, MatchOp::Equal, value)
}

const fn ne(name: &'static str, value: &'static str) -> M {
    M(name, MatchOp::NotEqual, value)
}

const fn re(name: &'static str, value: &'static str) -> M {
    M(name, MatchOp::Regex, value)
}

const fn nre(name: &'static str, value: &'static str) -> M {
    M(name, MatchOp::NotRegex, value)
}

fn matchers(table: &[M]) -> Vec<Matcher> {
    let one = |m: &M| Matcher::new(m.1, m.0, m.2).expect("the patterns of the tables are valid");
    table.iter().map(one).collect()
}

fn describe(table: &[M]) -> String {
    let mut text = String::from("{");
    for (place, matcher) in matchers(table).iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{matcher}");
    }
    text + "}"
}

/// Returns the labels of a table entry like `a=1,b=2`.
fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    Labels::from_pairs(pairs.filter_map(|pair| pair.split_once('=')))
}

/// Returns the labels of a series after external labels were added and others taken away.
fn final_labels(series: &Labels, external: &Labels, without: &[&str]) -> Labels {
    let mut builder = LabelsBuilder::from_labels(series.as_ref());
    for (name, value) in external.iter() {
        builder.set(&name, &value);
    }
    builder.retain(|name| !without.contains(&name)).build()
}

fn millis(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Returns a series with one sample.
fn one_sample(text: &str, time_ms: i64) -> DatasetSeries {
    DatasetSeries {
        labels: labels(text),
        samples: vec![(millis(time_ms), 1.0)],
    }
}

fn series_request(table: &[M], range: TimeRange) -> SeriesRequest {
    SeriesRequest {
        range,
        matchers: matchers(table),
        without_replica_labels: vec![REPLICA_LABEL.to_owned()],
        ..SeriesRequest::default()
    }
}

fn names_request(table: &[M], range: TimeRange) -> LabelNamesRequest {
    LabelNamesRequest {
        range,
        matchers: matchers(table),
        without_replica_labels: vec![REPLICA_LABEL.to_owned()],
        ..LabelNamesRequest::default()
    }
}

fn values_request(label: &str, table: &[M], range: TimeRange) -> LabelValuesRequest {
    LabelValuesRequest {
        label: label.to_owned(),
        range,
        matchers: matchers(table),
        without_replica_labels: vec![REPLICA_LABEL.to_owned()],
        ..LabelValuesRequest::default()
    }
}

async fn ask(store: &Arc<dyn Store>, request: SeriesRequest) -> Result<Answer> {
    Answer::collect(store.series(request).await?).await
}

/// Notes every breach of the contract that shows in one answer alone.
fn check_contract(report: &mut Report, case: &str, request: &SeriesRequest, answer: &Answer) {
    for pair in answer.series.windows(2) {
        if pair[0].labels >= pair[1].labels {
            let (first, second) = (&pair[0].labels, &pair[1].labels);
            report.fail(case, format!("not in label order: {first} before {second}"));
        }
    }
    for series in &answer.series {
        check_chunks(report, case, request, series);
    }
    report.equal(case, "warnings", &answer.warnings, &Vec::new());
    report.equal(case, "missing data", &answer.missing, &Vec::new());
}

fn check_chunks(
    report: &mut Report,
    case: &str,
    request: &SeriesRequest,
    series: &super::AnswerSeries,
) {
    let labels = &series.labels;
    let count = series.chunks().count();
    if request.skip_chunks != (count == 0) {
        report.fail(case, format!("{labels} came with {count} chunks"));
    }
    let in_order = |part: &Vec<SeriesChunk>| part.is_sorted_by_key(|c| (c.min_time, c.max_time));
    if !series.parts.iter().all(in_order) {
        report.fail(
            case,
            format!("the chunks of {labels} are not in time order"),
        );
    }
    for chunk in series.chunks() {
        if !chunk.time_range().overlaps(request.range) {
            let range = chunk.time_range();
            report.fail(
                case,
                format!("{labels} came with a chunk outside the request: {range:?}"),
            );
        }
        match super::dataset::decode(chunk) {
            Err(error) => report.fail(
                case,
                format!("a chunk of {labels} cannot be decoded: {error}"),
            ),
            Ok(samples) => {
                if samples.is_empty() || samples.len() > super::SAMPLES_PER_CHUNK_MAX {
                    let count = samples.len();
                    report.fail(case, format!("a chunk of {labels} holds {count} samples"));
                }
                let bounds = (samples.first().map(|s| s.0), samples.last().map(|s| s.0));
                if bounds != (Some(chunk.min_time), Some(chunk.max_time)) {
                    report.fail(
                        case,
                        format!("a chunk of {labels} lies about its time range"),
                    );
                }
            }
        }
    }
}
