//! Generated data sets and requests, answered by the store under test and by the naive model.

use std::sync::Arc;

use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::testkit::TestRandom;
use thanos_core::time::TimeRange;

use super::{REPLICA_LABEL, Report, ask, check_contract, millis};
use crate::store::{LabelNamesRequest, LabelValuesRequest, SeriesRequest, ShardInfo, Store};
use crate::testkit::{Dataset, DatasetSeries};

const DATASETS: u64 = 16;
const REQUESTS: u64 = 12;

pub(super) async fn check<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    for seed in 0..DATASETS {
        let mut random = TestRandom::new(seed);
        let data = dataset(&mut random);
        let model: Arc<dyn Store> = Arc::new(data.to_mem_store());
        let store = make_store(data).await;
        for number in 0..REQUESTS {
            let request = series_request(&mut random);
            let case = format!(
                "generated data set {seed}, request {number}: {}",
                describe(&request)
            );
            check_series(report, &case, &model, &store, &request).await;
            check_labels(report, &case, &model, &store, &request).await;
        }
    }
}

fn describe(request: &SeriesRequest) -> String {
    format!(
        "{:?} in {:?} without {:?}, limit {}, skip_chunks={}, {:?}",
        request.matchers,
        request.range,
        request.without_replica_labels,
        request.limit,
        request.skip_chunks,
        request.shard
    )
}

async fn check_series(
    report: &mut Report,
    case: &str,
    model: &Arc<dyn Store>,
    store: &Arc<dyn Store>,
    request: &SeriesRequest,
) {
    let wanted = report.ok("the model", ask(model, request.clone()).await);
    let found = report.ok(case, ask(store, request.clone()).await);
    let (Some(found), Some(wanted)) = (found, wanted) else {
        return;
    };
    check_contract(report, case, request, &found);
    report.equal(case, "series", found.labels(), wanted.labels());
    for (found, wanted) in found.series.iter().zip(&wanted.series) {
        let (samples, wanted) = (found.samples(request.range), wanted.samples(request.range));
        if let (Some(samples), Some(wanted)) = (report.ok(case, samples), report.ok(case, wanted)) {
            report.equal(
                case,
                &format!("samples of {}", found.labels),
                samples,
                wanted,
            );
        }
    }
}

/// Label calls see whole blocks where the model sees chunks, so they are compared over all of time.
async fn check_labels(
    report: &mut Report,
    case: &str,
    model: &Arc<dyn Store>,
    store: &Arc<dyn Store>,
    request: &SeriesRequest,
) {
    let names = || LabelNamesRequest {
        matchers: request.matchers.clone(),
        without_replica_labels: request.without_replica_labels.clone(),
        limit: request.limit,
        ..LabelNamesRequest::default()
    };
    let (found, wanted) = (
        store.label_names(names()).await,
        model.label_names(names()).await,
    );
    if let (Some(found), Some(wanted)) = (report.ok(case, found), report.ok(case, wanted)) {
        report.equal(case, "label names", found.values, wanted.values);
    }
    for label in ["a", "c", "region"] {
        let values = || LabelValuesRequest {
            label: label.to_owned(),
            matchers: request.matchers.clone(),
            without_replica_labels: request.without_replica_labels.clone(),
            limit: request.limit,
            ..LabelValuesRequest::default()
        };
        let (found, wanted) = (
            store.label_values(values()).await,
            model.label_values(values()).await,
        );
        if let (Some(found), Some(wanted)) = (report.ok(case, found), report.ok(case, wanted)) {
            report.equal(
                case,
                &format!("values of {label}"),
                found.values,
                wanted.values,
            );
        }
    }
}

fn pick<T: Copy>(random: &mut TestRandom, choices: &[T]) -> T {
    let place = random.below(choices.len() as u64);
    choices[usize::try_from(place).expect("below the length")]
}

fn chance(random: &mut TestRandom, percent: u64) -> bool {
    random.below(100) < percent
}

const NAMES: [&str; 7] = ["a", "b", "c", "pod", "region", "s", "z"];
const VALUES: [&str; 5] = ["0", "1", "2", "eu", "us"];

fn dataset(random: &mut TestRandom) -> Dataset {
    let mut external = vec![("region", pick(random, &["eu", "us"]))];
    if chance(random, 40) {
        external.push((pick(random, &NAMES), "9"));
    }
    let mut series = Vec::new();
    for _ in 0..random.below(40) {
        let mut pairs = vec![(pick(random, &NAMES), pick(random, &VALUES))];
        for _ in 0..random.below(4) {
            pairs.push((pick(random, &NAMES), pick(random, &VALUES)));
        }
        series.push(DatasetSeries {
            labels: Labels::from_pairs(pairs),
            samples: samples(random),
        });
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series.dedup_by(|a, b| a.labels == b.labels);
    Dataset::new(Labels::from_pairs(external), series)
}

fn samples(random: &mut TestRandom) -> Vec<(thanos_core::time::Timestamp, f64)> {
    let (start_ms, count) = (random.below(5000), 1 + random.below(400));
    let sample = |place: u64| {
        let time_ms = i64::try_from(start_ms + place * 10).unwrap_or(i64::MAX);
        (
            millis(time_ms),
            f64::from(u32::try_from(place % 23).unwrap_or(0)),
        )
    };
    (0..count).map(sample).collect()
}

fn series_request(random: &mut TestRandom) -> SeriesRequest {
    let mut without = vec![REPLICA_LABEL.to_owned()];
    for _ in 0..random.below(3) {
        without.push(pick(random, &NAMES).to_owned());
    }
    let shard = chance(random, 30).then(|| ShardInfo {
        shard_index: random.below(2),
        total_shards: 2,
        by: chance(random, 50),
        labels: vec![pick(random, &NAMES).to_owned()],
    });
    let min_ms = i64::try_from(random.below(6000)).unwrap_or(0);
    let max_ms = min_ms + i64::try_from(random.below(4000)).unwrap_or(0);
    SeriesRequest {
        range: pick(
            random,
            &[TimeRange::ALL, TimeRange::from_millis(min_ms, max_ms)],
        ),
        matchers: (0..1 + random.below(3)).map(|_| matcher(random)).collect(),
        without_replica_labels: without,
        skip_chunks: chance(random, 20),
        limit: if chance(random, 20) {
            1 + random.below(10)
        } else {
            0
        },
        shard,
        ..SeriesRequest::default()
    }
}

fn matcher(random: &mut TestRandom) -> Matcher {
    let name = pick(random, &NAMES);
    let (op, value) = match random.below(4) {
        0 => (
            MatchOp::Equal,
            pick(random, &["", "0", "1", "eu", "missing"]),
        ),
        1 => (MatchOp::NotEqual, pick(random, &["", "0", "eu", "missing"])),
        2 => (
            MatchOp::Regex,
            pick(random, &[".*", ".+", "0|1", "e.", "|0", "9|[12]"]),
        ),
        _ => (
            MatchOp::NotRegex,
            pick(random, &[".+", "0|1", "e.", "", "missing.*"]),
        ),
    };
    Matcher::new(op, name, value).expect("the patterns are valid")
}
