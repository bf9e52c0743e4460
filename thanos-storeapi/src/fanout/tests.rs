mod limits;
mod tenancy;

use thanos_core::error::ErrorKind;
use thanos_core::labels::MatchOp;
use thanos_core::time::{TimeRange, Timestamp, UtcTime};

use super::*;
use crate::apis::exemplars::{Exemplar, ExemplarsApi as _, ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{MetadataApi as _, MetadataRequest, MetricMetadata};
use crate::apis::rules::{
    AlertState, AlertingRule, RecordingRule, Rule, RuleGroup, RuleKinds, RulesApi as _,
    RulesRequest,
};
use crate::apis::status::{
    HeadStatistics, Statistic, StatusApi as _, StatusRequest, TsdbStatistics,
};
use crate::apis::targets::{
    ActiveTarget, DroppedTarget, TargetHealth, Targets, TargetsApi as _, TargetsRequest,
};
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, Store,
    StoreInfo, TsdbInfo,
};
use crate::testkit::FixedApis;

/// A component that says what it is; nobody asks it for series.
#[derive(Debug, Clone)]
struct Component(StoreInfo);

#[async_trait::async_trait]
impl Store for Component {
    async fn info(&self) -> Result<StoreInfo> {
        Ok(self.0.clone())
    }

    async fn series(&self, _: SeriesRequest) -> Result<SeriesStream> {
        unreachable!("asked for series")
    }

    async fn label_names(&self, _: LabelNamesRequest) -> Result<LabelsResponse> {
        unreachable!("asked for names")
    }

    async fn label_values(&self, _: LabelValuesRequest) -> Result<LabelsResponse> {
        unreachable!("asked for values")
    }
}

fn everything() -> Offers {
    Offers {
        store: true,
        rules: true,
        targets: true,
        metadata: true,
        exemplars: Some(TimeRange::ALL),
        status: true,
        query: false,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// Returns an endpoint with external labels, whose info is known.
async fn endpoint(name: &str, external: &[(&str, &str)], apis: FixedApis) -> Arc<Endpoint> {
    endpoint_of("sidecar", name, external, apis.apis()).await
}

async fn endpoint_of(
    component: &str,
    name: &str,
    external: &[(&str, &str)],
    apis: Apis,
) -> Arc<Endpoint> {
    let info = StoreInfo {
        component: component.into(),
        tsdbs: vec![TsdbInfo {
            external_labels: labels(external),
            range: TimeRange::ALL,
        }],
        offers: everything(),
        ..StoreInfo::default()
    };
    let endpoint = Endpoint::remote_component(name, Arc::new(Component(info)), apis);
    endpoint.refresh(None).await.unwrap();
    endpoint
}

fn options() -> FanoutOptions {
    FanoutOptions {
        replica_labels: ["replica".to_owned()].into(),
        selector_labels: Labels::empty(),
        timeout: None,
        selectors: Arc::new(|_| Ok(Vec::new())),
        budget: MemoryBudget::new("test memory", 64 << 20),
        request_bytes_max: 1 << 20,
        enforced_label: None,
    }
}

fn fanout(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Fanout {
    let options = FanoutOptions {
        timeout: Some(Duration::from_millis(200)),
        // Good enough for a test: the names of metrics, and one matcher each.
        selectors: Arc::new(|query| {
            let one = |part: &str| {
                let (name, rest) = part.split_once('{').unwrap_or((part, ""));
                let mut set = vec![Matcher::equal("__name__", name)];
                if let Some((label, value)) = rest.trim_end_matches('}').split_once('=') {
                    set.push(Matcher::equal(label, value.trim_matches('"')));
                }
                set
            };
            Ok(query.split('+').map(one).collect())
        }),
        ..options()
    };
    Fanout::new(EndpointSet::new(endpoints), options)
}

fn at(secs: i64) -> UtcTime {
    UtcTime::from_unix_secs(secs)
}

fn recording(name: &str, pairs: &[(&str, &str)], evaluated: i64) -> Rule {
    Rule::Recording(RecordingRule {
        name: name.into(),
        query: "up".into(),
        labels: labels(pairs),
        health: "ok".into(),
        last_error: String::new(),
        evaluation_secs: 0.1,
        last_evaluation: at(evaluated),
    })
}

fn alerting(name: &str, pairs: &[(&str, &str)], state: AlertState, evaluated: i64) -> Rule {
    Rule::Alerting(AlertingRule {
        state,
        name: name.into(),
        query: "up == 0".into(),
        duration_secs: 60.0,
        keep_firing_for_secs: 0.0,
        labels: labels(pairs),
        annotations: Labels::empty(),
        alerts: Vec::new(),
        health: "ok".into(),
        last_error: String::new(),
        evaluation_secs: 0.1,
        last_evaluation: at(evaluated),
    })
}

fn group(name: &str, file: &str, rules: Vec<Rule>) -> RuleGroup {
    RuleGroup {
        name: name.into(),
        file: file.into(),
        rules,
        interval_secs: 60.0,
        evaluation_secs: 0.2,
        last_evaluation: at(1),
        limit: 0,
        partial_response: PartialResponse::Warn,
    }
}

fn with_rules(groups: Vec<RuleGroup>) -> FixedApis {
    FixedApis {
        rules: groups,
        ..FixedApis::default()
    }
}

/// A-09, Q-33: groups of one file and name are one, and of the rules of replicas the most urgent, then the latest one is left.
#[tokio::test]
async fn rules_of_replicas_are_one() {
    let of = |replica: &str, state, evaluated| {
        let pairs = [("replica", replica), ("severity", "page")];
        let rules = vec![
            recording("job:up", &[("replica", replica)], evaluated),
            alerting("Down", &pairs, state, evaluated),
        ];
        with_rules(vec![
            group("b", "2.yaml", rules),
            group("only", replica, vec![recording("x", &[], 1)]),
        ])
    };
    let fanout = fanout([
        endpoint("1", &[], of("a", AlertState::Pending, 9)).await,
        endpoint("2", &[], of("b", AlertState::Firing, 5)).await,
        endpoint("3", &[], of("c", AlertState::Firing, 7)).await,
    ]);
    let answer = fanout.rules(RulesRequest::default()).await.unwrap();
    assert!(answer.completeness.is_complete());
    let names: Vec<_> = answer
        .value
        .iter()
        .map(|group| (group.file.as_str(), group.name.as_str()))
        .collect();
    assert_eq!(
        names,
        [("2.yaml", "b"), ("a", "only"), ("b", "only"), ("c", "only")]
    );
    assert_eq!(
        answer.value[0].rules,
        [
            alerting("Down", &[("severity", "page")], AlertState::Firing, 7),
            recording("job:up", &[], 9),
        ]
    );
}

/// Q-07: rules are chosen by kind, name, group, file and labels, whoever has sent all of them.
#[tokio::test]
async fn rules_are_filtered() {
    let groups = vec![
        group(
            "g1",
            "f1",
            vec![
                recording("r1", &[("team", "x")], 1),
                alerting(
                    "a1",
                    &[("team", "{{ $labels.team }}")],
                    AlertState::Inactive,
                    1,
                ),
            ],
        ),
        group("g2", "f2", vec![recording("r2", &[("team", "y")], 1)]),
    ];
    let fanout = fanout([endpoint("1", &[], with_rules(groups)).await]);
    let found = async |request: RulesRequest| {
        let answer = fanout.rules(request).await.unwrap();
        let rules = answer.value.into_iter().flat_map(|group| group.rules);
        let name = |rule| match rule {
            Rule::Recording(rule) => rule.name,
            Rule::Alerting(rule) => rule.name,
        };
        rules.map(name).collect::<Vec<String>>()
    };
    let all = RulesRequest::default;
    assert_eq!(found(all()).await, ["a1", "r1", "r2"]);
    let kind = RuleKinds::Alerting;
    assert_eq!(found(RulesRequest { kind, ..all() }).await, ["a1"]);
    let rule_names = vec!["r2".to_owned(), "a1".to_owned()];
    assert_eq!(
        found(RulesRequest {
            rule_names,
            ..all()
        })
        .await,
        ["a1", "r2"]
    );
    let rule_groups = vec!["g2".to_owned()];
    assert_eq!(
        found(RulesRequest {
            rule_groups,
            ..all()
        })
        .await,
        ["r2"]
    );
    let files = vec!["f1".to_owned()];
    assert_eq!(found(RulesRequest { files, ..all() }).await, ["a1", "r1"]);
    // A template is no value yet.
    let matchers = vec![vec![Matcher::equal("team", "")]];
    assert_eq!(found(RulesRequest { matchers, ..all() }).await, ["a1"]);
    let matchers = vec![
        vec![Matcher::equal("team", "x")],
        vec![Matcher::equal("team", "y")],
    ];
    assert!(found(RulesRequest { matchers, ..all() }).await.is_empty());
}

fn active(replica: &str, health: TargetHealth, scraped: i64) -> ActiveTarget {
    ActiveTarget {
        discovered_labels: labels(&[("__address__", "h:1"), ("replica", replica)]),
        labels: labels(&[("instance", "h:1"), ("replica", replica)]),
        scrape_pool: "node".into(),
        scrape_url: "http://h:1/metrics".into(),
        global_url: "http://h:1/metrics".into(),
        last_error: String::new(),
        last_scrape: at(scraped),
        last_scrape_secs: 0.5,
        health,
    }
}

/// A-09, X-51: one target of those of replicas: the one that is down, or the one that was scraped last.
#[tokio::test]
async fn targets_of_replicas_are_one() {
    let dropped = |replica: &str| DroppedTarget {
        discovered_labels: labels(&[("__address__", "x:1"), ("replica", replica)]),
    };
    let of = |replica: &str, health, scraped| FixedApis {
        targets: Targets {
            active: vec![active(replica, health, scraped)],
            dropped: vec![dropped(replica)],
        },
        ..FixedApis::default()
    };
    for (a, b, kept) in [
        (
            (TargetHealth::Up, 1),
            (TargetHealth::Up, 2),
            (TargetHealth::Up, 2),
        ),
        (
            (TargetHealth::Up, 9),
            (TargetHealth::Down, 2),
            (TargetHealth::Down, 2),
        ),
        (
            (TargetHealth::Unknown, 9),
            (TargetHealth::Up, 2),
            (TargetHealth::Up, 2),
        ),
    ] {
        let fanout = fanout([
            endpoint("1", &[], of("a", a.0, a.1)).await,
            endpoint("2", &[], of("b", b.0, b.1)).await,
        ]);
        let answer = fanout
            .targets(TargetsRequest::default())
            .await
            .unwrap()
            .value;
        assert_eq!((answer.active.len(), answer.dropped.len()), (1, 1));
        let target = &answer.active[0];
        assert_eq!((target.health, target.last_scrape), (kept.0, at(kept.1)));
        assert_eq!(target.labels, labels(&[("instance", "h:1")]));
        assert_eq!(
            answer.dropped[0].discovered_labels,
            labels(&[("__address__", "x:1")])
        );
    }
}

/// A-09, X-50: the different entries of a metric are joined; limits of -1, 1 and 0.
#[tokio::test]
async fn metadata_is_the_union() {
    let entry = |help: &str| MetricMetadata {
        metric_type: "counter".into(),
        help: help.into(),
        unit: String::new(),
    };
    let of = |entries: &[(&str, &str)]| {
        let mut apis = FixedApis::default();
        for (name, help) in entries {
            let list = apis.metadata.entry((*name).to_owned()).or_default();
            list.push(entry(help));
        }
        apis
    };
    let fanout = fanout([
        endpoint("1", &[], of(&[("a", "one"), ("b", "same")])).await,
        endpoint("2", &[], of(&[("a", "two"), ("b", "same"), ("c", "new")])).await,
    ]);
    let found = async |metrics_max, metric: Option<&str>| {
        let request = MetadataRequest {
            metrics_max,
            metric: metric.map(str::to_owned),
            ..MetadataRequest::default()
        };
        fanout.metadata(request).await.unwrap().value
    };
    let all = found(None, None).await;
    assert_eq!(all["a"], [entry("one"), entry("two")]);
    assert_eq!((all["b"].len(), all["c"].len()), (1, 1));
    assert_eq!(found(Some(1), None).await.len(), 1);
    assert!(found(Some(0), None).await.is_empty());
    assert_eq!(found(None, Some("c")).await.len(), 1);
}

fn exemplar(trace: &str, ms: i64) -> Exemplar {
    Exemplar {
        labels: labels(&[("trace_id", trace)]),
        value: 1.5,
        time: Timestamp::from_millis(ms),
    }
}

/// A-09, Q-34, E-13: replicas' exemplars are one list; whose external labels do not match is not asked, and others not for them.
#[tokio::test]
async fn exemplars_are_joined_and_asked_where_they_may_be() {
    /// Notes what it is asked.
    #[derive(Debug)]
    struct Noting(FixedApis, parking_lot::Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl crate::apis::exemplars::ExemplarsApi for Noting {
        async fn exemplars(
            &self,
            request: ExemplarsRequest,
        ) -> Result<Answer<Vec<SeriesExemplars>>> {
            self.1.lock().push(request.query.clone());
            self.0.exemplars(request).await
        }
    }

    let of = |replica: &str, exemplars: Vec<Exemplar>| {
        let cluster = if replica == "c" { "us" } else { "eu" };
        let series = SeriesExemplars {
            labels: labels(&[
                ("__name__", "m"),
                ("cluster", cluster),
                ("replica", replica),
            ]),
            exemplars,
        };
        let apis = FixedApis {
            exemplars: vec![series],
            ..FixedApis::default()
        };
        Arc::new(Noting(apis, Default::default()))
    };
    let a = of("a", vec![exemplar("t1", 1), exemplar("t2", 2)]);
    let b = of("b", vec![exemplar("t2", 2), exemplar("t3", 3)]);
    let other = of("c", vec![exemplar("t9", 9)]);
    let querier = of("a", vec![]);
    let apis = |noting: &Arc<Noting>| Apis {
        exemplars: Some(Arc::clone(noting) as _),
        ..Apis::default()
    };
    let eu = |replica| [("cluster", "eu"), ("replica", replica)];
    let fanout = fanout([
        endpoint_of("sidecar", "1", &eu("a"), apis(&a)).await,
        endpoint_of("sidecar", "2", &eu("b"), apis(&b)).await,
        endpoint_of("sidecar", "3", &[("cluster", "us")], apis(&other)).await,
        endpoint_of("query", "4", &eu("a"), apis(&querier)).await,
    ]);
    let request = ExemplarsRequest {
        query: r#"m{cluster="eu"}+n{cluster="us"}"#.into(),
        ..ExemplarsRequest::default()
    };
    let found = fanout.exemplars(request).await.unwrap().value;
    let of_cluster = |cluster| labels(&[("__name__", "m"), ("cluster", cluster)]);
    let wanted = [("eu", &["t1", "t2", "t3"][..]), ("us", &["t9"])].map(|(cluster, traces)| {
        let exemplars = traces
            .iter()
            .map(|trace| exemplar(trace, trace[1..].parse().unwrap()));
        SeriesExemplars {
            labels: of_cluster(cluster),
            exemplars: exemplars.collect(),
        }
    });
    assert_eq!(found, wanted);
    assert_eq!(*a.1.lock(), [r#"{__name__="m"}"#]);
    assert_eq!(*other.1.lock(), [r#"{__name__="n"}"#]);
    assert_eq!(*querier.1.lock(), [r#"{__name__="m",cluster="eu"}"#]);

    let request = ExemplarsRequest {
        query: r#"m{cluster="asia"}"#.into(),
        ..ExemplarsRequest::default()
    };
    assert!(fanout.exemplars(request).await.unwrap().value.is_empty());
    assert_eq!(a.1.lock().len(), 1);
}

/// Notes the queries that it is asked, and has exemplars of the two series of two databases.
#[derive(Debug, Default)]
struct TwoDatabases(parking_lot::Mutex<Vec<String>>);

#[async_trait::async_trait]
impl crate::apis::exemplars::ExemplarsApi for TwoDatabases {
    async fn exemplars(&self, request: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        self.0.lock().push(request.query);
        let of = |cluster| SeriesExemplars {
            labels: labels(&[("__name__", "m"), ("cluster", cluster)]),
            exemplars: vec![exemplar("t1", 1)],
        };
        Ok(Answer::complete(vec![of("eu"), of("us")]))
    }
}

/// Q-34: a selector of external labels alone becomes one that a Prometheus takes, and chooses among the answers.
#[tokio::test]
async fn exemplars_of_external_labels_alone_are_asked_for() {
    let databases = Arc::new(TwoDatabases::default());
    let apis = Apis {
        exemplars: Some(Arc::clone(&databases) as _),
        ..Apis::default()
    };
    let tsdb = |cluster| TsdbInfo {
        external_labels: labels(&[("cluster", cluster)]),
        range: TimeRange::ALL,
    };
    let info = StoreInfo {
        component: "receive".into(),
        tsdbs: vec![tsdb("eu"), tsdb("us")],
        offers: everything(),
        ..StoreInfo::default()
    };
    let endpoint = Endpoint::remote_component("1", Arc::new(Component(info)), apis);
    endpoint.refresh(None).await.unwrap();
    let set = |pairs: &[(MatchOp, &str, &str)]| {
        let matcher = |(op, name, value): &(MatchOp, &str, &str)| Matcher::new(*op, name, value);
        pairs
            .iter()
            .map(|pair| matcher(pair).unwrap())
            .collect::<Vec<_>>()
    };
    let eu = (MatchOp::Equal, "cluster", "eu");
    for (selectors, query, clusters) in [
        (vec![set(&[eu])], r#"{__name__=~".+"}"#, &["eu"][..]),
        (
            vec![set(&[eu, (MatchOp::NotEqual, "a", "x")])],
            r#"{a!="x",__name__=~".+"}"#,
            &["eu"],
        ),
        (
            vec![set(&[eu, (MatchOp::Equal, "a", "x")])],
            r#"{a="x"}"#,
            &["eu"],
        ),
        (
            vec![
                set(&[(MatchOp::Regex, "cluster", "u.*")]),
                set(&[eu, (MatchOp::Equal, "a", "x")]),
            ],
            r#"{__name__=~".+"}+{a="x"}"#,
            &["eu", "us"],
        ),
        (
            vec![set(&[(MatchOp::Equal, "a", "x")])],
            r#"{a="x"}"#,
            &["eu", "us"],
        ),
    ] {
        let options = FanoutOptions {
            selectors: Arc::new(move |_| Ok(selectors.clone())),
            ..options()
        };
        let fanout = Fanout::new(EndpointSet::new([Arc::clone(&endpoint)]), options);
        let found = fanout.exemplars(ExemplarsRequest::default()).await.unwrap();
        let of = |series: &SeriesExemplars| series.labels.get("cluster").unwrap().into_owned();
        let found: Vec<_> = found.value.iter().map(of).collect();
        assert_eq!(found, clusters, "{query}");
        assert_eq!(databases.0.lock().pop().as_deref(), Some(query));
    }
}

/// Q-35, X-52: counts are added, times widened, lists merged with the largest first.
#[tokio::test]
async fn statistics_of_databases_are_added() {
    let list = |entries: &[(&str, u64)]| {
        let entry = |(name, value): &(&str, u64)| Statistic {
            name: (*name).into(),
            value: *value,
        };
        entries.iter().map(entry).collect::<Vec<_>>()
    };
    let of = |series, range, entries: &[(&str, u64)]| FixedApis {
        statistics: [(
            String::new(),
            TsdbStatistics {
                head: HeadStatistics {
                    series,
                    label_pairs: 2,
                    chunks: 3,
                    range,
                },
                series_by_metric_name: list(entries),
                values_by_label_name: list(entries),
                bytes_by_label_name: list(entries),
                series_by_label_pair: list(entries),
            },
        )]
        .into(),
        ..FixedApis::default()
    };
    let fanout = fanout([
        endpoint(
            "1",
            &[],
            of(10, TimeRange::from_millis(5, 9), &[("a", 1), ("b", 4)]),
        )
        .await,
        endpoint("2", &[], of(1, TimeRange::from_millis(0, 0), &[])).await,
        endpoint(
            "3",
            &[],
            of(20, TimeRange::from_millis(3, 7), &[("a", 3), ("c", 4)]),
        )
        .await,
    ]);
    let found = fanout
        .tsdb_statistics(StatusRequest::default())
        .await
        .unwrap()
        .value;
    let found = &found[""];
    assert_eq!(
        (found.head.series, found.head.label_pairs, found.head.chunks),
        (31, 6, 9)
    );
    assert_eq!(found.head.range, TimeRange::from_millis(3, 9));
    let added = list(&[("a", 4), ("b", 4), ("c", 4)]);
    assert_eq!(found.series_by_metric_name, added);
    assert_eq!(found.bytes_by_label_name, added);
    assert_eq!(found.series_by_label_pair, added);
    assert_eq!(
        found.values_by_label_name,
        list(&[("b", 4), ("c", 4), ("a", 3)])
    );
}

/// X-52: the order makes no difference, and nothing has no times.
#[test]
fn times_of_databases_are_widened_in_any_order() {
    let of = |min, max| TsdbStatistics {
        head: HeadStatistics {
            range: TimeRange::from_millis(min, max),
            ..HeadStatistics::default()
        },
        ..TsdbStatistics::default()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let all = [of(5, 9), of(0, 0), of(3, 7)];
        let mut whole = TsdbStatistics::default();
        for i in order {
            let one: &TsdbStatistics = &all[i];
            whole.add(one.clone());
        }
        assert_eq!(whole.head.range, TimeRange::from_millis(3, 9), "{order:?}");
    }
    let nothing = TsdbStatistics::default();
    assert_eq!(nothing.head.range, TimeRange::from_millis(0, 0));
}

/// A-09, X-49: one that fails is named, or fails the request; warnings pass through; who offers nothing is not asked.
#[tokio::test]
async fn nothing_is_missing_in_silence() {
    let failing = FixedApis {
        failure: Some("out of order".into()),
        ..FixedApis::default()
    };
    let warning = FixedApis {
        warnings: vec!["half of it".into()],
        ..FixedApis::sample("a")
    };
    let ends = [
        endpoint("well", &[], warning).await,
        endpoint("sick", &[], failing.clone()).await,
    ];
    let both = fanout(ends);
    let request = |partial_response| RulesRequest {
        partial_response,
        ..RulesRequest::default()
    };
    let answer = both.rules(request(PartialResponse::Warn)).await.unwrap();
    assert_eq!(
        (answer.value.len(), answer.warnings),
        (1, vec!["half of it".to_owned()])
    );
    let missing = answer.completeness.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].source, "sick");
    assert!(missing[0].reason.contains("out of order"));
    let error = both
        .rules(request(PartialResponse::Abort))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("out of order"), "{error}");

    // It offers nothing but its store.
    let info = StoreInfo::default();
    let silent = Endpoint::remote_component("store", Arc::new(Component(info)), failing.apis());
    silent.refresh(None).await.unwrap();
    let alone = fanout([silent]);
    assert!(alone.rules(request(PartialResponse::Abort)).await.is_ok());
    assert!(alone.targets(TargetsRequest::default()).await.is_ok());
}

/// X-49: one that does not answer is missing after a while.
#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_missing() {
    #[derive(Debug)]
    struct Silent;

    #[async_trait::async_trait]
    impl crate::apis::rules::RulesApi for Silent {
        async fn rules(&self, _: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
            std::future::pending().await
        }
    }
    let apis = Apis {
        rules: Some(Arc::new(Silent)),
        ..Apis::default()
    };
    let fanout = fanout([endpoint_of("rule", "slow", &[], apis).await]);
    let request = RulesRequest {
        partial_response: PartialResponse::Warn,
        ..RulesRequest::default()
    };
    let answer = fanout.rules(request).await.unwrap();
    assert!(
        answer.completeness.missing()[0]
            .reason
            .contains("no answer within 200ms")
    );
}
