//! Calls that are given up: nothing is asked of the bucket for them any more, and what is under way is dropped.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::cache::{InMemoryOptions, IndexCache};
use thanos_bucket::gateway::{Gateway, GatewayOptions, HeaderDownload, HeaderOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, LatencyModel, LatencyStore, block_id};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::store::{LabelNamesRequest, LabelValuesRequest, SeriesRequest, Store};

const BLOCKS: u32 = 10;
const LATENCY: Duration = Duration::from_millis(20);

/// A gateway over some blocks in a store that takes 20 ms for each request and 10 ms for 100 kB.
struct Slow {
    store: Arc<LatencyStore>,
    gateway: Arc<Gateway>,
    budget: MemoryBudget,
}

impl Slow {
    async fn new(options: GatewayOptions) -> Self {
        let memory = Arc::new(InMemory::new());
        let bucket = Bucket::new(memory.clone());
        let small = K8sSpec {
            series: 1000,
            ..K8sSpec::default()
        };
        let data = BlockData::wide(&small).unwrap();
        for number in 0..BLOCKS {
            let spec = BlockSpec {
                id: block_id(number),
                labels: vec![("block".to_owned(), number.to_string())],
                ..BlockSpec::default()
            };
            data.upload(&bucket, &spec).await.unwrap();
        }
        let model = LatencyModel {
            request: LATENCY,
            bytes_per_sec: 10_000_000,
            ..LatencyModel::default()
        };
        let store = Arc::new(LatencyStore::new(memory, model));
        let budget = MemoryBudget::new("store memory", 1 << 30);
        let options = GatewayOptions {
            headers: HeaderOptions {
                download: HeaderDownload::AtUse,
                ..HeaderOptions::default()
            },
            budget: budget.clone(),
            ..options
        };
        let gateway = Gateway::new(Bucket::new(store.clone()), options);
        let loaded = gateway.sync().await.unwrap().loaded;
        assert_eq!(loaded, BLOCKS as usize);
        store.take_trace();
        Self {
            store,
            gateway: Arc::new(gateway),
            budget,
        }
    }

    async fn call(&self, call: Call) {
        match call {
            Call::Series(request) => {
                let mut stream = self.gateway.series(request).await.unwrap();
                while let Some(event) = stream.next().await {
                    event.unwrap();
                }
            }
            Call::Names(request) => {
                self.gateway.label_names(request).await.unwrap();
            }
            Call::Values(request) => {
                self.gateway.label_values(request).await.unwrap();
            }
        }
    }

    /// Checks that nothing begins any more, and that after 200 ms nothing is left.
    async fn check_silence(&self, what: &str) {
        let asked = self.store.trace().requests.len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(self.store.in_flight(), 0, "{what}: requests under way");
        assert_eq!(
            self.store.trace().requests.len(),
            asked,
            "{what}: new requests"
        );
        assert_eq!(self.budget.used_bytes(), 0, "{what}: memory");
    }
}

#[derive(Debug, Clone)]
enum Call {
    Series(SeriesRequest),
    Names(LabelNamesRequest),
    Values(LabelValuesRequest),
}

fn matching(op: MatchOp, name: &str, value: &str) -> Vec<Matcher> {
    vec![Matcher::new(op, name, value).unwrap()]
}

fn calls() -> Vec<Call> {
    let all = || matching(MatchOp::Regex, "__name__", ".+");
    let series = |matchers, skip_chunks| {
        Call::Series(SeriesRequest {
            matchers,
            skip_chunks,
            ..SeriesRequest::default()
        })
    };
    vec![
        series(all(), false),
        series(all(), true),
        series(matching(MatchOp::Equal, "container", "container-3"), false),
        Call::Names(LabelNamesRequest::default()),
        Call::Names(LabelNamesRequest {
            matchers: all(),
            ..LabelNamesRequest::default()
        }),
        Call::Values(LabelValuesRequest {
            label: "pod".to_owned(),
            matchers: all(),
            ..LabelValuesRequest::default()
        }),
    ]
}

/// Faults: whenever a call is dropped - while headers load, between round trips, in the middle of a body - its work
/// ends there.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_asks_for_nothing_more() {
    let cache = IndexCache::in_memory(InMemoryOptions::default()).unwrap();
    for index_cache in [None, Some(cache)] {
        for call in calls() {
            let (mut cut, mut after_ms) = (0, 0);
            loop {
                let slow = Slow::new(GatewayOptions {
                    index_cache: index_cache.clone(),
                    fetch_concurrency: 2,
                    ..GatewayOptions::default()
                })
                .await;
                let patience = Duration::from_millis(after_ms);
                let ended = tokio::time::timeout(patience, slow.call(call.clone())).await;
                slow.check_silence(&format!("{call:?} after {after_ms} ms"))
                    .await;
                if ended.is_ok() {
                    break;
                }
                cut += 1;
                after_ms += 7;
            }
            assert!(cut >= 3, "{call:?} took too short a time to be cut: {cut}");
        }
    }
}

/// Calls that wait for the same bytes, and for the same headers: giving up all but one costs that one nothing.
#[tokio::test(start_paused = true)]
async fn dropped_calls_leave_others_alone() {
    for after_ms in [5, 25, 45, 60, 75] {
        let slow = Arc::new(Slow::new(GatewayOptions::default()).await);
        let call = calls().swap_remove(0);
        let impatient: Vec<_> = (0..8)
            .map(|_| {
                let (slow, call) = (Arc::clone(&slow), call.clone());
                tokio::spawn(async move {
                    let patience = Duration::from_millis(after_ms);
                    tokio::time::timeout(patience, slow.call(call)).await
                })
            })
            .collect();
        slow.call(call.clone()).await;
        for one in impatient {
            let _ = one.await.unwrap();
        }
        slow.check_silence("nine calls").await;
    }
}

/// A call that waits at the gate asks for nothing, and leaves no trace when it goes.
#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_at_the_gate_ask_for_nothing() {
    let slow = Slow::new(GatewayOptions {
        series_concurrency: 1,
        ..GatewayOptions::default()
    })
    .await;
    let request = || SeriesRequest {
        matchers: matching(MatchOp::Regex, "__name__", ".+"),
        ..SeriesRequest::default()
    };
    let first = slow.gateway.series(request()).await.unwrap();
    for _ in 0..100 {
        let waits = slow.gateway.series(request());
        let waited = tokio::time::timeout(Duration::from_millis(50), waits).await;
        assert!(waited.is_err(), "the first holds the only place");
    }
    assert!(slow.store.trace().requests.is_empty());
    drop(first);
    slow.check_silence("a stream that was never read").await;
    slow.call(calls().swap_remove(0)).await;
}
