//! The rules of the [`Store`] contract that tables of matchers do not show: order, time, limits, replicas, shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use thanos_core::error::{ErrorKind, Result};
use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp};

use super::{
    REPLICA_LABEL, Report, ask, check_contract, eq, final_labels, labels, millis, names_request,
    ne, one_sample, re, series_request, values_request,
};
use crate::shard::ShardFilter;
use crate::store::{SeriesRequest, ShardInfo, Store};
use crate::testkit::{Answer, Dataset, DatasetSeries};

const ALL: TimeRange = TimeRange::ALL;

pub(super) async fn check<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    check_invalid_requests(make_store, report).await;
    check_time_bounds(make_store, report).await;
    check_order_with_external_labels(make_store, report).await;
    check_replica_labels(make_store, report).await;
    check_limits(make_store, report).await;
    check_shards(make_store, report).await;
    check_chunks(make_store, report).await;
    check_unusual_text(make_store, report).await;
    check_streams(make_store, report).await;
    check_info(make_store, report).await;
}

fn data(external: &str, series: &[&str]) -> Dataset {
    let series = series.iter().map(|text| one_sample(text, 1000));
    Dataset::new(labels(external), series.collect())
}

/// Many series in several batches: `pod` 0 to 299, each with its `group`.
fn many_series() -> Dataset {
    let series = (0..300).map(|pod| one_sample(&format!("group=g{},pod=p{pod:03}", pod % 7), 1000));
    Dataset::new(labels("region=eu-west"), series.collect())
}

async fn check_invalid_requests<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let store = make_store(data("region=eu-west", &["foo=bar"])).await;
    let case = "series without matchers";
    match ask(&store, series_request(&[], ALL)).await {
        Ok(_) => report.fail(case, "is not an error"),
        Err(error) => report.equal(case, "kind of error", error.kind(), ErrorKind::Invalid),
    }
    let case = "values of a label without name";
    match store.label_values(values_request("", &[], ALL)).await {
        Ok(_) => report.fail(case, "is not an error"),
        Err(error) => report.equal(case, "kind of error", error.kind(), ErrorKind::Invalid),
    }
    let case = "a range that ends before it starts";
    let backwards = TimeRange::from_millis(2000, 500);
    if let Some(answer) = report.ok(
        case,
        ask(&store, series_request(&[eq("foo", "bar")], backwards)).await,
    ) {
        report.equal(case, "series", answer.labels(), Vec::new());
    }
    if let Some(names) = report.ok(case, store.label_names(names_request(&[], backwards)).await) {
        report.equal(case, "names", names.values, Vec::new());
    }
}

/// Both ends of the range count, and a series without a chunk in it is left out, also when only labels are wanted.
async fn check_time_bounds<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let series = vec![one_sample("t=early", 1000), one_sample("t=late", 2000)];
    let store = make_store(Dataset::new(labels("region=eu-west"), series)).await;
    for (min_ms, max_ms, wanted) in [
        (1000, 2000, &["t=early", "t=late"][..]),
        (1000, 1000, &["t=early"]),
        (2000, 2000, &["t=late"]),
        (1001, 1999, &[]),
        (0, 999, &[]),
        (2001, 5000, &[]),
        (0, 1000, &["t=early"]),
        (2000, 9000, &["t=late"]),
    ] {
        for skip_chunks in [false, true] {
            let case = format!("series between {min_ms} and {max_ms}, skip_chunks={skip_chunks}");
            let mut request =
                series_request(&[re("t", ".+")], TimeRange::from_millis(min_ms, max_ms));
            request.skip_chunks = skip_chunks;
            let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) else {
                continue;
            };
            let external = labels("region=eu-west");
            let wanted = wanted
                .iter()
                .map(|text| final_labels(&labels(text), &external, &[]));
            report.equal(&case, "series", answer.labels(), wanted.collect());
            check_contract(report, &case, &request, &answer);
        }
    }
}

/// Adding a label moves a series behind a longer one that began with the same labels.
async fn check_order_with_external_labels<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let series = &[
        "a=1",
        "a=1,b=1",
        "a=1,b=1,c=1",
        "a=1,b=2",
        "a=1,x=1",
        "a=1,z=1",
        "a=2",
        "b=1",
        "b=1,m=0,n=1",
        "b=1,m=0",
        "m=1",
        "z=1",
        "zz=1,zzz=1",
        "zz=1",
    ];
    for external in [
        "region=eu-west",
        "b=0",
        "b=9,y=1",
        "a=1",
        "A=1",
        "zzzz=1",
        "b=1,c=1,m=0,zz=2",
        "",
    ] {
        let case = format!("order after adding {{{external}}}");
        let data = data(external, series);
        let mut wanted: Vec<_> = data
            .series
            .iter()
            .map(|series| final_labels(&series.labels, &data.external_labels, &[]))
            .collect();
        wanted.sort();
        wanted.dedup();
        let request = series_request(&[ne("a", "nothing")], ALL);
        let store = make_store(data).await;
        if let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) {
            report.equal(&case, "series", answer.labels(), wanted);
            check_contract(report, &case, &request, &answer);
        }
    }
}

/// replica labels of the series and of the store are removed, the order is right afterwards, and series
/// that become equal are neighbours with the chunks of both.
async fn check_replica_labels<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let series = &[
        "a=1,pod=x,z=9",
        "a=1,pod=y,z=1",
        "a=1,pod=y,z=9",
        "a=1,z=5",
        "a=2,pod=x",
        "b=1,pod=x",
        "b=1",
        "pod=x,z=1",
        "pod=y,z=0",
        "pod=z",
    ];
    let data = data("region=eu-west", series);
    let store = make_store(data.clone()).await;
    for without in [
        &["pod"][..],
        &["region"],
        &["pod", "region"],
        &["a", "pod"],
        &["missing"],
    ] {
        let case = format!("series without {without:?}");
        let mut wanted: BTreeMap<Labels, usize> = BTreeMap::new();
        for series in &data.series {
            let labels = final_labels(&series.labels, &data.external_labels, without);
            *wanted.entry(labels).or_default() += 1;
        }
        let mut request = series_request(&[ne("a", "nothing"), eq("region", "eu-west")], ALL);
        let names = without.iter().map(|name| (*name).to_owned());
        request.without_replica_labels.extend(names);
        if let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) {
            report.equal(
                &case,
                "series",
                answer.labels(),
                wanted.into_keys().collect(),
            );
            check_contract(report, &case, &request, &answer);
        }
    }
    check_joined_samples(make_store, report).await;
    check_replica_labels_of_label_calls(&store, report).await;
}

async fn check_joined_samples<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let case = "samples of series that became equal";
    let series = |pod: &str, times: std::ops::Range<i64>| DatasetSeries {
        labels: labels(&format!("a=1,pod={pod}")),
        samples: times.map(|time| (millis(time * 10), 1.0)).collect(),
    };
    let parts = vec![
        series("x", 0..150),
        series("y", 100..200),
        series("z", 300..310),
    ];
    let mut wanted: Vec<_> = parts.iter().flat_map(|part| part.samples.clone()).collect();
    wanted.sort_by_key(|sample| sample.0);
    wanted.dedup();
    let store = make_store(Dataset::new(labels("region=eu-west"), parts)).await;
    let mut request = series_request(&[eq("a", "1")], ALL);
    request.without_replica_labels.push("pod".into());
    let Some(answer) = report.ok(case, ask(&store, request.clone()).await) else {
        return;
    };
    check_contract(report, case, &request, &answer);
    report.equal(
        case,
        "series",
        answer.labels(),
        vec![labels("a=1,region=eu-west")],
    );
    for series in &answer.series {
        if let Some(samples) = report.ok(case, series.samples(ALL)) {
            report.equal(case, "samples", samples, wanted.clone());
        }
    }
}

async fn check_replica_labels_of_label_calls(store: &Arc<dyn Store>, report: &mut Report) {
    let case = "label calls without pod and region";
    let without = || [REPLICA_LABEL, "pod", "region"].map(str::to_owned).to_vec();
    let mut request = names_request(&[eq("region", "eu-west")], ALL);
    request.without_replica_labels = without();
    if let Some(response) = report.ok(case, store.label_names(request).await) {
        report.equal(
            case,
            "names",
            response.values,
            ["a", "b", "z"].map(str::to_owned).to_vec(),
        );
    }
    for (label, wanted) in [("pod", &[][..]), ("region", &[]), ("a", &["1", "2"])] {
        let mut request = values_request(label, &[], ALL);
        request.without_replica_labels = without();
        if let Some(response) = report.ok(case, store.label_values(request).await) {
            let wanted: Vec<_> = wanted.iter().map(|value| (*value).to_owned()).collect();
            report.equal(case, &format!("values of {label}"), response.values, wanted);
        }
    }
}

async fn check_limits<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let store = make_store(many_series()).await;
    let request = series_request(&[re("pod", ".+")], ALL);
    let Some(full) = report.ok("300 series", ask(&store, request.clone()).await) else {
        return;
    };
    report.equal("300 series", "count", full.series.len(), 300);
    check_contract(report, "300 series", &request, &full);
    for limit in [1, 2, 5, 64, 128, 129, 299, 300, 301] {
        let case = format!("the first {limit} of 300 series");
        let request = SeriesRequest {
            limit,
            ..request.clone()
        };
        if let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) {
            let count = usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(full.series.len());
            report.equal(
                &case,
                "series",
                answer.labels(),
                full.labels()[..count].to_vec(),
            );
            check_contract(report, &case, &request, &answer);
        }
    }
    let case = "the first 2 label names and values";
    let names = store.label_names(crate::store::LabelNamesRequest {
        limit: 2,
        ..names_request(&[], ALL)
    });
    if let Some(response) = report.ok(case, names.await) {
        report.equal(
            case,
            "names",
            response.values,
            vec!["group".to_owned(), "pod".into()],
        );
    }
    let values = store.label_values(crate::store::LabelValuesRequest {
        limit: 2,
        ..values_request("pod", &[], ALL)
    });
    if let Some(response) = report.ok(case, values.await) {
        report.equal(
            case,
            "values",
            response.values,
            vec!["p000".to_owned(), "p001".into()],
        );
    }
}

/// the shards are disjoint, their union is the whole, and they are those of Thanos' hash.
async fn check_shards<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let store = make_store(many_series()).await;
    let request = series_request(&[re("pod", ".+")], ALL);
    let Some(full) = report.ok("unsharded", ask(&store, request.clone()).await) else {
        return;
    };
    for (by, names) in [
        (true, &["pod"][..]),
        (true, &["group"]),
        (false, &["group"]),
        (false, &["pod", "region"]),
    ] {
        for shard_index in 0..3 {
            let case = format!("shard {shard_index} of 3 by={by} {names:?}");
            let shard = ShardInfo {
                shard_index,
                total_shards: 3,
                by,
                labels: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            let mut filter = ShardFilter::new(&shard).expect("three shards split");
            let mut wanted = full.labels();
            wanted.retain(|labels| filter.keeps(labels.as_ref()));
            let request = SeriesRequest {
                shard: Some(shard),
                ..request.clone()
            };
            if let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) {
                report.equal(&case, "series", answer.labels(), wanted.clone());
                check_contract(report, &case, &request, &answer);
            }
            let limited = SeriesRequest {
                limit: 10,
                ..request
            };
            if let Some(answer) = report.ok(&case, ask(&store, limited).await) {
                wanted.truncate(10);
                report.equal(&case, "the first 10 series", answer.labels(), wanted);
            }
        }
    }
}

/// All samples arrive, in chunks of at most 120, and only chunks that reach into the range.
async fn check_chunks<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let samples: Vec<(Timestamp, f64)> = (0..1000)
        .map(|place: i32| (millis(i64::from(place) * 15_000), f64::from(place % 17)))
        .collect();
    let series = vec![
        DatasetSeries {
            labels: labels("a=long"),
            samples: samples.clone(),
        },
        DatasetSeries {
            labels: labels("a=short"),
            samples: samples[500..501].to_vec(),
        },
    ];
    let data = Dataset::new(labels("region=eu-west"), series);
    let store = make_store(data.clone()).await;
    for (min_ms, max_ms) in [
        (i64::MIN, i64::MAX),
        (0, 15_000),
        (3_000_000, 9_000_000),
        (14_985_000, 20_000_000),
    ] {
        let case = format!("chunks between {min_ms} and {max_ms}");
        let range = TimeRange::from_millis(min_ms, max_ms);
        let request = series_request(&[re("a", ".+")], range);
        let Some(answer) = report.ok(&case, ask(&store, request.clone()).await) else {
            continue;
        };
        check_contract(report, &case, &request, &answer);
        check_samples(report, &case, &data, &answer, range);
    }
}

/// Notes every series whose samples in `range` are not those of the data set.
fn check_samples(
    report: &mut Report,
    case: &str,
    data: &Dataset,
    answer: &Answer,
    range: TimeRange,
) {
    let mut wanted = Vec::new();
    for series in &data.series {
        let samples = series
            .samples
            .iter()
            .filter(|sample| range.contains(sample.0));
        let samples: Vec<_> = samples.copied().collect();
        if !samples.is_empty() {
            wanted.push((
                final_labels(&series.labels, &data.external_labels, &[]),
                samples,
            ));
        }
    }
    let found: Result<Vec<_>> = answer
        .series
        .iter()
        .map(|series| Ok((series.labels.clone(), series.samples(range)?)))
        .collect();
    if let Some(mut found) = report.ok(case, found) {
        found.retain(|(_, samples)| !samples.is_empty());
        report.equal(case, "samples", found, wanted);
    }
}

/// Labels are UTF-8, not only what a metric name may hold.
async fn check_unusual_text<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let case = "labels with unusual text";
    let texts = [
        "a b",
        "\u{e9}t\u{e9}",
        "\u{1f980}",
        "quote\"",
        "back\\slash",
        "line\nend",
        "nul\u{0}",
        "nul\u{0}\u{1}",
    ];
    let series = texts.map(|text| DatasetSeries {
        labels: Labels::from_pairs([("n", text), ("with space", "1")]),
        samples: vec![(millis(1000), 1.0)],
    });
    let data = Dataset::new(labels("region=eu-west"), series.to_vec());
    let store = make_store(data.clone()).await;
    let request = series_request(&[re("n", "(?s).+"), eq("with space", "1")], ALL);
    if let Some(answer) = report.ok(case, ask(&store, request.clone()).await) {
        let wanted = data
            .series
            .iter()
            .map(|s| final_labels(&s.labels, &data.external_labels, &[]));
        report.equal(case, "series", answer.labels(), wanted.collect());
        check_contract(report, case, &request, &answer);
    }
    if let Some(response) = report.ok(
        case,
        store.label_values(values_request("n", &[], ALL)).await,
    ) {
        let mut wanted = texts.map(str::to_owned).to_vec();
        wanted.sort();
        report.equal(case, "values", response.values, wanted);
    }
}

/// Streams can be dropped half-way, read side by side, and asked for again.
async fn check_streams<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let case = "streams dropped and read side by side";
    let store = make_store(many_series()).await;
    let request = || series_request(&[re("pod", ".+")], ALL);
    drop(store.series(request()));
    for events in 0..2 {
        if let Some(mut stream) = report.ok(case, store.series(request()).await) {
            for _ in 0..events {
                let event = stream.next().await;
                report.equal(
                    case,
                    "a first event",
                    event.is_some_and(|event| event.is_ok()),
                    true,
                );
            }
        }
    }
    let (first, second) = futures::join!(ask(&store, request()), ask(&store, request()));
    if let (Some(first), Some(second)) = (report.ok(case, first), report.ok(case, second)) {
        report.equal(case, "count", first.series.len(), 300);
        report.equal(case, "both answers are equal", first == second, true);
    }
}

/// The announced labels and times let a proxy skip the store only when it has nothing to give.
async fn check_info<F>(make_store: &F, report: &mut Report)
where
    F: AsyncFn(Dataset) -> Arc<dyn Store>,
{
    let case = "info";
    let data = many_series();
    let bounds = data.time_bounds().expect("the data set has samples");
    let external = data.external_labels.clone();
    let store = make_store(data).await;
    let Some(info) = report.ok(case, store.info().await) else {
        return;
    };
    report.equal(case, "component is named", info.component.is_empty(), false);
    report.equal(case, "supports_sharding", info.supports_sharding, true);
    report.equal(
        case,
        "supports_without_replica_labels",
        info.supports_without_replica_labels,
        true,
    );
    let covers = info
        .time_range()
        .is_some_and(|range| range.contains(bounds.0) && range.contains(bounds.1));
    report.equal(case, "the time range covers the samples", covers, true);
    for tsdb in &info.tsdbs {
        let announced = final_labels(&tsdb.external_labels, &Labels::empty(), &[REPLICA_LABEL]);
        report.equal(case, "external labels", announced, external.clone());
    }
}
