//! Stores of every kind behind gRPC, a proxy over them, and the proxy behind gRPC again.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use thanos_core::testkit::TempDir;

use super::*;
use crate::client::{ClientSettings, RemoteStore};
use crate::server::{ServerSettings, StoreServer, serve};
use crate::stores::{LocalStore, LocalStoreOptions};
use crate::testkit::{Answer, Fault, write_block};

/// Serves `store` on a port of its own until the runtime ends and returns a client of it.
fn behind_grpc(store: Arc<dyn Store>) -> RemoteStore {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = StoreServer::new(store, ServerSettings::default()).router();
    tokio::spawn(async move {
        let for_ever = std::future::pending();
        serve(listener, router, &ServerSettings::default(), for_ever).await
    });
    RemoteStore::new(&address, ClientSettings::default()).unwrap()
}

fn remote_endpoint(store: Arc<dyn Store>) -> Arc<Endpoint> {
    let client = behind_grpc(store);
    Endpoint::remote(client.address().to_owned(), dyn_store(client))
}

fn local_store(data: &Dataset, replica: &str) -> Arc<dyn Store> {
    let dir = TempDir::new("over-grpc");
    let data = Dataset::new(external(data, replica), data.series.clone());
    put(dir.path(), &data);
    dyn_store(LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap())
}

fn put(dir: &Path, data: &Dataset) {
    if data.time_bounds().is_some() {
        write_block(dir, data, 1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_store_behind_grpc_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| dyn_store(behind_grpc(local_store(&data, "r1")))).await;
}

/// blocks, series in memory, and a store that leaves all the work to the proxy; two hops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_between_grpc_and_grpc_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        let old = part(&data, "r3", |place| place % 2 == 0);
        let old = old.without_sharding().without_replica_label_removal();
        let proxy = proxy_over([
            remote_endpoint(local_store(&data, "r1")),
            remote_endpoint(dyn_store(part(&data, "r2", |place| place % 3 != 0))),
            remote_endpoint(dyn_store(old)),
        ]);
        proxy
            .endpoints()
            .refresh(Some(Duration::from_secs(20)))
            .await;
        dyn_store(behind_grpc(dyn_store(proxy)))
    })
    .await;
}

/// what is missing two hops away is still named, and with ABORT still fails the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_are_named_across_two_hops() {
    for fault in [
        Fault::FailStart,
        Fault::FailAfter(3),
        Fault::PanicAfter(3),
        Fault::HangAfter(3),
    ] {
        let data = pods(30);
        let bad = part(&data, "r1", |place| place % 2 == 0).with_faults([fault.clone()]);
        let good = part(&data, "r1", |place| place % 2 == 1);
        let options = ProxyOptions {
            response_timeout: Some(Duration::from_millis(500)),
            ..Default::default()
        };
        let bad = remote_endpoint(dyn_store(bad));
        let endpoints = EndpointSet::new([bad.clone(), remote_endpoint(dyn_store(good))]);
        endpoints.refresh(None).await;
        let inner = Proxy::new(endpoints, options);
        let outer = proxy_over([remote_endpoint(dyn_store(inner))]);
        let ask = async |partial_response| {
            let request = SeriesRequest {
                partial_response,
                ..all_pods()
            };
            Answer::collect(outer.series(request).await?).await
        };
        let answer = ask(PartialResponse::Warn).await.unwrap();
        assert_eq!(answer.missing.len(), 1, "{fault:?}: {:?}", answer.missing);
        assert_eq!(answer.missing[0].source, bad.name(), "{fault:?}");
        let odd = answer.labels().into_iter().filter(|labels| {
            let pod: usize = labels.get("pod").unwrap()[1..].parse().unwrap();
            pod % 2 == 1
        });
        assert_eq!(odd.count(), 15, "{fault:?}");
        let error = ask(PartialResponse::Abort).await.unwrap_err();
        assert!(error.to_string().contains(bad.name()), "{fault:?}: {error}");
    }
}

/// A store that is not there: the endpoint stays in the set and its absence shows.
#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_missing() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = RemoteStore::new(&port.to_string(), ClientSettings::default()).unwrap();
    let here = Endpoint::local("here", dyn_store(part(&pods(3), "r1", |_| true)));
    let proxy = proxy_over([Endpoint::remote(port.to_string(), dyn_store(gone)), here]);
    proxy
        .endpoints()
        .refresh(Some(Duration::from_secs(20)))
        .await;
    let request = SeriesRequest {
        partial_response: PartialResponse::Warn,
        ..all_pods()
    };
    let answer = Answer::collect(proxy.series(request).await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.series.len(), 3);
    assert_eq!(answer.missing[0].source, port.to_string());
    assert!(
        Answer::collect(proxy.series(all_pods()).await.unwrap())
            .await
            .is_err()
    );
}
