//! Calls that clients give up, over gRPC on a slow bucket: the store stops fetching for them.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_bucket::testkit::{BlockData, BlockSpec, LatencyModel, LatencyStore, block_id};
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::testkit::{K8sSpec, TempDir};
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
use thanos_storeapi::store::{LabelValuesRequest, SeriesRequest, Store};

/// How soon after a client has gone no request to the bucket may begin.
const SILENT_AFTER: Duration = Duration::from_millis(200);

/// A gateway over a slow bucket behind a gRPC server, and a client of it.
struct Remote {
    _dir: TempDir,
    slow: Arc<LatencyStore>,
    budget: MemoryBudget,
    client: RemoteStore,
    address: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Remote {
    /// Every question to the bucket takes 20 ms, and one block asks two at once: all of the data takes seconds.
    async fn new() -> Self {
        let dir = TempDir::new("cancellation");
        let bucket = thanos_bucket::directory::open(dir.path()).unwrap();
        let spec = K8sSpec {
            series: 20_000,
            ..K8sSpec::default()
        };
        let data = BlockData::wide(&spec).unwrap();
        for number in 0..4 {
            let spec = BlockSpec {
                id: block_id(number),
                labels: vec![("block".to_owned(), number.to_string())],
                ..BlockSpec::default()
            };
            data.upload(&bucket, &spec).await.unwrap();
        }
        let model = LatencyModel {
            bytes_per_sec: 2_000_000,
            ..LatencyModel::default()
        };
        let mut slow = None;
        let bucket = bucket.layered(|store| {
            let store = Arc::new(LatencyStore::new(store, model));
            slow = Some(Arc::clone(&store));
            store
        });
        let slow = slow.unwrap();
        let budget = MemoryBudget::new("store memory", 1 << 30);
        let options = GatewayOptions {
            budget: budget.clone(),
            fetch_concurrency: 2,
            ..GatewayOptions::default()
        };
        let gateway = Arc::new(Gateway::new(bucket, options));
        assert_eq!(gateway.sync().await.unwrap().loaded, 4);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let settings = ServerSettings::default();
        let server = StoreServer::new(gateway, settings.clone());
        let serving = tokio::spawn(async move {
            let forever = std::future::pending();
            serve(listener, server.router(), &settings, forever)
                .await
                .unwrap();
        });
        let client = RemoteStore::new(&address, ClientSettings::default()).unwrap();
        slow.take_trace();
        Self {
            _dir: dir,
            slow,
            budget,
            client,
            address,
            serving,
        }
    }

    /// Waits until the bucket has been asked `requests` times and has not answered all of them.
    async fn until_busy(&self, requests: usize) {
        while self.slow.in_flight() == 0 || self.slow.trace().requests.len() < requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reports whether everything has stopped in time after a call was given up, and checks that it stops at all.
    async fn falls_silent(&self) -> bool {
        tokio::time::sleep(SILENT_AFTER).await;
        let is_silent = self.slow.in_flight() == 0;
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_left = || self.slow.in_flight() > 0 || self.budget.used_bytes() > 0;
        while is_left() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.slow.in_flight(), 0, "requests under way");
        assert_eq!(self.budget.used_bytes(), 0, "memory that nobody gave back");
        self.slow.take_trace();
        tokio::time::sleep(SILENT_AFTER).await;
        let later = self.slow.take_trace().requests.len();
        assert_eq!(later, 0, "requests that began after the call");
        is_silent
    }

    /// Begins `call`, gives it up when the bucket has been asked `requests` times, and checks that it stops in time: at
    /// one of three attempts, because a machine that is busy with other work may be late by itself.
    async fn check_cancelled<F: Future<Output = ()>>(
        &self,
        what: &str,
        requests: usize,
        call: impl Fn() -> F,
    ) {
        for _ in 0..3 {
            tokio::select! {
                () = call() => panic!("{what}: the answer came too soon"),
                () = self.until_busy(requests) => {}
            }
            if self.falls_silent().await {
                return;
            }
        }
        panic!("{what}: fetches went on for longer than {SILENT_AFTER:?}");
    }
}

fn all() -> Vec<Matcher> {
    vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()]
}

fn everything() -> SeriesRequest {
    SeriesRequest {
        matchers: all(),
        ..SeriesRequest::default()
    }
}

/// Asks for everything and reads it to the end.
async fn read_all(store: &dyn Store) {
    let mut stream = store.series(everything()).await.unwrap();
    while let Some(event) = stream.next().await {
        event.unwrap();
    }
}

/// Faults: calls that are cancelled stop their fetches within 200 ms, through the whole way.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_stop_the_fetches_of_a_gateway() {
    let remote = Remote::new().await;
    for requests in [1, 10, 30] {
        let what = format!("series after {requests} requests");
        let call = || read_all(&remote.client);
        remote.check_cancelled(&what, requests, call).await;
    }

    let values = || async {
        let request = LabelValuesRequest {
            label: "pod".to_owned(),
            matchers: all(),
            ..LabelValuesRequest::default()
        };
        remote.client.label_values(request).await.unwrap();
    };
    remote.check_cancelled("label values", 3, values).await;

    // A fan-out between them.
    let client = Arc::new(remote.client.clone());
    let endpoints = EndpointSet::new([Endpoint::remote(remote.address.clone(), client)]);
    endpoints.refresh(None).await;
    let proxy = Proxy::new(endpoints, ProxyOptions::default());
    let call = || read_all(&proxy);
    remote.check_cancelled("series of a proxy", 20, call).await;
    remote.serving.abort();
}

/// A client that vanishes without a word: its connection ends, and with it all of its calls.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_stop_the_fetches_of_a_gateway() {
    let remote = Remote::new().await;
    let mut is_silent = false;
    for _ in 0..3 {
        // The connection belongs to the runtime of the client, which ends in the middle of the calls.
        let client = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = RemoteStore::new(&remote.address, ClientSettings::default()).unwrap();
        for _ in 0..5 {
            let store = store.clone();
            client.spawn(async move { read_all(&store).await });
        }
        remote.until_busy(10).await;
        client.shutdown_background();
        is_silent = remote.falls_silent().await;
        if is_silent {
            break;
        }
    }
    assert!(
        is_silent,
        "fetches went on for longer than {SILENT_AFTER:?}"
    );
    remote.serving.abort();
}
