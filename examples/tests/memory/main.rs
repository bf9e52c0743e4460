//! The memory of a query does not grow with the number of series: measured by counting every allocation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peak_alloc::PeakAlloc;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_core::block::{BlockId, BlockWriter, BlockWriterOptions};
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::testkit::{K8sSpec, TempDir};
use thanos_core::time::Timestamp;
use thanos_promql::Engine;
use thanos_promql::engine::Query;
use thanos_promql::value::Value;
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// How much more memory ten times the series may take: what the gateway reads ahead of the answer, 64 MiB as it lies in
/// the bucket and more when it is decoded, which a small block does not fill.
const GROWTH_BYTES_MAX: usize = 112 << 20;

/// Asks `sum by` over all series of a block through gateway, gRPC, proxy and engine; returns the peak of allocated
/// bytes above what was allocated before the query.
fn peak_of_query(directory: &Path, spec: &Spec) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let data_dir = TempDir::new("memory-headers");
        let bucket = thanos_bucket::directory::open(directory).unwrap();
        let options = GatewayOptions {
            data_dir: Some(data_dir.path().to_owned()),
            ..GatewayOptions::default()
        };
        let gateway = Arc::new(Gateway::new(bucket, options));
        assert_eq!(gateway.sync().await.unwrap().loaded, 1);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let settings = ServerSettings::default();
        let server = StoreServer::new(gateway, settings.clone());
        let serving = tokio::spawn(async move {
            serve(listener, server.router(), &settings, std::future::pending()).await
        });

        let remote = RemoteStore::new(&address, ClientSettings::default()).unwrap();
        let endpoints = EndpointSet::new([Endpoint::remote(address, Arc::new(remote))]);
        endpoints.refresh(None).await;
        let proxy = Proxy::new(endpoints, ProxyOptions::default());
        let queryable: Arc<dyn Queryable> = Arc::new(StoreQueryable::new(
            Arc::new(proxy),
            StoreQueryableOptions::default(),
        ));

        let query = Query::range(
            spec.query,
            spec.start(),
            spec.end(),
            Duration::from_secs(60),
        );
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        let result = Engine::default().query(&queryable, query).await.unwrap();
        let peak = ALLOCATED.peak_usage() - before;
        let Value::Matrix(matrix) = &result.value else {
            panic!("a range query answers a matrix")
        };
        assert_eq!(matrix.len(), spec.groups);
        serving.abort();
        peak
    })
}

/// A generated block and a query over all of it.
struct Spec {
    data: K8sSpec,
    query: &'static str,
    groups: usize,
}

impl Spec {
    fn new(series: usize) -> Self {
        // Two chunks each, so that chunk bytes weigh as much as labels.
        let data = K8sSpec {
            series,
            samples: 160,
            ..K8sSpec::default()
        };
        Self {
            data,
            query: "sum by (namespace) ({job=\"kubelet\"})",
            groups: 6,
        }
    }

    fn start(&self) -> Timestamp {
        self.data.start + 600_000
    }

    fn end(&self) -> Timestamp {
        self.data.start + 1_800_000
    }

    fn write(&self, directory: &Path) {
        let labels = self.data.labels();
        let mut symbols = BTreeSet::new();
        for (name, value) in labels.iter().flat_map(Labels::iter) {
            symbols.insert(name.into_owned());
            symbols.insert(value.into_owned());
        }
        let id = BlockId::from_parts(self.data.start, self.data.series as u128);
        let mut writer =
            BlockWriter::create(directory, BlockWriterOptions::new(id), symbols).unwrap();
        for (number, labels) in labels.iter().enumerate() {
            writer
                .add_series(labels.as_ref(), &self.data.chunks(number))
                .unwrap();
        }
        writer.finish().unwrap();
    }
}

#[test]
fn ten_times_the_series_take_the_same_memory() {
    let peaks: Vec<usize> = [10_000, 100_000]
        .into_iter()
        .map(|series| {
            let (directory, spec) = (TempDir::new("memory"), Spec::new(series));
            spec.write(directory.path());
            peak_of_query(directory.path(), &spec)
        })
        .collect();
    println!(
        "peak of 10,000 series: {} bytes, of 100,000: {} bytes",
        peaks[0], peaks[1]
    );
    assert!(peaks[1] <= peaks[0] + GROWTH_BYTES_MAX, "peaks {peaks:?}");
}
