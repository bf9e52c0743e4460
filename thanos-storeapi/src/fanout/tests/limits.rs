//! How much of an answer is kept, and for how long a request waits.

use std::net::TcpListener;
use std::time::Instant;

use super::*;
use crate::client::{ClientSettings, RemoteStore};
use crate::server::{ServerSettings, StoreServer, serve};
use crate::testkit::MemStore;

/// Never answers.
#[derive(Debug)]
struct Silent;

#[async_trait::async_trait]
impl crate::apis::rules::RulesApi for Silent {
    async fn rules(&self, _: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
        std::future::pending().await
    }
}

/// who wants all of the answer does not wait for the others once it cannot be had.
#[tokio::test]
async fn the_first_failure_ends_a_strict_request() {
    let silent = Apis {
        rules: Some(Arc::new(Silent)),
        ..Apis::default()
    };
    let failing = FixedApis {
        failure: Some("out of order".into()),
        ..FixedApis::default()
    };
    let partial = FixedApis::sample("a");
    let partial = with_missing(partial);
    for (sick, reason) in [(failing.apis(), "out of order"), (partial, "half of it")] {
        let silent = endpoint_of("rule", "silent", &[], silent.clone()).await;
        let sick = endpoint_of("rule", "sick", &[], sick).await;
        let fanout = Fanout::new(EndpointSet::new([silent, sick]), options());
        let answer = fanout.rules(RulesRequest::default());
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        let error = answer.expect("it waited for the silent one").unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("fetching rules"), "{error}");
    }
}

fn with_missing(apis: FixedApis) -> Apis {
    #[derive(Debug)]
    struct Half(FixedApis);

    #[async_trait::async_trait]
    impl crate::apis::rules::RulesApi for Half {
        async fn rules(&self, request: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
            let mut answer = self.0.rules(request).await?;
            answer.completeness.add(Missing {
                source: "below".into(),
                reason: "half of it".into(),
            });
            Ok(answer)
        }
    }
    Apis {
        rules: Some(Arc::new(Half(apis))),
        ..Apis::default()
    }
}

/// Joining takes time in proportion to what there is to join.
#[tokio::test]
async fn what_is_equal_is_found_in_linear_time() {
    const MANY: usize = 60_000;
    let of = |replica: usize| {
        let entry = |i: usize| MetricMetadata {
            metric_type: "counter".into(),
            help: format!("{i:0>40}"),
            unit: String::new(),
        };
        FixedApis {
            metadata: [("m".to_owned(), (0..MANY).map(entry).collect())].into(),
            warnings: (0..MANY).map(|i| format!("{i:0>40}")).collect(),
            failure: (replica == 2).then(|| "gone".into()),
            ..FixedApis::default()
        }
    };
    let fanout = fanout([
        endpoint("0", &[], of(0)).await,
        endpoint("1", &[], of(1)).await,
        endpoint("2", &[], of(2)).await,
    ]);
    let started = Instant::now();
    let request = MetadataRequest {
        partial_response: PartialResponse::Warn,
        ..MetadataRequest::default()
    };
    let answer = fanout.metadata(request).await.unwrap();
    // Comparing each with all others would take minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(answer.value["m"].len(), MANY);
    assert_eq!(answer.warnings.len(), MANY);
    assert_eq!(answer.completeness.missing().len(), 1);
}

/// Serves `apis` and returns the endpoint that asks for them over the network.
async fn served(name: &str, apis: FixedApis, settings: ClientSettings) -> Arc<Endpoint> {
    let store = Arc::new(MemStore::default());
    let server = StoreServer::new(store, ServerSettings::default()).with_apis(apis.apis());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = server.router();
    tokio::spawn(async move {
        serve(
            listener,
            router,
            &ServerSettings::default(),
            std::future::pending(),
        )
        .await
    });
    let remote = RemoteStore::new(&address, settings).unwrap();
    let apis = remote.apis();
    let endpoint = Endpoint::remote_component(name, Arc::new(remote), apis);
    endpoint.refresh(None).await.unwrap();
    endpoint
}

fn large(bytes: usize) -> FixedApis {
    let entry = MetricMetadata {
        metric_type: "counter".into(),
        help: "h".repeat(bytes),
        unit: String::new(),
    };
    FixedApis {
        metadata: [("m".to_owned(), vec![entry])].into(),
        ..FixedApis::sample("a")
    }
}

/// the memory of an answer is on lease from the budget as long as the answer is there, and one that does not fit is
/// missing, or fails the request; all components together take no more than one request may.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_on_lease() {
    let budget = MemoryBudget::new("memory of the test", 64 << 20);
    let ends = [
        served("small", large(100_000), ClientSettings::default()).await,
        served("large", large(300_000), ClientSettings::default()).await,
    ];
    let fanout = |request_bytes_max| {
        let options = FanoutOptions {
            budget: budget.clone(),
            request_bytes_max,
            ..options()
        };
        Fanout::new(EndpointSet::new(ends.clone()), options)
    };
    let request = |partial_response| MetadataRequest {
        partial_response,
        ..MetadataRequest::default()
    };
    let warn = request(PartialResponse::Warn);

    let answer = fanout(4 << 20).metadata(warn.clone()).await.unwrap();
    assert_eq!(answer.completeness.missing(), []);
    assert_eq!(answer.value["m"].len(), 2);
    let held = budget.used_bytes();
    assert!((1_200_000..1_300_000).contains(&held), "{held}");
    assert_eq!(answer.held.bytes(), held);
    drop(answer);
    assert_eq!(budget.used_bytes(), 0);

    let tight = fanout(800_000);
    let answer = tight.metadata(warn).await.unwrap();
    let missing = answer.completeness.missing();
    assert_eq!(missing[0].source, "large");
    assert!(
        missing[0].reason.contains("memory of a request"),
        "{missing:?}"
    );
    assert!(
        answer.value["m"]
            .iter()
            .all(|one| one.help.len() == 100_000)
    );
    let error = tight.metadata(request(PartialResponse::Abort)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::LimitExceeded);
    drop(answer);
    assert_eq!(budget.used_bytes(), 0);
}

/// one message is as large as a whole answer may be, and one that is larger is refused before it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused() {
    for (answer_bytes_max, message_bytes_max) in [(50_000, usize::MAX), (1 << 30, 50_000)] {
        let settings = ClientSettings {
            answer_bytes_max,
            message_bytes_max,
            ..ClientSettings::default()
        };
        let end = served("large", large(60_000), settings).await;
        let fanout = Fanout::new(EndpointSet::new([end]), options());
        let error = fanout.metadata(MetadataRequest::default()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(error.to_string().contains("50000 bytes"), "{error}");
        assert!(fanout.targets(TargetsRequest::default()).await.is_ok());
    }
}
