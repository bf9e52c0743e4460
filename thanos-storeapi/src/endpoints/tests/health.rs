//! Endpoints that come, fail and go: what is asked, and what answers say about it.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thanos_core::labels::Matcher;

use super::super::names::Family;
use super::super::source::{Found, Source, StaticSource};
use super::lookups::TableResolver;
use super::*;
use crate::proxy::{Proxy, ProxyOptions};
use crate::store::{PartialResponse, SeriesRequest};
use crate::testkit::Answer;

/// A list that tests change.
#[derive(Debug, Clone, Default)]
struct SharedSource(Arc<Mutex<Vec<EndpointSpec>>>);

impl Source for SharedSource {
    fn find(&mut self) -> Found {
        StaticSource(self.0.lock().clone()).find()
    }
}

struct Bench {
    network: Arc<FakeNetwork>,
    resolver: Arc<TableResolver>,
    clock: Arc<FakeClock>,
    metrics: EndpointMetrics,
    source: SharedSource,
    discovery: Arc<Discovery>,
    proxy: Proxy,
}

fn bench(stores: &[&str], specs: Vec<EndpointSpec>) -> Bench {
    let network = FakeNetwork::of(stores);
    let resolver = Arc::new(TableResolver::default());
    let clock = FakeClock::new();
    let metrics = EndpointMetrics::default();
    let source = SharedSource(Arc::new(Mutex::new(specs)));
    let options = DiscoveryOptions {
        connector: network.clone(),
        resolver: resolver.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        ..DiscoveryOptions::default()
    };
    let discovery = Arc::new(Discovery::new(vec![Box::new(source.clone())], options));
    let options = ProxyOptions {
        response_timeout: Some(Duration::from_secs(2)),
        ..ProxyOptions::default()
    };
    let proxy = Proxy::new(discovery.endpoints().clone(), options);
    Bench {
        network,
        resolver,
        clock,
        metrics,
        source,
        discovery,
        proxy,
    }
}

impl Bench {
    async fn round(&self) {
        self.discovery.find().await;
        self.discovery.resolve().await;
        self.discovery.check().await;
    }

    /// Returns whose series came, and who was missing.
    async fn ask(&self) -> (Vec<String>, Vec<String>) {
        let answer = self.answer(PartialResponse::Warn).await.unwrap();
        let stores = answer.labels();
        let stores = stores
            .iter()
            .map(|it| it.get("store").unwrap().into_owned());
        let missing = answer.missing.into_iter().map(|missing| missing.source);
        (stores.collect(), missing.collect())
    }

    async fn answer(&self, partial_response: PartialResponse) -> Result<Answer> {
        let request = SeriesRequest {
            matchers: vec![Matcher::equal("__name__", "up")],
            partial_response,
            ..SeriesRequest::default()
        };
        Answer::collect(self.proxy.series(request).await?).await
    }

    fn listed(&self) -> Vec<String> {
        let statuses = self.discovery.statuses().into_iter();
        statuses.map(|status| status.name).collect()
    }
}

fn strict(address: &str) -> EndpointSpec {
    EndpointSpec {
        health: Health::Strict,
        ..EndpointSpec::new(address)
    }
}

fn group(address: &str) -> EndpointSpec {
    EndpointSpec {
        members: Members::AnyOf { attempts: 3 },
        ..EndpointSpec::new(address)
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// not asked at once, named while it is listed, forgotten after five minutes, back when it answers.
#[tokio::test(start_paused = true)]
async fn an_unhealthy_endpoint_is_named_until_it_is_forgotten() {
    let bench = bench(
        &["a", "b"],
        vec![EndpointSpec::new("a"), EndpointSpec::new("b")],
    );
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&["a", "b"]), vec![]));
    bench.network.faults("b", &[Fault::FailInfo]);
    bench.clock.advance_secs(5);
    bench.round().await;
    let asked = bench.network.store("b").requests().len();
    assert_eq!(bench.ask().await, (names(&["a"]), names(&["b"])));
    assert!(bench.answer(PartialResponse::Abort).await.is_err());
    assert_eq!(bench.network.store("b").requests().len(), asked);
    assert_eq!(bench.listed(), ["a", "b"]);
    let status = &bench.discovery.statuses()[1];
    assert!(
        status
            .last_error
            .as_ref()
            .unwrap()
            .contains("injected failure")
    );
    assert_eq!(status.unhealthy_since, Some(Timestamp::from_millis(5000)));
    assert_eq!(status.last_check, Some(Timestamp::from_millis(0)));
    bench.clock.advance_secs(294);
    bench.round().await;
    assert_eq!(bench.ask().await.1, names(&["b"]));
    bench.clock.advance_secs(1);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&["a"]), vec![]));
    assert_eq!(bench.listed(), ["a"]);
    bench.network.faults("b", &[]);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&["a", "b"]), vec![]));
    assert_eq!(bench.network.connections(), 2);
}

/// always asked, always listed.
#[tokio::test(start_paused = true)]
async fn a_strict_endpoint_is_asked_whatever_its_info_says() {
    let bench = bench(&["a"], vec![strict("a")]);
    bench.network.faults("a", &[Fault::FailInfo]);
    bench.round().await;
    bench.clock.advance_secs(3600);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&["a"]), vec![]));
    assert_eq!(bench.listed(), ["a"]);
    bench
        .network
        .faults("a", &[Fault::FailInfo, Fault::FailStart]);
    assert_eq!(bench.ask().await, (vec![], names(&["a"])));
}

/// names that were never resolved are named; addresses that went are not.
#[tokio::test(start_paused = true)]
async fn names_come_and_go() {
    let stores = ["10.0.0.1:1", "10.0.0.2:1"];
    let bench = bench(&stores, vec![EndpointSpec::new("dns+s:1")]);
    *bench.resolver.broken.lock() = true;
    bench.round().await;
    assert_eq!(bench.ask().await, (vec![], names(&["dns+s:1"])));
    *bench.resolver.broken.lock() = false;
    bench
        .resolver
        .set("s", Family::V4, &["10.0.0.1", "10.0.0.2"]);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&stores), vec![]));
    *bench.resolver.broken.lock() = true;
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&stores), vec![]));
    *bench.resolver.broken.lock() = false;
    bench.resolver.set("s", Family::V4, &["10.0.0.2"]);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&stores[1..]), vec![]));
    assert_eq!(bench.network.connections(), 2);
}

/// E-38: one of the members answers, series come once.
#[tokio::test(start_paused = true)]
async fn a_group_answers_while_one_member_does() {
    let stores = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"];
    let bench = bench(&stores, vec![group("dns+g:1")]);
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    bench.resolver.set("g", Family::V4, &all);
    bench.round().await;
    assert_eq!(bench.listed(), ["thanos:///dns+g:1"]);
    let mut asked = Vec::new();
    for _ in 0..6 {
        let (found, missing) = bench.ask().await;
        assert_eq!((found.len(), missing.len()), (1, 0));
        asked.extend(found);
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked, stores);
    let dead = [Fault::FailInfo, Fault::FailStart];
    bench.network.faults(stores[0], &dead);
    bench
        .network
        .faults(stores[1], &[Fault::FailInfo, Fault::FailAfter(0)]);
    for _ in 0..6 {
        assert_eq!(bench.ask().await, (names(&stores[2..]), vec![]));
    }
    bench.round().await;
    assert_eq!(bench.ask().await.1.len(), 0);
    bench.network.faults(stores[2], &dead);
    bench.round().await;
    assert_eq!(bench.ask().await, (vec![], names(&["thanos:///dns+g:1"])));
    bench.network.faults(stores[0], &[]);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&stores[..1]), vec![]));
}

/// the last of equal addresses counts, connections outlive changes of the list.
#[tokio::test(start_paused = true)]
async fn lists_change_while_connections_stay() {
    let bench = bench(&["a", "b"], vec![EndpointSpec::new("a"), strict("a")]);
    bench.round().await;
    let mut registry = Registry::default();
    bench.metrics.register(&mut registry, "query", &[]);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("thanos_query_duplicated_endpoint_addresses_total 1"),
        "{text}"
    );
    let series =
        "thanos_store_nodes_grpc_connections{external_labels=\"{store=\\\"a\\\"}\",store_type=\"";
    assert!(text.contains(series), "{text}");
    for name in [
        "endpoints_dns_lookups_total",
        "endpoint_groups_dns_failures_total",
    ] {
        assert!(text.contains(&format!("thanos_query_{name} 0")), "{text}");
    }
    bench.network.faults("a", &[Fault::FailInfo]);
    bench.round().await;
    assert_eq!(bench.ask().await, (names(&["a"]), vec![]));
    bench.source.0.lock().push(EndpointSpec::new("b"));
    bench.source.0.lock().push(EndpointSpec::new("nowhere"));
    bench.round().await;
    let (found, missing) = bench.ask().await;
    assert_eq!((found, missing), (names(&["a", "b"]), names(&["nowhere"])));
    let second = bench.discovery.endpoints().current();
    bench.source.0.lock().truncate(2);
    bench.round().await;
    let third = bench.discovery.endpoints().current();
    assert!(Arc::ptr_eq(&second[0], &third[0]));
    assert_eq!(bench.ask().await, (names(&["a"]), vec![]));
}

/// ready after the first round, whatever it brought.
#[tokio::test(start_paused = true)]
async fn the_first_round_ends_although_a_store_hangs() {
    let bench = bench(
        &["a", "b"],
        vec![EndpointSpec::new("a"), EndpointSpec::new("b")],
    );
    bench.network.faults("b", &[Fault::HangInfo]);
    let run = tokio::spawn(bench.discovery.clone().run());
    bench.discovery.first_round().await;
    assert_eq!(bench.ask().await, (names(&["a"]), names(&["b"])));
    bench.network.faults("b", &[]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(bench.ask().await, (names(&["a", "b"]), vec![]));
    run.abort();
}
