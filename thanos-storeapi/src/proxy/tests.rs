//! The proxy passes the conformance suite in every layout of stores, and no way of failing hides data.

mod failures;
#[cfg(all(feature = "client", feature = "server"))]
mod over_grpc;
mod planning;
mod selected;
mod streams;

use std::sync::Arc;

use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::time::Timestamp;

use super::*;
use crate::testkit::{Dataset, DatasetSeries, MemStore, conformance};

fn proxy_over(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Proxy {
    Proxy::new(EndpointSet::new(endpoints), ProxyOptions::default())
}

fn external(data: &Dataset, replica: &str) -> Labels {
    let mut builder = LabelsBuilder::from_labels(data.external_labels.as_ref());
    builder.set("replica", replica).build()
}

/// Returns a store with the part of `data` that `keep` wants by position.
fn part(data: &Dataset, replica: &str, keep: impl Fn(usize) -> bool) -> MemStore {
    let series = data.series.iter().enumerate();
    let series = series
        .filter(|(place, _)| keep(*place))
        .map(|(_, series)| series.clone());
    Dataset::new(external(data, replica), series.collect()).to_mem_store()
}

fn dyn_store(store: impl Store) -> Arc<dyn Store> {
    Arc::new(store)
}

#[tokio::test]
async fn a_proxy_over_one_store_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        dyn_store(proxy_over([Endpoint::local(
            "a",
            dyn_store(data.to_mem_store()),
        )]))
    })
    .await;
}

#[tokio::test]
async fn a_proxy_over_replicas_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        let replica = |name: &str| Endpoint::local(name, dyn_store(part(&data, name, |_| true)));
        dyn_store(proxy_over([replica("r1"), replica("r2")]))
    })
    .await;
}

/// Series are spread over three stores, some are in two; two stores leave all the work to the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_over_old_and_new_stores_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        let old = |store: MemStore| store.without_sharding().without_replica_label_removal();
        let stores = [
            old(part(&data, "r1", |place| place % 3 == 0)),
            part(&data, "r1", |place| place % 3 == 1 || place % 5 == 0).with_batch_series(1),
            old(part(&data, "r2", |place| place % 3 == 2)).with_batch_series(7),
        ];
        let endpoint =
            |(place, store)| Endpoint::remote(format!("store-{place}"), dyn_store(store));
        let proxy = proxy_over(stores.into_iter().enumerate().map(endpoint));
        proxy.endpoints().refresh(None).await;
        dyn_store(proxy)
    })
    .await;
}

#[tokio::test]
async fn a_proxy_over_proxies_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        let inner = |name: &str, odd: usize| {
            let store = part(&data, name, |place| place % 2 == odd || place % 3 == 0);
            Endpoint::local(
                name,
                dyn_store(proxy_over([Endpoint::local(name, dyn_store(store))])),
            )
        };
        dyn_store(proxy_over([inner("r1", 0), inner("r2", 1), inner("r3", 0)]))
    })
    .await;
}

/// The same without a runtime, as an embedding program may use it.
#[test]
fn a_proxy_outside_of_a_runtime_passes_the_conformance_suite() {
    futures::executor::block_on(conformance::run(async |data: Dataset| {
        let replica = |name: &str| Endpoint::local(name, dyn_store(part(&data, name, |_| true)));
        dyn_store(proxy_over([replica("r1"), replica("r2")]))
    }));
}

/// Series `pod` 0 to `count`, with one sample each.
fn pods(count: usize) -> Dataset {
    let series = (0..count).map(|pod| DatasetSeries {
        labels: Labels::from_pairs([("__name__", "up".to_owned()), ("pod", format!("p{pod:04}"))]),
        samples: vec![(Timestamp::from_millis(1000), 1.0)],
    });
    Dataset::new(Labels::from_pairs([("region", "eu")]), series.collect())
}

fn all_pods() -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::equal("__name__", "up")],
        without_replica_labels: vec!["replica".into()],
        ..Default::default()
    }
}
