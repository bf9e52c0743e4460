//! What a component answers beside series, through server and client.

use super::*;
use crate::apis::Apis;
use crate::apis::exemplars::ExemplarsApi as _;
use crate::apis::metadata::MetadataApi as _;
use crate::apis::rules::RulesApi as _;
use crate::apis::status::StatusApi as _;
use crate::apis::targets::TargetsApi as _;
use crate::testkit::FixedApis;

fn serve(apis: Apis) -> (Running, RemoteStore) {
    serve_for(apis, ClientSettings::default())
}

fn serve_for(apis: Apis, settings: ClientSettings) -> (Running, RemoteStore) {
    let store = Arc::new(MemStore::default());
    let server = StoreServer::new(store, ServerSettings::default()).with_apis(apis);
    let running = Running::start_server(server, "127.0.0.1:0");
    let remote = RemoteStore::new(&running.address.to_string(), settings).unwrap();
    (running, remote)
}

/// SC-25 to SC-29 on the wire: what a component says arrives whole.
#[tokio::test]
async fn answers_arrive_as_they_were_given() {
    let mut given = FixedApis::sample("a");
    given.warnings = vec!["half of it is late".into()];
    let (_running, remote) = serve(given.clone().apis());

    let rules = remote.rules(Default::default()).await.unwrap();
    assert_eq!(rules.value, given.rules);
    let targets = remote.targets(Default::default()).await.unwrap();
    assert_eq!(targets.value, given.targets);
    let metadata = remote.metadata(Default::default()).await.unwrap();
    assert_eq!(metadata.value, given.metadata);
    let exemplars = remote.exemplars(Default::default()).await.unwrap();
    assert_eq!(exemplars.value, given.exemplars);
    let status = remote.tsdb_statistics(Default::default()).await.unwrap();
    assert_eq!(status.value, given.statistics);

    // What another component warns of is data that may be missing.
    let missing = rules.completeness.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].source, remote.address());
    assert_eq!(missing[0].reason, "half of it is late");
    assert!(!targets.completeness.is_complete() && !status.completeness.is_complete());
}

/// info announces what there is, and only that.
#[tokio::test]
async fn info_says_which_apis_there_are() {
    let (_running, remote) = serve(FixedApis::default().apis());
    let offers = remote.info().await.unwrap().offers;
    assert!(offers.store && offers.rules && offers.targets && offers.metadata && offers.status);
    assert!(offers.exemplars.is_some() && !offers.query);

    let only_rules = Apis {
        rules: FixedApis::default().apis().rules,
        ..Apis::default()
    };
    let (_running, remote) = serve(only_rules);
    let offers = remote.info().await.unwrap().offers;
    assert!(offers.rules && !offers.targets && offers.exemplars.is_none());
    assert!(remote.rules(Default::default()).await.is_ok());
    let error = remote.targets(Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("not implemented"), "{error}");
}

#[tokio::test]
async fn failures_and_answers_without_end_are_errors() {
    let failing = FixedApis {
        failure: Some("not ready".into()),
        ..FixedApis::default()
    };
    let (_running, remote) = serve(failing.apis());
    let error = remote.rules(Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("not ready"), "{error}");

    let mut large = FixedApis::sample("a");
    large.rules = vec![large.rules[0].clone(); 1000];
    let settings = ClientSettings {
        answer_bytes_max: 100_000,
        ..ClientSettings::default()
    };
    let (_running, remote) = serve_for(large.apis(), settings);
    let error = remote.rules(Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("larger than 100000 bytes"));
    assert!(remote.targets(Default::default()).await.is_ok());
}

/// Q-26, E-52: requests and answers of the Query API arrive as they were given, native histograms included.
#[tokio::test(flavor = "multi_thread")]
async fn queries_arrive_as_they_were_asked() {
    use futures::{StreamExt, TryStreamExt, stream};
    use thanos_core::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Span};
    use thanos_core::labels::Labels;
    use thanos_core::query::Missing;
    use thanos_core::time::Timestamp;

    use crate::apis::query::{
        QueryApi, QueryEvent, QueryRequest, QuerySeries, QueryStats, QueryStream, QueryTimes,
    };
    use crate::store::{PartialResponse, ShardInfo};
    use crate::tenant::TenantId;

    #[derive(Debug)]
    struct Fixed(std::sync::Mutex<Option<QueryRequest>>);

    fn series(name: &str) -> QuerySeries {
        let layout = BucketLayout {
            schema: 1,
            zero_threshold: 0.001,
            positive_spans: vec![Span {
                offset: -2,
                length: 2,
            }],
            negative_spans: vec![],
            custom_values: vec![],
        };
        let mut histogram = FloatHistogram::new(layout.into(), &[1.5, 2.0], &[]).unwrap();
        (histogram.count, histogram.sum) = (4.5, -3.0);
        histogram.zero_count = 1.0;
        histogram.counter_reset_hint = CounterResetHint::Gauge;
        QuerySeries {
            labels: Labels::from_pairs([("name", name)]),
            floats: vec![(Timestamp::from_millis(1500), 0.1)],
            histograms: vec![(Timestamp::from_millis(3000), histogram)],
        }
    }

    fn answer() -> Vec<QueryEvent> {
        vec![
            QueryEvent::Warning("PromQL info: something (1:1)".into()),
            QueryEvent::Missing(Missing {
                source: "store".into(),
                reason: "gone".into(),
            }),
            QueryEvent::Series(vec![series("a"), series("b")]),
            QueryEvent::Stats(QueryStats {
                samples_total: 7,
                peak_samples: 3,
            }),
        ]
    }

    #[async_trait::async_trait]
    impl QueryApi for Fixed {
        async fn query(&self, request: QueryRequest) -> Result<QueryStream> {
            let text = request.query.clone();
            *self.0.lock().unwrap() = Some(request);
            match text.as_str() {
                "wrong" => Err(thanos_core::Error::invalid("no query")),
                "fails" => Ok(stream::iter([Err(thanos_core::Error::invalid("late"))]).boxed()),
                _ => Ok(stream::iter(answer().into_iter().map(Ok)).boxed()),
            }
        }
    }

    let fixed = Arc::new(Fixed(std::sync::Mutex::default()));
    let apis = Apis {
        query: Some(Arc::clone(&fixed) as _),
        ..Apis::default()
    };
    let (_running, client) = serve(apis);
    let api = client.apis().query.unwrap();
    let request = |query: &str, times, response_batch_size| QueryRequest {
        query: query.into(),
        plan: Some("{}".into()),
        times,
        timeout: Some(Duration::from_secs(9)),
        max_resolution_ms: 300_000,
        replica_labels: vec!["replica".into()],
        store_matchers: vec![vec![Matcher::equal("__address__", "a")]],
        dedup: true,
        partial_response: PartialResponse::Warn,
        skip_chunks: false,
        shard: Some(ShardInfo {
            shard_index: 1,
            total_shards: 2,
            by: true,
            labels: vec!["l".into()],
        }),
        lookback_delta: Some(Duration::from_secs(60)),
        response_batch_size,
        tenant: TenantId::parse("team").unwrap(),
    };
    let instant = QueryTimes::Instant(Timestamp::from_millis(5000));
    let range = QueryTimes::Range {
        start: Timestamp::from_millis(1000),
        end: Timestamp::from_millis(9000),
        step_ms: 2000,
    };
    for (times, batch) in [(instant, 64), (instant, 0), (range, 64), (range, 1)] {
        let asked = request("up", times, batch);
        let stream = api.query(asked.clone()).await.unwrap();
        let mut found: Vec<QueryEvent> = stream.try_collect().await.unwrap();
        let seen = fixed.0.lock().unwrap().take().unwrap();
        assert_eq!(format!("{seen:?}"), format!("{asked:?}"));
        if batch < 2 {
            let QueryEvent::Series(second) = found.remove(3) else {
                panic!("{found:?}");
            };
            let QueryEvent::Series(first) = &mut found[2] else {
                panic!("{found:?}");
            };
            first.extend(second);
        }
        // The address says who misses it.
        let QueryEvent::Missing(missing) = &found[1] else {
            panic!("{found:?}");
        };
        assert_eq!(missing.reason, "store: gone");
        let mut expected = answer();
        expected[1] = found[1].clone();
        assert_eq!(found, expected);
    }
    let error = api
        .query(request("wrong", instant, 64))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("no query"), "{error}");
    let mut late = api.query(request("fails", range, 64)).await.unwrap();
    let error = late.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("late"), "{error}");
    let odd = QueryTimes::Instant(Timestamp::from_millis(1));
    let error = api.query(request("up", odd, 64)).await.err().unwrap();
    assert!(error.to_string().contains("whole seconds"), "{error}");
}
