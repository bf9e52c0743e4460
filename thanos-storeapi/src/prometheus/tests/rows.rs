//! The rows of the specification, by what the fake was asked and what came of it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use thanos_core::chunk::Aggregate;
use thanos_core::error::ErrorKind;
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::time::{FixedClock, TimeRange, Timestamp};

use super::fake::{FakePrometheus, Manners, chunked_series, read_request};
use crate::prometheus::read::frames::put_frame;
use crate::prometheus::{
    PrometheusApis, PrometheusServer, PrometheusStore, PrometheusStoreOptions,
};
use crate::store::{LabelNamesRequest, LabelValuesRequest, SeriesRequest, Store};
use crate::testkit::http::Ending;
use crate::testkit::{Answer, Dataset, DatasetSeries};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn series(pairs: &[(&str, &str)], samples: i64) -> DatasetSeries {
    let sample = |at: i64| (Timestamp::from_millis(1000 + at * 15_000), at as f64);
    DatasetSeries {
        labels: labels(pairs),
        samples: (0..samples).map(sample).collect(),
    }
}

fn data() -> Dataset {
    let all = vec![
        series(&[("__name__", "up"), ("job", "a")], 300),
        series(&[("__name__", "up"), ("job", "b")], 1),
    ];
    Dataset::new(labels(&[("cluster", "eu"), ("replica", "1")]), all)
}

async fn started() -> (FakePrometheus, PrometheusStore) {
    started_with(|_| {}, PrometheusStoreOptions::default()).await
}

async fn started_with(
    manners: impl FnOnce(&mut Manners),
    options: PrometheusStoreOptions,
) -> (FakePrometheus, PrometheusStore) {
    let fake = FakePrometheus::start(data()).await;
    fake.change(manners);
    let store = PrometheusStore::new(fake.server().await, options);
    (fake, store)
}

fn up() -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::equal("__name__", "up")],
        ..SeriesRequest::default()
    }
}

async fn ask(store: &PrometheusStore, request: SeriesRequest) -> thanos_core::Result<Answer> {
    Answer::collect(store.series(request).await?).await
}

/// Returns the paths that were asked for, without the label names that the store wants to know itself.
fn paths(fake: &FakePrometheus) -> Vec<String> {
    let asked = fake.http.asked().into_iter();
    let asked = asked.filter(|asked| asked.path != "/api/v1/labels" || !asked.query.is_empty());
    asked.map(|asked| asked.path).collect()
}

/// SC-01: how series are asked for. X-55: by whom.
#[tokio::test]
async fn series_are_asked_for_by_remote_read() {
    let (fake, store) = started().await;
    let mut request = up();
    request.range = TimeRange::from_millis(5, 20_000);
    request
        .matchers
        .push(Matcher::new(MatchOp::NotRegex, "job", "b|c").unwrap());
    request.matchers.push(Matcher::equal("cluster", "eu"));
    let wanted = request.matchers[..2].to_vec();
    let answer = ask(&store, request).await.unwrap();
    assert_eq!(answer.series.len(), 1);

    let asked = fake.http.asked();
    let read = asked
        .iter()
        .find(|asked| asked.path == "/api/v1/read")
        .unwrap();
    assert_eq!(read.method, "POST");
    for (name, value) in [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-stream-protobuf"),
        ("x-prometheus-remote-read-version", "0.1.0"),
        ("user-agent", concat!("Thanos/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(read.header(name), Some(value), "{name}");
    }
    let (range, matchers, accepted) = read_request(&read.body);
    assert_eq!(range, TimeRange::from_millis(5, 20_000));
    assert_eq!(matchers, wanted, "matchers on external labels are left out");
    assert_eq!(accepted, [1, 0]);
}

/// SC-02: the bytes of chunks are those of Prometheus. SC-10: and carry their hash on the way on.
#[tokio::test]
async fn chunks_leave_as_they_came() {
    let (_fake, store) = started().await;
    let answer = ask(&store, up()).await.unwrap();
    for (found, wanted) in answer.series.iter().zip(&data().series) {
        let found: Vec<_> = found.chunks().cloned().collect();
        assert_eq!(found, wanted.to_chunks());
    }
    let chunk = answer.series[0].chunks().next().unwrap();
    let data = &chunk.get(Aggregate::Raw).unwrap().data;
    let hash = xxhash_rust::xxh64::xxh64(data, 0);
    let mut frames = crate::wire::Frames::new(1);
    let mut events = store.series(up()).await.unwrap();
    frames.push(events.next().await.unwrap().unwrap());
    let mut out = Vec::new();
    let frame = frames.next_full().unwrap();
    crate::wire::FrameEncoder::default()
        .encode(&frame, &mut out)
        .unwrap();
    let mut field = vec![0x18];
    crate::wire::proto::put_varint(&mut field, hash);
    assert!(out.windows(field.len()).any(|window| window == field));
}

/// SC-03: samples become chunks of at most 120.
#[tokio::test]
async fn samples_become_chunks() {
    let (_fake, store) = started_with(|fake| fake.streams = false, Default::default()).await;
    let answer = ask(&store, up()).await.unwrap();
    let counts: Vec<_> = answer
        .series
        .iter()
        .map(|series| series.chunks().count())
        .collect();
    assert_eq!(counts, [3, 1]);
    let all = answer.series[0].samples(TimeRange::ALL).unwrap();
    assert_eq!(all, data().series[0].samples);
    // A series that has no samples in the range comes all the same, and is left out.
    let range = TimeRange::from_millis(16_000, 40_000);
    let answer = ask(&store, SeriesRequest { range, ..up() }).await.unwrap();
    assert_eq!(answer.series.len(), 1);
}

/// SC-04: labels alone need no chunks.
#[tokio::test]
async fn labels_alone_come_from_the_series_call() {
    let (fake, store) = started().await;
    let request = SeriesRequest {
        skip_chunks: true,
        limit: 7,
        range: TimeRange::from_millis(-1500, 99_999),
        ..up()
    };
    let answer = ask(&store, request).await.unwrap();
    let found: Vec<String> = answer.labels().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            r#"{__name__="up", cluster="eu", job="a", replica="1"}"#,
            r#"{__name__="up", cluster="eu", job="b", replica="1"}"#,
        ]
    );
    let asked = fake.http.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/api/v1/series");
    assert_eq!(asked[0].parameter("match[]"), Some(r#"{__name__="up"}"#));
    assert_eq!(asked[0].parameter("start"), Some("-1.500"));
    assert_eq!(asked[0].parameter("end"), Some("99.999"));
    assert_eq!(asked[0].parameter("limit"), Some("7"));
}

/// SC-05: label calls go where the version of the server allows it.
#[tokio::test]
async fn label_calls_depend_on_the_version() {
    let names = |matchers: Vec<Matcher>| LabelNamesRequest {
        matchers,
        ..LabelNamesRequest::default()
    };
    let values = |matchers: Vec<Matcher>| LabelValuesRequest {
        label: "job".into(),
        matchers,
        ..LabelValuesRequest::default()
    };
    let some = || vec![Matcher::equal("job", "a")];
    for (version, paths_of_some) in [
        ("2.24.0", ["/api/v1/labels", "/api/v1/label/job/values"]),
        ("2.23.0", ["/api/v1/series", "/api/v1/series"]),
        ("0", ["/api/v1/series", "/api/v1/series"]),
    ] {
        let (fake, store) = started_with(|fake| fake.version = version, Default::default()).await;
        let answer = store.label_names(names(some())).await.unwrap();
        assert_eq!(answer.values, ["__name__", "cluster", "job", "replica"]);
        let answer = store.label_values(values(some())).await.unwrap();
        assert_eq!(answer.values, ["a"]);
        assert_eq!(paths(&fake), paths_of_some, "{version}");
        store.label_names(names(Vec::new())).await.unwrap();
        let answer = store.label_values(values(Vec::new())).await.unwrap();
        assert_eq!(answer.values, ["a", "b"]);
        let asked: Vec<_> = fake
            .http
            .asked()
            .into_iter()
            .map(|asked| asked.path)
            .collect();
        assert_eq!(
            asked,
            ["/api/v1/labels", "/api/v1/label/job/values"],
            "{version}"
        );
    }
}

/// SC-06: external labels are added, and win; matchers on them are not Prometheus' business.
#[tokio::test]
async fn matchers_on_external_labels_are_evaluated_here() {
    let (fake, store) = started().await;
    let mut other = up();
    other.matchers.push(Matcher::equal("cluster", "us"));
    assert_eq!(ask(&store, other).await.unwrap(), Answer::default());
    let only = SeriesRequest {
        matchers: vec![Matcher::equal("cluster", "eu")],
        ..SeriesRequest::default()
    };
    let error = ask(&store, only).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(
        error.to_string().contains("excluding external labels"),
        "{error}"
    );
    assert!(fake.http.asked().is_empty(), "nothing was asked");
}

/// SC-07: an external label has one value, if there are series at all.
#[tokio::test]
async fn an_external_label_has_one_value() {
    let (fake, store) = started().await;
    for (matchers, found) in [
        (Vec::new(), &["eu"][..]),
        (vec![Matcher::equal("job", "a")], &["eu"]),
        (vec![Matcher::equal("job", "none")], &[]),
        (vec![Matcher::equal("cluster", "us")], &[]),
    ] {
        let request = LabelValuesRequest {
            label: "cluster".into(),
            matchers,
            ..LabelValuesRequest::default()
        };
        assert_eq!(store.label_values(request).await.unwrap().values, found);
    }
    let limits = fake.http.asked();
    assert!(
        limits
            .iter()
            .all(|asked| asked.parameter("limit") == Some("1"))
    );
}

/// SC-11: the served times begin where Prometheus' data or the limit does; SC-30: and are announced.
#[tokio::test]
async fn served_times_begin_at_the_later_of_two() {
    let clock = Arc::new(FixedClock(Timestamp::from_millis(7_200_000)));
    for (lowest, min_time, expected) in [
        (None, "-1h", 3_600_000),
        (Some(5_000_000), "-1h", 5_000_000),
        (Some(10_000), "1970-01-01T00:00:20Z", 20_000),
        (None, "0000-01-01T00:00:00Z", -62_167_219_200_000),
    ] {
        let options = PrometheusStoreOptions {
            min_time: min_time.parse().unwrap(),
            clock: Arc::clone(&clock) as _,
            offers: PrometheusApis::offers(),
            ..Default::default()
        };
        let (fake, store) = started_with(|fake| fake.lowest = lowest, options).await;
        let info = store.info().await.unwrap();
        assert_eq!(info.component, "sidecar");
        assert_eq!(info.tsdbs.len(), 1);
        assert_eq!(info.tsdbs[0].external_labels, data().external_labels);
        let range = info.time_range().unwrap();
        assert_eq!(
            (range.min.as_millis(), range.max),
            (expected, Timestamp::MAX)
        );
        ask(&store, up()).await.unwrap();
        let asked = fake.http.asked();
        let read = asked
            .iter()
            .find(|asked| asked.path == "/api/v1/read")
            .unwrap();
        assert_eq!(read_request(&read.body).0.min.as_millis(), expected);
    }
    let min_time = "1970-01-01T00:00:20Z".parse().unwrap();
    let options = PrometheusStoreOptions {
        min_time,
        ..Default::default()
    };
    let (fake, store) = started_with(|_| {}, options).await;
    let range = TimeRange::from_millis(0, 19_000);
    assert_eq!(
        ask(&store, SeriesRequest { range, ..up() }).await.unwrap(),
        Answer::default()
    );
    assert!(paths(&fake).is_empty(), "what is hidden is not asked for");
}

/// SC-14, SC-15, SC-30: what a refresh finds is what is said from then on.
#[tokio::test]
async fn a_refresh_changes_labels_and_readiness() {
    let fake = FakePrometheus::start(data()).await;
    let server = PrometheusServer::new(fake.client());
    let options = PrometheusStoreOptions {
        offers: PrometheusApis::offers(),
        ..Default::default()
    };
    let store = PrometheusStore::new(server.clone(), options);
    let info = store.info().await.unwrap();
    assert!(!info.offers.store && info.offers.rules && info.tsdbs.is_empty());

    server.refresh().await.unwrap();
    let info = store.info().await.unwrap();
    assert!(info.offers.store && info.offers.status && info.offers.exemplars.is_some());
    assert_eq!(info.tsdbs[0].external_labels, data().external_labels);

    fake.change(|fake| fake.is_down = true);
    let error = server.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("/metrics"), "{error}");
    let info = store.info().await.unwrap();
    assert!(!info.offers.store);
    assert_eq!(
        info.tsdbs[0].external_labels,
        data().external_labels,
        "still known"
    );

    let moved = labels(&[("cluster", "us")]);
    fake.change(|fake| {
        fake.is_down = false;
        fake.external_labels = moved.clone();
    });
    // Between the reload of Prometheus and the next refresh, the labels are the old ones.
    let answer = ask(&store, up()).await.unwrap();
    assert_eq!(answer.labels()[0].get("cluster").unwrap(), "eu");
    server.refresh().await.unwrap();
    let answer = ask(&store, up()).await.unwrap();
    assert_eq!(
        answer.labels()[0],
        labels(&[("__name__", "up"), ("cluster", "us"), ("job", "a")])
    );
}

/// Series that are out of order fail one answer; the next are sorted.
#[tokio::test]
async fn disorder_fails_once() {
    let (_fake, store) = started_with(|fake| fake.reversed = true, Default::default()).await;
    let error = ask(&store, up()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let answer = ask(&store, up()).await.unwrap();
    assert_eq!(answer.series.len(), 2);
    assert!(answer.labels().is_sorted());
}

/// No answer is shorter than it is without an error that says so.
#[tokio::test]
async fn an_answer_that_ends_early_is_an_error() {
    for streams in [true, false] {
        let cut = |fake: &mut Manners| {
            fake.ending = Ending::Cut;
            fake.streams = streams;
        };
        let (fake, store) = started_with(cut, Default::default()).await;
        let error = ask(&store, up()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&fake.http.url()), "{error}");
    }
    let mut body = Vec::new();
    put_frame(
        &mut body,
        &chunked_series(&data().series[0].labels, &data().series[0].to_chunks()),
    );
    body.extend(b"out of memory");
    let (_fake, store) = started_with(|fake| fake.read_body = Some(body), Default::default()).await;
    let error = ask(&store, up()).await.unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert!(error.to_string().contains("/api/v1/read"), "{error}");
}

/// Dropping the answer ends the request at Prometheus.
#[tokio::test]
async fn a_dropped_answer_ends_the_request() {
    let (fake, store) = started_with(|fake| fake.ending = Ending::Never, Default::default()).await;
    let mut events = store.series(up()).await.unwrap();
    let never = tokio::time::timeout(Duration::from_millis(100), async {
        while let Some(event) = events.next().await {
            event.unwrap();
        }
    });
    assert!(never.await.is_err(), "the answer ended");
    drop(events);
    for _ in 0..400 {
        if fake.http.clients_that_left() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the request went on");
}

/// Errors have the address and what Prometheus said.
#[tokio::test]
async fn errors_name_the_server_and_its_reason() {
    let (fake, store) = started().await;
    fake.change(|fake| fake.is_down = true);
    let error = ask(&store, up()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let said = format!(
        "POST {}/api/v1/read: status 503: Service Unavailable",
        fake.http.url()
    );
    assert_eq!(error.to_string(), said);
    let address = fake.http.address;
    drop(fake);
    let error = store
        .label_names(LabelNamesRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
