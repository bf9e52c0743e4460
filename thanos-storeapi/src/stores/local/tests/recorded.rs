//! Requests that a real Thanos answered over the same blocks.

use bytes::Bytes;
use prost::Message;
use thanos_core::block::{Meta, ThanosMeta};
use thanos_core::chunk::SeriesChunk;
use thanos_core::testkit::copy_dir;

use super::*;
use crate::convert::response::{label_names_from_pb, label_values_from_pb};
use crate::pb::thanos as pb;
use crate::pb::thanos::info as info_pb;
use crate::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use crate::wire::FrameDecoder;

fn recorded(name: &str) -> Bytes {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/storeapi");
    std::fs::read(format!("{dir}/{name}.bin")).unwrap().into()
}

fn core_testdata(name: &str) -> std::path::PathBuf {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../thanos-core/testdata");
    Path::new(dir).join(name)
}

fn recorded_request(name: &str) -> SeriesRequest {
    let message = pb::SeriesRequest::decode(recorded(&format!("{name}.req"))).unwrap();
    SeriesRequest::try_from(message).unwrap()
}

/// The series of a recorded answer, or of one of ours: labels and chunks in a comparable order.
type Series = Vec<(String, Vec<SeriesChunk>)>;

fn recorded_series(name: &str) -> Series {
    let mut rest = recorded(&format!("{name}.resp"));
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
        (
            chunk.min_time,
            chunk.max_time,
            format!("{:?}", chunk.payload),
        )
    });
    chunks
}

fn answered(store: &dyn Store, request: SeriesRequest) -> Series {
    let answer =
        futures::executor::block_on(async { Answer::collect(store.series(request).await?).await });
    let answer = answer.unwrap();
    assert_eq!((answer.missing, answer.warnings), (vec![], vec![]));
    let own = answer
        .series
        .iter()
        .map(|series| (series.labels.to_string(), in_order(series.chunks())));
    own.collect()
}

fn assert_answers(store: &dyn Store, name: &str) {
    let (found, wanted) = (
        answered(store, recorded_request(name)),
        recorded_series(name),
    );
    let labels = |series: &Series| series.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(labels(&found), labels(&wanted), "{name}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(found == wanted, "{name}: the chunks of {} differ", found.0);
    }
}

/// Opens a block of Prometheus as Thanos saw it after the upload.
fn uploaded(blocks: &[(&str, &[(&str, &str)])]) -> LocalStore {
    let dir = TempDir::new("uploaded");
    for (path, labels) in blocks {
        let from = core_testdata(path);
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
    LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap()
}

fn bench_store() -> LocalStore {
    uploaded(&[(
        "block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9",
        &[("prometheus", "bench")],
    )])
}

const REPLICA_A: &[(&str, &str)] = &[("cluster", "demo"), ("replica", "a")];
const REPLICA_B: &[(&str, &str)] = &[("cluster", "demo"), ("replica", "b")];
const HA_BLOCKS: [(&str, &[(&str, &str)]); 6] = [
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

#[test]
fn series_of_one_block_are_those_of_thanos() {
    let store = bench_store();
    for name in [
        "store-raw-eq",
        "store-raw-regex",
        "store-raw-extlabel-miss",
        "store-skip-chunks",
        "store-limit",
    ] {
        assert_answers(&store, name);
    }
}

#[test]
fn series_of_replicas_are_those_of_thanos() {
    let store = uploaded(&HA_BLOCKS);
    for name in ["store-ha-with-replica", "store-ha-without-replica"] {
        assert_answers(&store, name);
    }
}

#[test]
fn downsampled_series_are_those_of_thanos() {
    let store = downsampled();
    for name in ["store-ds-raw", "store-ds-5m", "store-ds-1h"] {
        assert_answers(&store, name);
    }
}

/// The same blocks behind two stores and a proxy.
#[test]
fn a_proxy_answers_as_thanos_query_does() {
    let replica = |blocks: &[(&str, &[(&str, &str)])]| {
        Endpoint::local("store", Arc::new(uploaded(blocks)) as Arc<dyn Store>)
    };
    let endpoints = EndpointSet::new([replica(&HA_BLOCKS[..3]), replica(&HA_BLOCKS[3..])]);
    let proxy = Proxy::new(endpoints, ProxyOptions::default());
    for name in [
        "query-proxy-ha-dedup",
        "store-ha-with-replica",
        "store-ha-without-replica",
    ] {
        assert_answers(&proxy, name);
    }
}

#[test]
fn labels_are_those_of_thanos() {
    let store = bench_store();
    let request = pb::LabelNamesRequest::decode(recorded("store-label-names.req")).unwrap();
    let found = store.label_names(LabelNamesRequest::try_from(request).unwrap());
    let wanted = pb::LabelNamesResponse::decode(recorded("store-label-names.resp")).unwrap();
    let wanted = label_names_from_pb(wanted, "recorded");
    assert_eq!(
        futures::executor::block_on(found).unwrap().values,
        wanted.values
    );
    for name in ["store-label-values", "store-label-values-ext"] {
        let request = pb::LabelValuesRequest::decode(recorded(&format!("{name}.req"))).unwrap();
        let found = store.label_values(LabelValuesRequest::try_from(request).unwrap());
        let wanted = pb::LabelValuesResponse::decode(recorded(&format!("{name}.resp"))).unwrap();
        let wanted = label_values_from_pb(wanted, "recorded");
        assert_eq!(
            futures::executor::block_on(found).unwrap().values,
            wanted.values,
            "{name}"
        );
    }
}

/// ST-31.
#[test]
fn info_is_that_of_thanos() {
    for (store, name) in [
        (bench_store(), "store-info"),
        (uploaded(&HA_BLOCKS), "store-ha-info"),
    ] {
        let wanted = info_pb::InfoResponse::decode(recorded(&format!("{name}.resp"))).unwrap();
        let wanted = StoreInfo::from(wanted);
        let found = futures::executor::block_on(store.info()).unwrap();
        assert_eq!(found, wanted, "{name}");
    }
}
