//! Requests that a real Thanos answered over the same blocks, and the index-headers that it made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_core::block::{Meta, ThanosMeta};
use thanos_core::chunk::{Aggregate, SeriesChunk};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesBatchBuilder;
use thanos_core::testkit::{TempDir, copy_dir};
use thanos_core::time::TimeRange;
use thanos_storeapi::store::{LabelNamesRequest, LabelValuesRequest, SeriesRequest, Store};
use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};
use thanos_storeapi::testkit::Answer;
use thanos_storeapi::wire::FrameDecoder;

fn sources(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn recorded(name: &str) -> Bytes {
    let path = format!("thanos-storeapi/testdata/storeapi/{name}.resp.bin");
    std::fs::read(sources(&path)).unwrap().into()
}

/// Labels and chunks of the series of an answer.
type Series = Vec<(String, Vec<SeriesChunk>)>;

fn recorded_series(name: &str) -> Series {
    let mut rest = recorded(name);
    let (mut decoder, mut batch) = (FrameDecoder::new("recorded"), SeriesBatchBuilder::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest.split_to(4)[..].try_into().unwrap());
        let event = decoder
            .decode(&rest.split_to(len as usize), &mut batch)
            .unwrap();
        assert!(event.is_none(), "{event:?}");
    }
    let batch = batch.finish();
    let own = batch
        .iter()
        .map(|series| (series.labels.to_string(), in_order(series.chunks)));
    own.collect()
}

/// Thanos leaves the order of chunks with equal times to chance.
fn in_order<'a>(chunks: impl IntoIterator<Item = &'a SeriesChunk>) -> Vec<SeriesChunk> {
    let mut chunks: Vec<_> = chunks.into_iter().cloned().collect();
    chunks.sort_by_cached_key(|chunk| {
        let payload = format!("{:?}", chunk.payload);
        (chunk.min_time, chunk.max_time, payload)
    });
    chunks
}

/// The strings of the first field of a recorded message: names or values of labels.
fn recorded_labels(name: &str) -> Vec<String> {
    let message = recorded(name);
    let (mut at, mut found) = (0, Vec::new());
    while message.get(at) == Some(&0x0A) {
        let len = usize::from(message[at + 1]);
        assert!(len < 128, "short strings only");
        let text = message.slice(at + 2..at + 2 + len);
        found.push(String::from_utf8(text.to_vec()).unwrap());
        at += 2 + len;
    }
    found
}

/// Copies blocks into a directory, as they were after the upload.
fn uploaded(blocks: &[(&str, &[(&str, &str)])]) -> TempDir {
    let dir = TempDir::new("golden");
    for (path, labels) in blocks {
        let from = sources("thanos-core/testdata").join(path);
        let to = dir.path().join(from.file_name().unwrap());
        copy_dir(&from, &to);
        let mut meta = Meta::read_dir(&to).unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        meta.thanos = Some(ThanosMeta {
            version: 1,
            labels: labels.iter().map(own).collect(),
            ..ThanosMeta::default()
        });
        meta.write_dir(&to).unwrap();
    }
    dir
}

const BENCH: [(&str, &[(&str, &str)]); 1] = [(
    "block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9",
    &[("prometheus", "bench")],
)];
const REPLICA_A: &[(&str, &str)] = &[("cluster", "demo"), ("replica", "a")];
const REPLICA_B: &[(&str, &str)] = &[("cluster", "demo"), ("replica", "b")];
const HA: [(&str, &[(&str, &str)]); 6] = [
    (
        "live-ha-blocks/replica-a/01M81KAF3TAPGCRQH5B9S6EV94",
        REPLICA_A,
    ),
    (
        "live-ha-blocks/replica-a/01M81KKM2SHQ4AVFSA89Q2GRQN",
        REPLICA_A,
    ),
    (
        "live-ha-blocks/replica-a/01M81KWS1TS5QP97B1YECQDJDM",
        REPLICA_A,
    ),
    (
        "live-ha-blocks/replica-b/01M81KBZSYMK24ER7SA0GGKPTF",
        REPLICA_B,
    ),
    (
        "live-ha-blocks/replica-b/01M81KKN8Q8Q6QJFF2SYG7SYD1",
        REPLICA_B,
    ),
    (
        "live-ha-blocks/replica-b/01M81KWT7RBAVZJXZHPP9Q4SYC",
        REPLICA_B,
    ),
];

async fn served(dir: &Path, data_dir: Option<PathBuf>) -> Arc<Gateway> {
    let bucket = thanos_bucket::directory::open(dir).unwrap();
    let options = GatewayOptions {
        data_dir,
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    let report = gateway.sync().await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    Arc::new(gateway)
}

async fn assert_answers(store: &dyn Store, name: &str, request: SeriesRequest) {
    let answer = Answer::collect(store.series(request).await.unwrap())
        .await
        .unwrap();
    assert_eq!((answer.missing, answer.warnings), (vec![], vec![]));
    let found: Series = answer
        .series
        .iter()
        .map(|series| (series.labels.to_string(), in_order(series.chunks())))
        .collect();
    let wanted = recorded_series(name);
    let labels = |series: &Series| series.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(labels(&found), labels(&wanted), "{name}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(found == wanted, "{name}: the chunks of {} differ", found.0);
    }
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher::equal(name, value)
}

fn regex(name: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Regex, name, value).unwrap()
}

fn request(range: (i64, i64), matchers: Vec<Matcher>) -> SeriesRequest {
    SeriesRequest {
        range: TimeRange::from_millis(range.0, range.1),
        matchers,
        ..SeriesRequest::default()
    }
}

const BENCH_TIME: (i64, i64) = (1_793_491_200_000, 1_793_498_400_000);

/// ST-01, ST-16: one block.
#[tokio::test]
async fn series_of_one_block_are_those_of_thanos() {
    let dir = uploaded(&BENCH);
    let store = served(dir.path(), None).await;
    let goroutines = equal("__name__", "go_goroutines");
    let not_login = Matcher::new(MatchOp::NotEqual, "handler", "/login").unwrap();
    let cases = [
        (
            "store-raw-eq",
            request(BENCH_TIME, vec![goroutines.clone()]),
        ),
        (
            "store-raw-extlabel-miss",
            request(BENCH_TIME, vec![goroutines, equal("prometheus", "other")]),
        ),
        (
            "store-raw-regex",
            request(
                (1_793_493_000_000, 1_793_494_800_000),
                vec![
                    equal("__name__", "http_requests_total"),
                    regex("pod", "api-.*-00[0-3]"),
                    not_login,
                ],
            ),
        ),
        (
            "store-skip-chunks",
            SeriesRequest {
                skip_chunks: true,
                ..request(BENCH_TIME, vec![equal("__name__", "edge")])
            },
        ),
        (
            "store-limit",
            SeriesRequest {
                limit: 5,
                ..request(BENCH_TIME, vec![regex("__name__", ".+")])
            },
        ),
    ];
    for (name, request) in cases {
        assert_answers(&*store, name, request).await;
    }
}

/// ST-17: blocks of two replicas, with the replica label and without.
#[tokio::test]
async fn series_of_replicas_are_those_of_thanos() {
    let dir = uploaded(&HA);
    let store = served(dir.path(), None).await;
    let load = || {
        let range = (1_795_349_700_000, 1_795_350_600_000);
        request(range, vec![equal("__name__", "node_load1")])
    };
    assert_answers(&*store, "store-ha-with-replica", load()).await;
    let without = SeriesRequest {
        without_replica_labels: vec!["replica".to_owned()],
        ..load()
    };
    assert_answers(&*store, "store-ha-without-replica", without).await;
}

/// ST-14, ST-15: raw, five minutes and one hour.
#[tokio::test]
async fn downsampled_series_are_those_of_thanos() {
    let dir = sources("thanos-storeapi/testdata/downsampled");
    let store = served(&dir, None).await;
    for (name, resolution_ms) in [
        ("store-ds-raw", 0),
        ("store-ds-5m", 300_000),
        ("store-ds-1h", 3_600_000),
    ] {
        let matchers = vec![
            equal("__name__", "edge"),
            regex("case", "sin|counter_5_resets"),
        ];
        let request = SeriesRequest {
            max_resolution_window_ms: resolution_ms,
            aggregates: Aggregate::DOWNSAMPLED.to_vec(),
            ..request((1_791_417_600_000, 1_791_590_400_000), matchers)
        };
        assert_answers(&*store, name, request).await;
    }
}

/// ST-29: names, values of a label of the series, values of an external label.
#[tokio::test]
async fn labels_are_those_of_thanos() {
    let dir = uploaded(&BENCH);
    let store = served(dir.path(), None).await;
    let range = TimeRange::from_millis(BENCH_TIME.0, BENCH_TIME.1);
    let names = store.label_names(LabelNamesRequest {
        range,
        ..LabelNamesRequest::default()
    });
    assert_eq!(
        names.await.unwrap().values,
        recorded_labels("store-label-names")
    );
    for (name, label, matchers) in [
        (
            "store-label-values",
            "handler",
            vec![equal("namespace", "search")],
        ),
        ("store-label-values-ext", "prometheus", vec![]),
    ] {
        let values = store.label_values(LabelValuesRequest {
            label: label.to_owned(),
            range,
            matchers,
            ..LabelValuesRequest::default()
        });
        assert_eq!(
            values.await.unwrap().values,
            recorded_labels(name),
            "{name}"
        );
    }
}

/// ST-31: what a store of local blocks says, which is compared with Thanos where it is made.
#[tokio::test]
async fn info_is_that_of_other_stores_of_the_same_blocks() {
    for blocks in [&BENCH[..], &HA[..]] {
        let dir = uploaded(blocks);
        let local = LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap();
        let store = served(dir.path(), None).await;
        let (found, wanted) = (store.info().await.unwrap(), local.info().await.unwrap());
        assert_eq!(found.tsdbs, wanted.tsdbs);
        assert_eq!(found.component, wanted.component);
    }
}

/// ST-04: the file of an index-header is that of Thanos to the byte.
#[tokio::test]
async fn an_index_header_is_that_of_thanos() {
    let golden = "thanos-core/testdata/thanos-golden/index-header/block-1k-2h.index-header";
    let (dir, headers) = (uploaded(&BENCH), TempDir::new("golden-headers"));
    let store = served(dir.path(), Some(headers.path().to_owned())).await;
    let all = request(BENCH_TIME, vec![regex("__name__", ".+")]);
    let answer = Answer::collect(store.series(all).await.unwrap()).await;
    assert_eq!(answer.unwrap().series.len(), 1000);
    let file = headers
        .path()
        .join("01M81JDC7R8JKP7SEW1VN2HAQ9/index-header");
    assert!(std::fs::read(file).unwrap() == std::fs::read(sources(golden)).unwrap());
}
