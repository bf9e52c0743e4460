//! Memory for chunks is taken before they are asked for.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, LatencyModel, LatencyStore};
use thanos_core::ErrorKind;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::store::{SeriesRequest, Store};

/// Asks for everything and returns how it ended, and how many requests there were for chunks.
async fn ask(options: GatewayOptions, data: &BlockData) -> (thanos_core::Result<usize>, usize) {
    let memory = Arc::new(InMemory::new());
    let bucket = Bucket::new(memory.clone());
    data.upload(&bucket, &BlockSpec::default()).await.unwrap();
    let model = LatencyModel::of_requests(Duration::from_millis(20));
    let store = Arc::new(LatencyStore::new(memory, model));
    let gateway = Gateway::new(Bucket::new(store.clone()), options);
    assert_eq!(gateway.sync().await.unwrap().loaded, 1);
    store.take_trace();
    let request = SeriesRequest {
        matchers: vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
        ..SeriesRequest::default()
    };
    let answer = gateway.series(request).await.unwrap();
    let answer: thanos_core::Result<Vec<_>> = answer.try_collect().await;
    let trace = store.take_trace();
    let requests = trace.requests.iter();
    let of_chunks = requests.filter(|request| request.object.contains("/chunks/"));
    (answer.map(|events| events.len()), of_chunks.count())
}

/// ST-23: what has no room for its chunks ends before they are fetched, whichever limit it is.
#[tokio::test(start_paused = true)]
async fn chunks_without_room_are_not_fetched() {
    let data = BlockData::wide(&K8sSpec {
        series: 200,
        samples: 2400,
        ..K8sSpec::default()
    })
    .unwrap();
    let (answer, requests) = ask(GatewayOptions::default(), &data).await;
    assert!(answer.unwrap() > 0 && requests > 0);
    let of_pool = GatewayOptions {
        chunk_pool_bytes: 1 << 10,
        ..GatewayOptions::default()
    };
    let of_request = GatewayOptions {
        request_memory_bytes: 512 << 10,
        ..GatewayOptions::default()
    };
    let limits = [
        (of_pool, "--chunk-pool-size"),
        (of_request, "--store.memory-limit-per-request"),
    ];
    for (options, limit) in limits {
        let (answer, requests) = ask(options, &data).await;
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains(limit), "{error}");
        assert_eq!(requests, 0, "{limit}");
    }
}
