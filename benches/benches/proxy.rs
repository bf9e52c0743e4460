//! What does a store cost a query that finds nothing in it? (the scaling table of the benchmark list: at most 30 us)
//!
//! A proxy over 32 stores in this process, one of which has the one series that is asked for. The others are not asked,
//! because their external labels do not match, or are asked and have nothing. Unit: one request; the cost of a store is the
//! difference to `alone`, divided by 31. The time is that of all threads of the process on a processor.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::TryStreamExt;
use thanos_benches::cpu_time::ProcessCpuTime;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::Timestamp;
use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use thanos_storeapi::store::{SeriesRequest, Store};
use thanos_storeapi::testkit::{Dataset, DatasetSeries};
use tokio::runtime::Runtime;

const STORES: usize = 32;

fn store(cluster: &str, job: &str) -> Arc<dyn Store> {
    let series = DatasetSeries {
        labels: Labels::from_pairs([("__name__", "up"), ("job", job)]),
        samples: vec![(Timestamp::from_millis(1000), 1.0)],
    };
    let external = Labels::from_pairs([("cluster", cluster)]);
    Arc::new(Dataset::new(external, vec![series]).to_mem_store())
}

/// Returns a proxy over the store that has the series and `others`.
fn proxy(runtime: &Runtime, others: usize) -> Proxy {
    let name = |number: usize| format!("cluster-{number}");
    let stores = (0..=others).map(|number| {
        let job = if number == 0 { "api" } else { "other" };
        Endpoint::remote(name(number), store(&name(number), job))
    });
    let proxy = Proxy::new(EndpointSet::new(stores), ProxyOptions::default());
    // As those of other processes, they are asked for their info now and then.
    runtime.block_on(proxy.endpoints().refresh(None));
    proxy
}

async fn ask(proxy: &Proxy, matchers: &[Matcher]) -> usize {
    let request = SeriesRequest {
        matchers: matchers.to_vec(),
        ..SeriesRequest::default()
    };
    let series = proxy.series(request).await.expect("a good request");
    let events: Vec<_> = series.try_collect().await.expect("good stores");
    black_box(events).len()
}

fn benches(c: &mut Criterion<ProcessCpuTime>) {
    let runtime = Runtime::new().expect("threads can be started");
    let up = Matcher::equal("__name__", "up");
    let here = [up.clone(), Matcher::equal("cluster", "cluster-0")];
    let anywhere = [up, Matcher::equal("job", "api")];
    let mut group = c.benchmark_group("proxy/stores");
    for (name, others, matchers) in [
        ("alone", 0, &here),
        ("not_asked", STORES - 1, &here),
        ("asked_in_vain", STORES - 1, &anywhere),
    ] {
        let proxy = proxy(&runtime, others);
        assert_eq!(runtime.block_on(ask(&proxy, matchers)), 1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(ask(&proxy, matchers)));
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(ProcessCpuTime);
    targets = benches
}
criterion_main!(all);
