//! Back-pressure and cancellation.

use futures::StreamExt;

use super::*;

async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

fn stores(count: usize) -> Vec<Arc<MemStore>> {
    let data = pods(count);
    ["r1", "r2", "r3"]
        .map(|name| Arc::new(part(&data, name, |_| true).with_batch_series(1)))
        .to_vec()
}

fn proxy(stores: &[Arc<MemStore>], read_ahead_batches: usize) -> Proxy {
    let endpoint = |store: &Arc<MemStore>| {
        let store: Arc<dyn Store> = store.clone();
        Endpoint::local("store", store)
    };
    let options = ProxyOptions {
        read_ahead_batches,
        ..Default::default()
    };
    Proxy::new(EndpointSet::new(stores.iter().map(endpoint)), options)
}

#[tokio::test]
async fn stores_are_read_no_further_ahead_than_allowed() {
    for read_ahead in [0, 1, 5] {
        let stores = stores(1000);
        let proxy = proxy(&stores, read_ahead);
        let mut stream = proxy.series(all_pods()).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        let SeriesEvent::Batch(batch) = first else {
            panic!("{first:?}")
        };
        settle().await;
        for store in &stores {
            // The batch, the one held for joining and its successor, the queue and what waits to enter it.
            let allowed =
                batch.len() + thanos_core::query::BATCH_SERIES_TARGET + 2 + read_ahead + 1;
            let sent = store.sent_events();
            assert!(
                sent <= allowed,
                "read ahead {read_ahead}: {sent} sent for {}",
                batch.len()
            );
        }
    }
}

#[tokio::test]
async fn dropping_the_stream_stops_all_stores() {
    for events in [0, 1, 3] {
        let stores = stores(2000);
        let proxy = proxy(&stores, 2);
        let mut stream = proxy.series(all_pods()).await.unwrap();
        for _ in 0..events {
            stream.next().await.unwrap().unwrap();
        }
        drop(stream);
        settle().await;
        for store in &stores {
            assert_eq!(store.open_streams(), 0, "after {events} events");
            assert!(store.sent_events() < 2000);
        }
    }
}

#[tokio::test]
async fn a_failed_request_stops_all_stores() {
    let stores = stores(2000);
    stores[1].set_faults([crate::testkit::Fault::FailAfter(3)]);
    let proxy = proxy(&stores, 2);
    let mut stream = proxy.series(all_pods()).await.unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert!(last.unwrap().is_err());
    settle().await;
    assert!(stores.iter().all(|store| store.open_streams() == 0));
}

#[tokio::test]
async fn at_the_limit_all_stores_are_left() {
    let stores = stores(2000);
    let proxy = proxy(&stores, 2);
    let request = SeriesRequest {
        limit: 10,
        ..all_pods()
    };
    let mut stream = proxy.series(request).await.unwrap();
    let mut series = 0;
    while let Some(event) = stream.next().await {
        if let SeriesEvent::Batch(batch) = event.unwrap() {
            series += batch.len();
        }
    }
    assert_eq!(series, 10);
    settle().await;
    assert!(stores.iter().all(|store| store.open_streams() == 0));
}
