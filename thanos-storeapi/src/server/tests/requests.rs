//! What comes with a request: matchers that are known, a tenant, an id for logs.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use thanos_core::labels::MatchOp;
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, span};

use super::*;
use crate::pb::thanos::store_client::StoreClient;
use crate::tenant::TENANT_KEY;

/// Writes down which spans an event lies in, with their fields.
#[derive(Clone, Default)]
struct Log {
    spans: Arc<Mutex<Vec<String>>>,
    lines: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicU64>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("thanos_storeapi")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut text = String::new();
        attributes.record(&mut Fields(&mut text));
        let mut spans = self.spans.lock().unwrap();
        spans.push(text);
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let open = usize::try_from(self.open.load(Ordering::SeqCst)).unwrap();
        let mut text = match open.checked_sub(1) {
            Some(at) => self.spans.lock().unwrap()[at].clone(),
            None => String::new(),
        };
        event.record(&mut Fields(&mut text));
        self.lines.lock().unwrap().push(text);
    }

    fn enter(&self, id: &span::Id) {
        self.open.store(id.into_u64(), Ordering::SeqCst);
    }

    fn exit(&self, _: &span::Id) {
        self.open.store(0, Ordering::SeqCst);
    }
}

fn raw_client(running: &Running) -> StoreClient<tonic::transport::Channel> {
    let endpoint = format!("http://{}", running.address).parse::<tonic::transport::Endpoint>();
    StoreClient::new(endpoint.unwrap().connect_lazy())
}

/// ST-37: what a call logs carries the id that its caller gave, or one of its own.
#[tokio::test]
async fn what_a_call_logs_carries_the_request_id() {
    let log = Log::default();
    // Beside a single subscriber, a place that logs for the first time on another test's thread would be taken for one
    // that nobody listens to.
    let _second = Dispatch::new(Log::default());
    // The runtime of this test has one thread.
    let _logging = tracing::subscriber::set_default(log.clone());
    tracing::callsite::rebuild_interest_cache();
    let faults = [Fault::PanicAfter(1)];
    let store = Arc::new(dataset(4).to_mem_store().with_faults(faults));
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let mut client = raw_client(&running);
    let mut ask = async |id: Option<&str>| {
        let mut request = tonic::Request::new(pb::thanos::SeriesRequest::from(all()));
        if let Some(id) = id {
            let id = id.parse().unwrap();
            request.metadata_mut().insert("x-request-id", id);
        }
        let mut frames = client.series(request).await.unwrap().into_inner();
        while let Some(Ok(_)) = frames.next().await {}
    };
    ask(Some("from-the-querier")).await;
    ask(None).await;
    ask(Some(&"x".repeat(1000))).await;
    let lines = log.lines.lock().unwrap().clone();
    let panics: Vec<_> = lines.iter().filter(|line| line.contains("panic")).collect();
    assert_eq!(panics.len(), 3, "{lines:?}");
    assert!(
        panics[0].contains(r#"call="Series" request_id="from-the-querier""#),
        "{panics:?}"
    );
    for own in &panics[1..] {
        let (_, id) = own.split_once("request_id=").unwrap();
        let id = id.split_whitespace().next().unwrap();
        assert_eq!(id.trim_matches('"').len(), 24, "{own}");
    }
    assert_ne!(panics[1], panics[2]);
}

/// Counts what it is asked for.
#[derive(Debug, Default)]
struct Counting {
    asked: Mutex<Vec<String>>,
}

impl MatcherSource for Counting {
    fn matcher(&self, op: MatchOp, name: &str, value: &str) -> Result<Matcher> {
        let matcher = Matcher::new(op, name, value)?;
        self.asked.lock().unwrap().push(matcher.to_string());
        Ok(matcher)
    }
}

/// ST-28: the matchers of all calls come from where the server is told.
#[tokio::test]
async fn matchers_come_from_the_given_source() {
    let source = Arc::new(Counting::default());
    let matchers = Arc::<Counting>::clone(&source);
    let store = Arc::new(dataset(4).to_mem_store());
    let server = StoreServer::new(store, ServerSettings::default()).with_matchers(matchers);
    let running = Running::start_server(server, "127.0.0.1:0");
    let client = running.client();
    let asked = all().matchers;
    let answer = Answer::collect(client.series(all()).await.unwrap()).await;
    assert_eq!(answer.unwrap().series.len(), 4);
    let names = LabelNamesRequest {
        matchers: asked.clone(),
        ..Default::default()
    };
    client.label_names(names).await.unwrap();
    let values = LabelValuesRequest {
        label: "i".into(),
        matchers: asked.clone(),
        ..Default::default()
    };
    client.label_values(values).await.unwrap();
    assert_eq!(*source.asked.lock().unwrap(), [r#"i=~".+""#; 3]);
}

/// ST-34: the tenant comes from the metadata and goes on through a proxy.
#[tokio::test]
async fn a_tenant_travels_through_proxies_and_a_wrong_one_is_refused() {
    use crate::proxy::{Endpoint, EndpointSet, Proxy, ProxyOptions};
    use crate::tenant::TenantId;

    let store = Arc::new(dataset(4).to_mem_store());
    let running = Running::start(Arc::<MemStore>::clone(&store));
    let endpoints = EndpointSet::new([Endpoint::local("one", Arc::new(running.client()))]);
    let proxy = Proxy::new(endpoints, ProxyOptions::default());
    let tenant = TenantId::parse("team-a").unwrap();
    let request = SeriesRequest {
        tenant: tenant.clone(),
        ..all()
    };
    Answer::collect(proxy.series(request).await.unwrap())
        .await
        .unwrap();
    let names = LabelNamesRequest {
        tenant: tenant.clone(),
        ..Default::default()
    };
    proxy.label_names(names).await.unwrap();
    let values = LabelValuesRequest {
        label: "i".into(),
        tenant: tenant.clone(),
        ..Default::default()
    };
    proxy.label_values(values).await.unwrap();
    assert_eq!(store.tenants(), [tenant.clone(), tenant.clone(), tenant]);

    let mut client = raw_client(&running);
    let mut request = tonic::Request::new(pb::thanos::SeriesRequest::from(all()));
    let wrong = "../etc".parse().unwrap();
    request.metadata_mut().insert(TENANT_KEY, wrong);
    let status = client.series(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}
