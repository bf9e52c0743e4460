//! The check of distributed execution: random queries over random data that is spread over engines give what one engine
//! gives that has all of it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::executor::block_on;
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::query::Queryable;
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::apis::query::{QueryApi, QueryRequest, QueryStream, QueryTimes};
use thanos_storeapi::store::TsdbInfo;

use super::case::{Case, Times};
use super::choice::Choice;
use super::compare::{Answer, Outcome, difference, values_difference};
use super::data;
use crate::engine::{Engine, EngineOptions, Query};
use crate::remote::answer::{events, to_data_error};
use crate::remote::{Coverage, RemoteEngine, RemoteOptions, Remotes};
use crate::testkit::naive::{Naive, NaiveTimes, StoredSeries};

/// The label by which data is spread.
const PARTITION: &str = "job";

/// What the check of many seeds found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DistributedReport {
    /// Cases in which a part was evaluated elsewhere.
    pub distributed: u64,
    /// Cases in which everything stayed.
    pub local: u64,
    /// Of the distributed ones, those with values.
    pub with_values: u64,
    /// Cases whose answer the language does not define.
    pub undefined: u64,
    /// What is wrong, ready to be printed.
    pub broken: Vec<String>,
}

/// Checks all `seeds`.
pub fn check_distributed(seeds: Range<u64>) -> DistributedReport {
    let mut report = DistributedReport::default();
    for seed in seeds {
        check(seed, &mut report);
    }
    report
}

fn check(seed: u64, report: &mut DistributedReport) {
    let mut case = Case::new(seed, None);
    let mut choice = Choice::new(seed ^ 0x5eed);
    // Times are said in seconds, and names have to be dropped where they are.
    case.options.delayed_name_removal = false;
    if !choice.chance(10) {
        case.times.start_ms = case.times.start_ms / 1000 * 1000;
    }
    if !case
        .series
        .iter()
        .all(|series| series.labels.get(PARTITION).is_some())
    {
        return;
    }
    let is_instant = case.times.is_instant || choice.chance(30);
    let engine = Engine::new(EngineOptions {
        threads: std::num::NonZeroUsize::MIN,
        ..case.options.clone()
    });
    let (remotes, data) = spread(&case, &engine, &mut choice);
    let query = query(&case, is_instant);
    let prepared = match engine.prepare_distributed(&query, &remotes) {
        Ok(prepared) => prepared,
        Err(error) => {
            let local = engine.prepare(&query);
            assert!(local.is_err(), "seed {seed}: {}: {error}", case.text);
            return;
        }
    };
    if !prepared.is_distributed() {
        report.local += 1;
        return;
    }
    report.distributed += 1;
    let found = outcome(block_on(prepared.run(Arc::clone(&data))));
    let expected = outcome(block_on(engine.query(&data, query)));
    report.with_values += u64::from(expected.as_ref().is_ok_and(|one| !one.values.is_empty()));
    if let Some(text) = differs(&expected, &found) {
        if is_undefined(&case, is_instant) {
            report.undefined += 1;
            return;
        }
        let times = case.times;
        let names: Vec<String> = remotes
            .engines
            .iter()
            .map(|one| format!("{} {} {:?}", one.name, one.api.is_some(), one.tsdbs))
            .collect();
        report.broken.push(format!(
            "seed {seed}: {text}\n  query: {}\n  {times:?} instant {is_instant} lookback {:?}\n  engines: {}",
            case.text,
            case.options.lookback,
            names.join("\n    "),
        ));
    }
}

/// Compares values, and whether there is a failure: remarks name other places.
fn differs(expected: &Outcome, found: &Outcome) -> Option<String> {
    match (expected, found) {
        (Ok(expected), Ok(found)) => values_difference(&expected.values, &found.values),
        (Err(_), Err(_)) => None,
        (Ok(_), Err((_, text))) => Some(format!("fails: {text}")),
        // That a match is not unique goes unnoticed in a partition where nothing could match.
        (Err((_, text)), Ok(_)) if text.contains("found duplicate series") => None,
        (Err((_, text)), Ok(_)) => Some(format!("does not fail: {text}")),
    }
}

fn query(case: &Case, is_instant: bool) -> Query {
    let Times {
        start_ms, step_ms, ..
    } = case.times;
    let start = Timestamp::from_millis(start_ms);
    let mut query = if is_instant {
        Query::instant(&case.text, start)
    } else {
        let end = Timestamp::from_millis(case.times.end_ms());
        let step = Duration::from_millis(step_ms.unsigned_abs());
        Query::range(&case.text, start, end, step)
    };
    query.lookback = Some(case.options.lookback);
    query
}

fn outcome(result: crate::Result<crate::QueryResult>) -> Outcome {
    match result {
        Ok(result) => {
            let severities = result.annotations.iter().map(|one| one.severity());
            Ok(Answer::new(&result.value, severities))
        }
        Err(error) => Err((error.kind(), error.to_string())),
    }
}

/// Reports whether the answer depends on the order of the series.
fn is_undefined(case: &Case, is_instant: bool) -> bool {
    let (_, series) = data::stored(&case.series);
    let naive = Naive::new(case.options.clone(), series);
    let times = NaiveTimes {
        start: Timestamp::from_millis(case.times.start_ms),
        end: Timestamp::from_millis(if is_instant {
            case.times.start_ms
        } else {
            case.times.end_ms()
        }),
        step: (!is_instant).then(|| Duration::from_millis(case.times.step_ms.unsigned_abs())),
    };
    let answer = |naive: &Naive| match naive.query(&case.text, times) {
        Ok(result) => {
            let severities = result.notes.iter().map(|(severity, _)| *severity);
            Ok(Answer::new(&result.value, severities))
        }
        Err(error) => Err((error.kind(), error.to_string())),
    };
    difference(&answer(&naive), &answer(&naive.reversed())).is_some()
}

/// An engine over a part of the data.
#[derive(Debug)]
struct Leaf {
    engine: Engine,
    data: Arc<dyn Queryable>,
}

#[async_trait]
impl QueryApi for Leaf {
    async fn query(&self, request: QueryRequest) -> thanos_core::Result<QueryStream> {
        assert!(request.plan.is_some(), "{}", request.query);
        let text = request.query;
        let mut query = match request.times {
            QueryTimes::Instant(time) => {
                assert_eq!(time.as_millis() % 1000, 0, "{text}");
                Query::instant(&text, time)
            }
            QueryTimes::Range {
                start,
                end,
                step_ms,
            } => {
                let whole = [start.as_millis(), end.as_millis(), step_ms];
                assert!(whole.iter().all(|ms| ms % 1000 == 0), "{text}: {whole:?}");
                let step = Duration::from_millis(step_ms.unsigned_abs());
                Query::range(&text, start, end, step)
            }
        };
        query.lookback = request.lookback_delta;
        let result = self.engine.query(&self.data, query).await;
        let result = result.map_err(to_data_error)?;
        Ok(events(result, &text, 2).boxed())
    }
}

/// One place of data: which partitions, and which times of them.
struct Layout {
    jobs: BTreeSet<String>,
    range: TimeRange,
    evaluates: bool,
}

/// Spreads the data of a case, and returns all of it as well.
fn spread(case: &Case, engine: &Engine, choice: &mut Choice) -> (Remotes, Arc<dyn Queryable>) {
    let jobs: BTreeSet<String> = case
        .series
        .iter()
        .filter_map(|series| Some(series.labels.get(PARTITION)?.into_owned()))
        .collect();
    let all = || jobs.clone();
    let one = |job: &String| BTreeSet::from([job.clone()]);
    let place = |jobs: BTreeSet<String>, range, evaluates| Layout {
        jobs,
        range,
        evaluates,
    };
    let until = |ms| TimeRange::from_millis(0, ms);
    let since = |ms| TimeRange::from_millis(ms, i64::MAX);
    let middle = choice.between(0, 30) * 15_000;
    let overlap = choice.value(&[0, 60_000, 300_000, 420_000]);
    let layouts: Vec<Layout> = match choice.below(6) {
        // Each partition has an engine.
        0 | 1 => jobs
            .iter()
            .map(|job| place(one(job), TimeRange::ALL, true))
            .collect(),
        // One has a partition, the other one the rest.
        2 => {
            let (first, rest) = (jobs.iter().take(1), jobs.iter().skip(1));
            let sets = [first.cloned().collect(), rest.cloned().collect()];
            let sets = sets
                .into_iter()
                .filter(|set: &BTreeSet<String>| !set.is_empty());
            sets.map(|set| place(set, TimeRange::ALL, true)).collect()
        }
        // Old and new data.
        3 => vec![
            place(all(), until(middle + overlap), true),
            place(all(), since(middle), true),
        ],
        // The same twice.
        4 => vec![
            place(all(), TimeRange::ALL, true),
            place(all(), TimeRange::ALL, true),
        ],
        // Some of the data can only be read.
        _ => {
            let last = jobs.iter().next_back().cloned();
            jobs.iter()
                .map(|job| place(one(job), TimeRange::ALL, Some(job) != last.as_ref()))
                .collect()
        }
    };
    let engines = layouts.iter().enumerate().map(|(number, layout)| {
        let (data, _) = data::stored(&part(&case.series, layout));
        let leaf = Leaf {
            engine: engine.clone(),
            data: data.into_queryable(),
        };
        RemoteEngine {
            name: format!("engine-{number}").into(),
            api: layout
                .evaluates
                .then(|| Arc::new(leaf) as Arc<dyn QueryApi>),
            tsdbs: layout
                .jobs
                .iter()
                .map(|job| tsdb(job, layout.range))
                .collect(),
        }
    });
    let remotes = Remotes {
        engines: engines.collect(),
        missing: Vec::new(),
        options: RemoteOptions {
            coverage: Coverage::Announced,
            ..RemoteOptions::default()
        },
    };
    let (data, _) = data::stored(&case.series);
    (remotes, data.into_queryable())
}

fn tsdb(job: &str, range: TimeRange) -> TsdbInfo {
    let mut labels = LabelsBuilder::new();
    labels.set(PARTITION, job);
    let external_labels: Labels = labels.build();
    TsdbInfo {
        external_labels,
        range,
    }
}

/// Returns what lies in one place.
fn part(series: &[StoredSeries], layout: &Layout) -> Vec<StoredSeries> {
    let is_here = |series: &&StoredSeries| {
        let job = series.labels.get(PARTITION).unwrap_or_default();
        layout.jobs.contains(&*job)
    };
    let cut = |series: &StoredSeries| {
        let mut series = series.clone();
        series
            .samples
            .retain(|sample| layout.range.min <= sample.time && sample.time <= layout.range.max);
        series
    };
    let here = series.iter().filter(is_here).map(cut);
    here.filter(|series| !series.samples.is_empty()).collect()
}
