//! The client and the store over a real Prometheus.

use std::path::Path;
use std::sync::Arc;

use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::{Peer, program};
use thanos_core::time::{SignedDuration, TimeRange, Timestamp};

use super::answering;
use crate::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
use crate::prometheus::{PrometheusClient, PrometheusServer, PrometheusStore, PrometheusVersion};
use crate::store::{SeriesRequest, Store};
use crate::testkit::{Answer, Dataset, DatasetSeries, conformance, write_block};

/// A Prometheus over one block, with external labels.
#[derive(Debug)]
struct Server {
    peer: Peer,
    _data: TempDir,
    _config: TempDir,
}

impl Server {
    fn start(data: &Dataset) -> Option<Self> {
        let prometheus = program("prometheus")?;
        let (dir, config) = (
            TempDir::new("prometheus-data"),
            TempDir::new("prometheus-config"),
        );
        if !data.series.is_empty() {
            write_block(dir.path(), data, 1).unwrap();
        }
        let file = config.path().join("prometheus.yml");
        std::fs::write(&file, configuration(&data.external_labels)).unwrap();
        let path = dir.path().to_owned();
        let start = |address: &str| {
            let mut command = std::process::Command::new(&prometheus);
            let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
            command
                .arg(flag("config.file", &file))
                .arg(flag("storage.tsdb.path", &path))
                .args([
                    "--storage.tsdb.retention.time=100y",
                    "--web.enable-admin-api",
                ])
                .arg(format!("--web.listen-address={address}"));
            command
        };
        Some(Self {
            peer: Peer::start(start, "/-/ready"),
            _data: dir,
            _config: config,
        })
    }

    fn client(&self) -> PrometheusClient {
        let config = HttpClientConfig::default();
        let http = HttpClient::new(&config, "test", HttpClientMetrics::default()).unwrap();
        PrometheusClient::new(http, &format!("http://{}", self.peer.address())).unwrap()
    }

    async fn store(&self) -> PrometheusStore {
        let server = PrometheusServer::new(self.client());
        server.read_version().await.unwrap();
        server.refresh().await.unwrap();
        PrometheusStore::new(server, answering())
    }
}

fn configuration(external: &Labels) -> String {
    let mut yaml = String::from("global:\n  external_labels:\n");
    for (name, value) in external.iter() {
        yaml += &format!("    {name}: \"{value}\"\n");
    }
    yaml
}

/// what a client is told by a real server.
#[tokio::test]
async fn a_real_server_tells_what_a_sidecar_wants_to_know() {
    let samples = (0..100).map(|at| (Timestamp::from_millis(1_600_000_000_000 + at * 1000), 1.0));
    let series = DatasetSeries {
        labels: Labels::from_pairs([("__name__", "m"), ("a", "1")]),
        samples: samples.collect(),
    };
    let external = Labels::from_pairs([("region", "eu"), ("replica", "1")]);
    let Some(server) = Server::start(&Dataset::new(external.clone(), vec![series])) else {
        return;
    };
    let client = server.client();
    assert!(client.version().await.unwrap() > PrometheusVersion::new("2.40"));
    assert_eq!(client.external_labels().await.unwrap(), external);
    let lowest = client.lowest_timestamp().await.unwrap();
    assert_eq!(lowest.as_millis(), 1_600_000_000_000);
    let flags = client.flags().await.unwrap().unwrap();
    let two_hours = SignedDuration::from_secs(7200);
    assert_eq!(flags.min_block_duration, two_hours);
    assert_ne!(flags.max_block_duration, two_hours);
    assert!(flags.admin_api && !flags.lifecycle);
    assert!(client.runtime_info().await.unwrap().reload_success);
    assert!(
        client
            .snapshot(true)
            .await
            .unwrap()
            .starts_with("snapshots/")
    );
    assert!(client.reload().await.is_err(), "reloading is not allowed");

    let matchers = [Matcher::equal("a", "1")];
    let names = client
        .label_names(&matchers, TimeRange::ALL, 0)
        .await
        .unwrap();
    assert_eq!(names.values, ["__name__", "a"]);
    let values = client
        .label_values("a", &matchers, TimeRange::ALL, 0)
        .await
        .unwrap();
    assert_eq!(values.values, ["1"]);
    let (series, _) = client.series(&matchers, TimeRange::ALL, 0).await.unwrap();
    assert_eq!(series[0].len(), 1);
    let empty = [Matcher::new(MatchOp::NotEqual, "a", "2").unwrap()];
    let error = client.series(&empty, TimeRange::ALL, 0).await.unwrap_err();
    assert!(
        error.to_string().contains("at least one non-empty matcher"),
        "{error}"
    );

    let store = server.store().await;
    let request = SeriesRequest {
        matchers: vec![Matcher::equal("a", "1")],
        ..SeriesRequest::default()
    };
    let answer = Answer::collect(store.series(request).await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.series[0].samples(TimeRange::ALL).unwrap().len(), 100);
}

/// A store that keeps its server alive.
#[derive(Debug)]
struct Kept {
    store: PrometheusStore,
    _server: Server,
}

delegate!(Kept);

/// the suite over a real Prometheus. Each data set is a server of its own.
#[tokio::test]
async fn a_real_server_passes_the_conformance_suite() {
    if program("prometheus").is_none() {
        return;
    }
    conformance::run(async |data: Dataset| {
        let server = Server::start(&data).unwrap();
        let store = server.store().await;
        Arc::new(Kept {
            store,
            _server: server,
        }) as Arc<dyn Store>
    })
    .await;
}
