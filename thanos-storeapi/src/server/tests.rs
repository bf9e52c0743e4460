//! A store behind the server, asked through the client, over loopback.

#![cfg(feature = "client")]

mod apis;
mod compressed;
mod limits;
mod requests;
#[cfg(feature = "tls")]
mod secure;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use thanos_core::chunk::{Chunk, Encoding, SeriesChunk};
use thanos_core::error::{ErrorKind, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{Missing, SeriesBatchBuilder, SeriesEvent};
use thanos_core::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::client::{ClientSettings, RemoteStore};
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, StoreInfo,
};
use crate::testkit::{Answer, Dataset, DatasetSeries, Fault, MemSeries, MemStore, conformance};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a port of its own that stops when dropped.
struct Running {
    address: SocketAddr,
    server: StoreServer,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    fn start(store: Arc<dyn Store>) -> Self {
        Self::start_on(store, "127.0.0.1:0")
    }

    fn start_on(store: Arc<dyn Store>, address: &str) -> Self {
        let server = StoreServer::new(store, ServerSettings::default());
        Self::start_server(server, address)
    }

    fn start_server(server: StoreServer, address: &str) -> Self {
        let settings = ServerSettings {
            grace_period: Duration::from_millis(200),
            ..ServerSettings::default()
        };
        let live = axum::routing::get(async || "alive");
        let router = server.router().route("/-/live", live);
        Self::start_router(server, router, address, settings)
    }

    fn start_with(store: Arc<dyn Store>, settings: ServerSettings) -> Self {
        let server = StoreServer::new(store, settings.clone());
        let router = server.router();
        Self::start_router(server, router, "127.0.0.1:0", settings)
    }

    fn start_router(
        server: StoreServer,
        router: Router,
        address: &str,
        settings: ServerSettings,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            serve(listener, router, &settings, async move {
                stopped.await.unwrap()
            })
            .await
        });
        Self {
            address,
            server,
            stop: Some(stop),
            task,
        }
    }

    fn client(&self) -> RemoteStore {
        self.client_with(ClientSettings::default())
    }

    fn client_with(&self, settings: ClientSettings) -> RemoteStore {
        RemoteStore::new(&self.address.to_string(), settings).unwrap()
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let task = &mut self.task;
        tokio::time::timeout(PATIENCE, task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(PATIENCE / 2000).await;
    }
    panic!("never came true: {what}");
}

fn all() -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::new(thanos_core::labels::MatchOp::Regex, "i", ".+").unwrap()],
        ..SeriesRequest::default()
    }
}

fn samples(count: i64) -> Vec<(Timestamp, f64)> {
    let times = (0..count).map(|i| Timestamp::from_millis(1000 * i));
    times.map(|time| (time, 1.5)).collect()
}

/// A store of `count` series.
fn dataset(count: usize) -> Dataset {
    let series = (0..count).map(|i| DatasetSeries {
        labels: Labels::from_pairs([("i", format!("{i:05}"))]),
        samples: samples(3),
    });
    Dataset::new(Labels::from_pairs([("replica", "a")]), series.collect())
}

fn missing() -> Missing {
    Missing {
        source: "block 01ABC".into(),
        reason: "quarantined".into(),
    }
}

async fn store_behind_grpc(data: Dataset) -> Arc<dyn Store> {
    let running = Running::start(Arc::new(data.to_mem_store()));
    let client = running.client();
    // The server lives as long as the runtime of the test.
    std::mem::forget(running);
    Arc::new(client)
}

#[tokio::test]
async fn a_store_behind_grpc_passes_the_conformance_suite() {
    conformance::run(store_behind_grpc).await;
}

#[tokio::test]
async fn answers_are_the_same_on_both_sides() {
    let store = dataset(300)
        .to_mem_store()
        .with_warning("slow")
        .with_missing(missing());
    let store: Arc<dyn Store> = Arc::new(store);
    let running = Running::start(Arc::clone(&store));
    let client = running.client();

    let expected = Answer::collect(store.series(all()).await.unwrap())
        .await
        .unwrap();
    assert_eq!((expected.series.len(), expected.missing.len()), (300, 1));
    for response_batch_size in [0, 1, 7, 64, 1000] {
        let request = SeriesRequest {
            response_batch_size,
            ..all()
        };
        let answer = Answer::collect(client.series(request).await.unwrap())
            .await
            .unwrap();
        assert_eq!(answer, expected, "batches of {response_batch_size}");
    }

    assert_eq!(client.info().await.unwrap(), store.info().await.unwrap());
    let names = LabelNamesRequest::default;
    assert_eq!(
        client.label_names(names()).await.unwrap(),
        store.label_names(names()).await.unwrap()
    );
    let values = || LabelValuesRequest {
        label: "i".into(),
        limit: 5,
        ..LabelValuesRequest::default()
    };
    assert_eq!(
        client.label_values(values()).await.unwrap(),
        store.label_values(values()).await.unwrap()
    );
}

#[tokio::test]
async fn a_client_asks_for_batches_unless_the_request_says_otherwise() {
    let store = Arc::new(dataset(1).to_mem_store());
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let client = running.client();
    for response_batch_size in [0, 9] {
        let request = SeriesRequest {
            response_batch_size,
            ..all()
        };
        Answer::collect(client.series(request).await.unwrap())
            .await
            .unwrap();
    }
    let asked = store.requests();
    let asked: Vec<u64> = asked
        .iter()
        .map(|request| request.response_batch_size)
        .collect();
    assert_eq!(asked, [64, 9]);
}

/// A store with one chunk of so many equal bytes.
fn one_chunk_of(len: usize) -> Arc<dyn Store> {
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: Bytes::from(vec![7; len]),
    };
    let (start, end) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
    let series = MemSeries {
        labels: Labels::from_pairs([("i", "x")]),
        chunks: vec![SeriesChunk::raw(start, end, chunk)],
    };
    Arc::new(MemStore::new(Labels::empty(), vec![series]))
}

#[tokio::test]
async fn messages_beyond_four_megabytes_pass_both_ways() {
    let big = 9 << 20;
    let running = Running::start(one_chunk_of(big));
    let client = running.client();
    let answer = Answer::collect(client.series(all()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.series[0].chunks().next().unwrap().data_len(), big);

    let request = SeriesRequest {
        matchers: vec![Matcher::equal("i", &"y".repeat(big))],
        ..SeriesRequest::default()
    };
    let answer = Answer::collect(client.series(request).await.unwrap())
        .await
        .unwrap();
    assert!(answer.series.is_empty());
}

#[tokio::test]
async fn dropping_the_stream_stops_the_store() {
    let store = Arc::new(dataset(4).to_mem_store().with_faults([Fault::HangAfter(1)]));
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let mut stream = running.client().series(all()).await.unwrap();
    assert!(matches!(
        stream.next().await,
        Some(Ok(SeriesEvent::Batch(_)))
    ));
    assert_eq!(store.open_streams(), 1);
    assert_eq!(running.server.counters().series_calls_open(), 1);
    drop(stream);
    eventually("the stream is closed", || store.open_streams() == 0).await;
    assert_eq!(running.server.counters().series_calls_open(), 0);
}

#[tokio::test]
async fn dropping_a_call_that_has_no_answer_yet_stops_the_store() {
    let store = Arc::new(dataset(4).to_mem_store().with_faults([Fault::HangStart]));
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let client = running.client();
    let call = tokio::spawn(async move { client.series(all()).await.map(drop) });
    eventually("the call arrives", || store.open_streams() == 1).await;
    call.abort();
    eventually("the call is dropped", || store.open_streams() == 0).await;
}

/// A store that never runs out of series and counts the batches that were taken from it.
#[derive(Debug, Default)]
struct Endless {
    taken: Arc<AtomicUsize>,
}

#[async_trait]
impl Store for Endless {
    async fn info(&self) -> Result<StoreInfo> {
        Ok(StoreInfo::default())
    }

    async fn series(&self, _: SeriesRequest) -> Result<SeriesStream> {
        let taken = Arc::clone(&self.taken);
        let chunk = Chunk {
            encoding: Encoding::XOR,
            data: Bytes::from(vec![7; 100_000]),
        };
        let time = Timestamp::from_millis(1);
        let batches = stream::repeat_with(move || {
            taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut series = SeriesBatchBuilder::new();
            let chunk = SeriesChunk::raw(time, time, chunk.clone());
            series.push(Labels::from_pairs([("i", "x")]).as_ref(), [chunk]);
            Ok(SeriesEvent::Batch(series.finish()))
        });
        Ok(batches.boxed())
    }

    async fn label_names(&self, _: LabelNamesRequest) -> Result<LabelsResponse> {
        Ok(LabelsResponse::default())
    }

    async fn label_values(&self, _: LabelValuesRequest) -> Result<LabelsResponse> {
        Ok(LabelsResponse::default())
    }
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_store_back() {
    let store = Endless::default();
    let taken = Arc::clone(&store.taken);
    let running = Running::start(Arc::new(store));
    let mut stream = running.client().series(all()).await.unwrap();
    stream.next().await.unwrap().unwrap();

    let count = || taken.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = 0;
    while count() != before {
        before = count();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A stream window of 1 MiB, the server's send buffer and what the client has decoded.
    assert!(before < 200, "{before} batches of 100 kB were taken");
    // The window opens again when the reader goes on.
    for _ in 0..100 {
        stream.next().await.unwrap().unwrap();
    }
    eventually("the store goes on", || count() > before).await;
}

#[tokio::test]
async fn errors_arrive_with_their_kind_text_and_peer() {
    let kinds = [
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::Corrupt,
        ErrorKind::Unavailable,
        ErrorKind::LimitExceeded,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];
    for kind in kinds {
        let store = Arc::new(dataset(4).to_mem_store());
        let running = Running::start(Arc::<MemStore>::clone(&store));
        let client = running.client();
        let expected = format!("{}: injected failure", running.address);

        store.set_faults([Fault::FailStart, Fault::Kind(kind)]);
        let mut errors = vec![
            client.series(all()).await.map(drop).unwrap_err(),
            client
                .label_names(LabelNamesRequest::default())
                .await
                .unwrap_err(),
        ];
        store.set_faults([Fault::FailAfter(1), Fault::Kind(kind)]);
        let mut stream = client.series(all()).await.unwrap();
        assert!(matches!(
            stream.next().await,
            Some(Ok(SeriesEvent::Batch(_)))
        ));
        errors.push(stream.next().await.unwrap().unwrap_err());
        assert!(stream.next().await.is_none());

        for error in errors {
            assert_eq!((error.kind(), error.to_string()), (kind, expected.clone()));
        }
        assert_eq!(running.server.counters().failed_calls(), 3);
    }
}

/// ST-37.
#[tokio::test]
async fn a_panic_of_the_store_fails_its_call_only() {
    let store = Arc::new(
        dataset(4)
            .to_mem_store()
            .with_faults([Fault::PanicAfter(1)]),
    );
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let client = running.client();
    let answer = Answer::collect(client.series(all()).await.unwrap()).await;
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.to_string().contains("store panicked: injected panic"),
        "{error}"
    );
    assert_eq!(running.server.counters().panics(), 1);

    store.set_faults([]);
    let answer = Answer::collect(client.series(all()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.series.len(), 4);
}

#[tokio::test]
async fn a_peer_that_breaks_the_order_is_an_error() {
    let store = dataset(4).to_mem_store().with_faults([Fault::Unsorted]);
    let running = Running::start(Arc::new(store));
    let stream = running.client().series(all()).await.unwrap();
    let error = Answer::collect(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is not in order"), "{error}");
}

#[tokio::test]
async fn a_request_without_matchers_is_invalid() {
    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    let answer = running.client().series(SeriesRequest::default()).await;
    assert_eq!(answer.map(drop).unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_client_finds_a_server_that_comes_back() {
    let store: Arc<dyn Store> = Arc::new(dataset(1).to_mem_store());
    let running = Running::start(Arc::clone(&store));
    let (client, address) = (running.client(), running.address.to_string());
    client.info().await.unwrap();
    running.stop().await;

    let error = client.info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().starts_with(&address), "{error}");

    let _running = Running::start_on(store, &address);
    let mut answer = client.info().await;
    for _ in 0..100 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = client.info().await;
    }
    answer.unwrap();
}

#[tokio::test]
async fn open_calls_end_with_the_grace_period() {
    let store = dataset(4).to_mem_store().with_faults([Fault::HangAfter(1)]);
    let running = Running::start(Arc::new(store));
    let mut stream = running.client().series(all()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    running.stop().await;
}

async fn channel(running: &Running) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", running.address));
    endpoint.unwrap().connect().await.unwrap()
}

///
#[tokio::test]
async fn health_tells_readiness() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    let mut client = HealthClient::new(channel(&running).await);
    let readiness = running.server.readiness();
    for ready in [false, true, false] {
        if ready {
            readiness.set_ready().await;
        } else {
            readiness.set_not_ready().await;
        }
        for service in ["", "thanos.Store", "thanos.info.Info"] {
            let request = HealthCheckRequest {
                service: service.into(),
            };
            let status = client.check(request).await.unwrap().into_inner().status;
            assert_eq!(status, if ready { 1 } else { 2 }, "{service:?}");
        }
    }
}

///
#[tokio::test]
async fn reflection_lists_and_describes_the_services() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    let mut client = ServerReflectionClient::new(channel(&running).await);
    let mut ask = async |question| {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let answers = client
            .server_reflection_info(stream::iter([request]))
            .await
            .unwrap();
        let answer: ServerReflectionResponse =
            answers.into_inner().message().await.unwrap().unwrap();
        answer.message_response.unwrap()
    };

    let answer = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "thanos.Store",
            "thanos.info.Info",
        ]
    );
    let symbol = MessageRequest::FileContainingSymbol("thanos.SeriesResponse".into());
    assert!(matches!(
        ask(symbol).await,
        MessageResponse::FileDescriptorResponse(_)
    ));
}

#[tokio::test]
async fn http_requests_reach_the_router_on_the_same_port() {
    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    let mut connection = tokio::net::TcpStream::connect(running.address)
        .await
        .unwrap();
    let request = b"GET /-/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_was_served_is_counted() {
    let running = Running::start(Arc::new(dataset(5).to_mem_store().with_batch_series(1)));
    let client = running.client();
    let request = SeriesRequest {
        response_batch_size: 2,
        ..all()
    };
    Answer::collect(client.series(request).await.unwrap())
        .await
        .unwrap();
    client
        .label_names(LabelNamesRequest::default())
        .await
        .unwrap();
    let counters = running.server.counters();
    let counts = [
        counters.series_calls(),
        counters.label_calls(),
        counters.frames(),
        counters.series(),
        counters.failed_calls(),
    ];
    assert_eq!(counts, [1, 1, 3, 5, 0]);
}
