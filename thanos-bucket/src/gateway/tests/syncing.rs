//! Syncs: what makes a block ready, what stays of blocks that are gone, and what answers say of those that are not
//! served.

use std::time::Duration;

use object_store::memory::InMemory;
use thanos_core::block::BlockId;
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::hints::{BLOCK_ID_LABEL, LabelsRequestHints, SeriesRequestHints};
use thanos_storeapi::testkit::Answer;

use super::*;
use crate::fetch::ViewOrigin;
use crate::testkit::{BlockData, BlockSpec, LatencyModel, LatencyStore, RequestKind, block_id};

const BLOCKS: u32 = 30;

/// A slow bucket of small blocks.
async fn slow_bucket() -> (Arc<LatencyStore>, Bucket) {
    bucket_as_slow_as(LatencyModel::default()).await
}

async fn bucket_as_slow_as(model: LatencyModel) -> (Arc<LatencyStore>, Bucket) {
    let series = K8sSpec {
        series: 5,
        samples: 10,
        ..K8sSpec::default()
    };
    let data = BlockData::wide(&series).unwrap();
    let memory = Arc::new(InMemory::new());
    let bucket = Bucket::new(memory.clone());
    for number in 0..BLOCKS {
        let spec = BlockSpec {
            id: block_id(number),
            labels: vec![("block".to_owned(), number.to_string())],
            ..BlockSpec::default()
        };
        data.upload(&bucket, &spec).await.unwrap();
    }
    let store = Arc::new(LatencyStore::new(memory, model));
    (Arc::clone(&store), Bucket::new(store))
}

async fn publish_manifest(bucket: &Bucket) {
    let manifest = ManifestOptions {
        mode: ManifestMode::Publish,
        ..ManifestOptions::default()
    };
    let options = GatewayOptions {
        manifest: Some(manifest),
        headers: HeaderOptions {
            download: HeaderDownload::AtUse,
            ..HeaderOptions::default()
        },
        ..GatewayOptions::default()
    };
    let publisher = Gateway::new(bucket.clone(), options);
    publisher.sync().await.unwrap();
    let published = publisher.publish_manifest().await.unwrap();
    assert_eq!(published, Some(Published::Written));
    assert_eq!(publisher.publish_manifest().await.unwrap(), None);
}

async fn answer(gateway: &Gateway, request: SeriesRequest) -> Answer {
    let stream = gateway.series(request).await.unwrap();
    Answer::collect(stream).await.unwrap()
}

/// Pain 10: blocks of a manifest are served after one round trip; their headers come in the background, a few at once, or
/// with the first request for them.
#[tokio::test(start_paused = true)]
async fn blocks_of_a_manifest_are_ready_before_their_headers() {
    let (store, bucket) = slow_bucket().await;
    publish_manifest(&bucket).await;
    let dir = TempDir::new("gateway-later");
    let options = GatewayOptions {
        data_dir: Some(dir.path().to_owned()),
        ..GatewayOptions::default()
    };
    store.take_trace();
    let gateway = Gateway::new(bucket.clone(), options.clone());
    let report = gateway.sync().await.unwrap();
    let ready = store.take_trace();
    assert_eq!(
        (report.loaded, report.origin),
        (BLOCKS as usize, ViewOrigin::Manifest)
    );
    // The manifest, and at the same time the tombstones.
    assert_eq!(
        (ready.requests.len(), ready.count(RequestKind::List)),
        (2, 1),
        "{ready:#?}"
    );

    let found = answer(&gateway, all_series()).await;
    assert_eq!(found.series.len(), 5 * BLOCKS as usize);
    drop(gateway);
    store.take_trace();

    let again = Gateway::new(
        bucket,
        GatewayOptions {
            data_dir: None,
            ..options.clone()
        },
    );
    again.sync().await.unwrap();
    let mut at_once = 0;
    while again.headers_later.waiting() > 0 || store.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        at_once = at_once.max(store.in_flight());
    }
    let trace = store.take_trace();
    let headers = trace.requests.iter();
    let headers = headers.filter(|request| request.object.ends_with("/index"));
    assert_eq!(headers.count(), BLOCKS as usize);
    assert!(at_once <= 4, "{at_once} at once");
    let first = &trace.requests[2].object;
    assert!(
        first.ends_with("/index") && trace.count(RequestKind::List) == 1,
        "{first}"
    );
}

/// Without a manifest a block is served when its header is there, as by Thanos.
#[tokio::test(start_paused = true)]
async fn blocks_of_a_listing_have_their_headers_when_they_are_served() {
    let (store, bucket) = slow_bucket().await;
    let dir = TempDir::new("gateway-listing");
    let options = GatewayOptions {
        data_dir: Some(dir.path().to_owned()),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    let report = gateway.sync().await.unwrap();
    assert_eq!(report.origin, ViewOrigin::Listing);
    assert_eq!(store.in_flight(), 0);
    for number in 0..BLOCKS {
        let file = dir.path().join(block_id(number).to_string());
        assert!(file.join(header::HEADER_FILE).exists(), "block {number}");
    }
}

/// ST-02: what an earlier process has left of blocks that are gone is removed at the first sync, and what this one kept of
/// a block when it goes. Other files stay.
#[tokio::test]
async fn the_data_directory_has_no_blocks_that_are_gone() {
    let bucket_dir = TempDir::new("gateway-bucket");
    let id = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    copy_dir(
        &fixture("block-1k-2h").join(id),
        &bucket_dir.path().join(id),
    );
    let bucket = crate::directory::open(bucket_dir.path()).unwrap();
    let dir = TempDir::new("gateway-data");
    let left = block_id(7).to_string();
    let keep = "not-a-block";
    for name in [left.as_str(), keep] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join(header::HEADER_FILE), b"old").unwrap();
    }
    let meta = dir.path().join("meta-syncer").join(&left);
    std::fs::create_dir_all(&meta).unwrap();
    std::fs::write(meta.join("meta.json"), b"{}").unwrap();

    let options = GatewayOptions {
        data_dir: Some(dir.path().to_owned()),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    gateway.sync().await.unwrap();
    assert!(!dir.path().join(&left).exists() && !meta.exists());
    assert!(dir.path().join(keep).join(header::HEADER_FILE).exists());
    assert!(dir.path().join(id).join(header::HEADER_FILE).exists());

    std::fs::remove_dir_all(bucket_dir.path().join(id)).unwrap();
    assert_eq!(gateway.sync().await.unwrap().loaded, 0);
    assert!(!dir.path().join(id).exists());
    assert!(dir.path().join(keep).exists());
}

/// ST-02: a header that comes when its block is gone already does not stay in the data directory. It did, because the
/// folder was removed only once, when the block went.
#[tokio::test(start_paused = true)]
async fn a_header_that_outlives_its_block_is_removed() {
    let slow_reads = LatencyModel {
        bytes_per_sec: 1000,
        ..LatencyModel::default()
    };
    let (store, bucket) = bucket_as_slow_as(slow_reads).await;
    let dir = TempDir::new("gateway-outlived");
    let options = GatewayOptions {
        data_dir: Some(dir.path().to_owned()),
        headers: HeaderOptions {
            download: HeaderDownload::AtUse,
            ..HeaderOptions::default()
        },
        ..GatewayOptions::default()
    };
    let gateway = Arc::new(Gateway::new(bucket.clone(), options));
    gateway.sync().await.unwrap();
    let meta = format!("{}/meta.json", block_id(0));
    bucket.delete(&meta).await.unwrap();
    let asking = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        let request = LabelNamesRequest {
            matchers: vec![Matcher::equal("block", "0")],
            ..LabelNamesRequest::default()
        };
        async move { gateway.label_names(request).await.unwrap() }
    });
    while store.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let report = gateway.sync().await.unwrap();
    assert_eq!((report.loaded, store.in_flight()), (BLOCKS as usize - 1, 1));
    let folder = dir.path().join(block_id(0).to_string());
    assert!(!folder.exists());
    assert!(!asking.await.unwrap().values.is_empty());
    assert!(
        folder.exists(),
        "the header was written after its block went"
    );
    gateway.sync().await.unwrap();
    assert!(!folder.exists());
    assert!(gateway.leaving.lock().is_empty());
}

/// A gateway over a good block, one whose chunks have a gap, and one whose meta.json is damaged.
async fn partly_broken(dir: &TempDir) -> (Gateway, [BlockId; 3]) {
    let source = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    let ids = [
        source,
        "01M81JDC7R8JKP7SEW1VN2HAQA",
        "01M81JDC7R8JKP7SEW1VN2HAQB",
    ];
    for id in ids {
        let to = dir.path().join(id);
        copy_dir(&fixture("block-1k-2h").join(source), &to);
        let meta = std::fs::read_to_string(to.join("meta.json")).unwrap();
        std::fs::write(to.join("meta.json"), meta.replace(source, id)).unwrap();
    }
    let chunks = dir.path().join(ids[1]).join("chunks");
    std::fs::rename(chunks.join("000001"), chunks.join("000002")).unwrap();
    std::fs::write(dir.path().join(ids[2]).join("meta.json"), b"{").unwrap();
    let options = GatewayOptions {
        filters: Vec::new(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(crate::directory::open(dir.path()).unwrap(), options);
    gateway.sync().await.unwrap();
    (gateway, ids.map(|id| id.parse().unwrap()))
}

/// ST-30: a block that the hints exclude is not missing, whatever is wrong with it.
#[tokio::test]
async fn excluded_blocks_do_not_make_answers_partial() {
    let dir = TempDir::new("gateway-hints");
    let (gateway, [good, gap, damaged]) = partly_broken(&dir).await;
    let by_id = |op, id: BlockId| Matcher::new(op, BLOCK_ID_LABEL, &id.to_string()).unwrap();
    let other_label = Matcher::equal("replica", "nobody");
    for (block_matchers, expected) in [
        (vec![], vec![gap, damaged]),
        (vec![by_id(MatchOp::Equal, good)], vec![]),
        (vec![by_id(MatchOp::NotEqual, gap)], vec![damaged]),
        (vec![by_id(MatchOp::Equal, gap)], vec![gap]),
        // Nobody knows the labels of a block whose meta.json cannot be read.
        (vec![other_label], vec![damaged]),
    ] {
        let sources: Vec<String> = expected.iter().map(|id| format!("block {id}")).collect();
        let hints = SeriesRequestHints {
            block_matchers: block_matchers.clone(),
            ..SeriesRequestHints::default()
        };
        let request = |partial_response| SeriesRequest {
            hints: Some(hints.encode()),
            partial_response,
            ..all_series()
        };
        let partial = answer(&gateway, request(PartialResponse::Warn)).await;
        let missing: Vec<&str> = partial.missing.iter().map(|m| m.source.as_str()).collect();
        assert_eq!(missing, sources, "{block_matchers:?}");
        let whole = gateway.series(request(PartialResponse::Abort)).await;
        assert_eq!(whole.is_ok(), expected.is_empty(), "{block_matchers:?}");

        let hints = LabelsRequestHints { block_matchers };
        let names = LabelNamesRequest {
            hints: Some(hints.encode(LabelCall::Names)),
            partial_response: PartialResponse::Warn,
            ..LabelNamesRequest::default()
        };
        let names = gateway.label_names(names).await.unwrap();
        let missing = names.completeness.missing().iter();
        let missing: Vec<&str> = missing.map(|m| m.source.as_str()).collect();
        assert_eq!(missing, sources);
    }
}
