//! What a selector of databases lets through.

use thanos_core::labels::MatchOp;
use thanos_core::query::{SourceLog, SourcePlan};

use super::*;
use crate::queryable::{StoreQueryable, StoreQueryableOptions};
use crate::store::{Projection, QueryHints};
use crate::testkit::Answer;

/// A database with one series of that many samples, announced with `external` labels.
fn database(external: &[(&str, &str)]) -> Arc<MemStore> {
    let series = DatasetSeries {
        labels: Labels::from_pairs([("__name__", "up")]),
        samples: vec![(Timestamp::from_millis(1000), 1.0)],
    };
    let external = Labels::from_pairs(external.iter().copied());
    Arc::new(Dataset::new(external, vec![series]).to_mem_store())
}

/// A store with one database for each pair of values of the labels `a` and `b`.
fn store(databases: &[(&str, &str)]) -> Arc<dyn Store> {
    let endpoints = databases
        .iter()
        .map(|(a, b)| Endpoint::local(format!("{a}-{b}"), database(&[("a", a), ("b", b)]) as _));
    dyn_store(proxy_over(endpoints))
}

fn selecting(
    endpoints: impl IntoIterator<Item = Arc<Endpoint>>,
    keeps: impl Fn(&Labels) -> bool + Send + Sync + 'static,
) -> Proxy {
    let options = ProxyOptions {
        selector: TsdbSelector::new(keeps),
        ..ProxyOptions::default()
    };
    Proxy::new(EndpointSet::new(endpoints), options)
}

async fn names(proxy: &Proxy, request: SeriesRequest) -> Vec<String> {
    let answer = Answer::collect(proxy.series(request).await.unwrap()).await;
    let series = answer.unwrap().series;
    let name = |labels: &Labels| {
        let value = |name| labels.get(name).unwrap_or_default().into_owned();
        format!("{}-{}", value("a"), value("b"))
    };
    series.iter().map(|series| name(&series.labels)).collect()
}

fn up() -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::equal("__name__", "up")],
        ..SeriesRequest::default()
    }
}

/// series, label values and what is announced are those of the selected databases, though the store has others and
/// no single request could tell them apart.
#[tokio::test]
async fn only_selected_databases_are_read_and_announced() {
    let keeps = |labels: &Labels| labels.get("a") == labels.get("b");
    let mixed = store(&[("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]);
    let unselected = database(&[("a", "1"), ("b", "3")]);
    let proxy = selecting(
        [
            Endpoint::local("mixed", mixed),
            Endpoint::local("unselected", Arc::clone(&unselected) as _),
            Endpoint::local("unlabelled", database(&[]) as _),
        ],
        keeps,
    );
    assert_eq!(names(&proxy, up()).await, ["-", "1-1", "2-2"]);
    assert_eq!(unselected.requests().len(), 0);

    let plan = proxy.plan(TimeRange::ALL, &[]).await;
    let reasons: Vec<_> = plan.iter().map(|decision| decision.skipped).collect();
    assert_eq!(reasons, [None, Some(SkipReason::NotSelected), None]);
    let partial: Vec<_> = plan.iter().map(Decision::has_unselected).collect();
    assert_eq!(partial, [true, false, false]);

    let info = proxy.info().await.unwrap();
    let announced = info.tsdbs.iter().map(|tsdb| &tsdb.external_labels);
    let pair = |value: &str| Labels::from_pairs([("a", value), ("b", value)]);
    assert_eq!(
        announced.collect::<Vec<_>>(),
        [&Labels::empty(), &pair("1"), &pair("2")]
    );

    let values = LabelValuesRequest {
        label: "b".into(),
        matchers: vec![Matcher::equal("a", "1")],
        ..LabelValuesRequest::default()
    };
    assert_eq!(proxy.label_values(values).await.unwrap().values, ["1"]);
}

/// two queriers that share the databases by a hash see each of them once.
#[tokio::test]
async fn shares_of_queriers_make_the_whole() {
    let databases = [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("3", "1")];
    let share = |wanted: usize| {
        let keeps = move |labels: &Labels| {
            labels.key().iter().map(|b| usize::from(*b)).sum::<usize>() % 2 == wanted
        };
        selecting([Endpoint::local("mixed", store(&databases))], keeps)
    };
    let mut all = names(&share(0), up()).await;
    let other = names(&share(1), up()).await;
    assert!(!all.is_empty() && !other.is_empty(), "{all:?} {other:?}");
    all.extend(other);
    all.sort();
    assert_eq!(all, ["1-1", "1-2", "2-1", "2-2", "3-1"]);
}

/// What is selected follows what a store says about itself.
#[tokio::test]
async fn a_store_that_changes_is_judged_anew() {
    let inner = EndpointSet::new([Endpoint::local("1", database(&[("a", "1")]) as _)]);
    let outer = Proxy::new(inner.clone(), ProxyOptions::default());
    let endpoint = Endpoint::remote("outer", dyn_store(outer));
    let proxy = selecting([endpoint], |labels| labels.get("a").as_deref() == Some("1"));
    proxy.endpoints().refresh(None).await;
    assert_eq!(names(&proxy, up()).await, ["1-"]);
    inner.replace([Endpoint::local("2", database(&[("a", "2")]) as _)]);
    proxy.endpoints().refresh(None).await;
    assert_eq!(names(&proxy, up()).await, [""; 0]);
}

/// which labels a query needs is said to the stores that honour it, and to no other.
#[tokio::test]
async fn projections_go_to_stores_that_honour_them() {
    let honours = database(&[]);
    let store = |store: &Arc<MemStore>, name: &str| Endpoint::local(name, Arc::clone(store) as _);
    let mut projecting = Arc::into_inner(honours).unwrap();
    projecting = projecting.with_projections();
    let (projecting, plain) = (Arc::new(projecting), database(&[]));
    let proxy = proxy_over([store(&projecting, "projecting"), store(&plain, "plain")]);
    let projection = Some(Projection {
        include: true,
        labels: vec!["job".into()],
    });
    let request = SeriesRequest {
        query_hints: Some(QueryHints {
            projection: projection.clone(),
            ..QueryHints::default()
        }),
        ..up()
    };
    names(&proxy, request).await;
    let hint = |store: &MemStore| store.requests()[0].query_hints.clone().unwrap().projection;
    assert_eq!((hint(&projecting), hint(&plain)), (projection, None));
}

/// what a store cannot hold costs it no request, whatever is asked for.
#[tokio::test]
async fn a_store_that_does_not_match_gets_no_request() {
    use futures::TryStreamExt as _;
    use thanos_core::query::{Queryable, Select, SelectHints};

    let (eu, us) = (database(&[("region", "eu")]), database(&[("region", "us")]));
    let endpoint =
        |name: &str, store: &Arc<MemStore>| Endpoint::local(name, Arc::clone(store) as _);
    let proxy = proxy_over([endpoint("eu", &eu), endpoint("us", &us)]);
    let queryable = StoreQueryable::new(Arc::new(proxy), StoreQueryableOptions::default());
    let counts = || [&eu, &us].map(|store| (store.requests().len(), store.tenants().len()));
    for (op, value, range, expected) in [
        (MatchOp::Equal, "eu", TimeRange::ALL, [1, 0]),
        (MatchOp::NotEqual, "eu", TimeRange::ALL, [0, 1]),
        (MatchOp::Regex, "eu|us", TimeRange::ALL, [1, 1]),
        (
            MatchOp::Equal,
            "eu",
            TimeRange::from_millis(2000, 3000),
            [0, 0],
        ),
        (MatchOp::Equal, "asia", TimeRange::ALL, [0, 0]),
    ] {
        let before = counts();
        let matchers = vec![
            Matcher::equal("__name__", "up"),
            Matcher::new(op, "region", value).unwrap(),
        ];
        let select = Select {
            matchers: matchers.clone(),
            range,
            hints: SelectHints::default(),
            log: None,
        };
        let series = queryable.select(select).await.unwrap();
        let _: Vec<_> = series.try_collect().await.unwrap();
        let query = thanos_core::query::LabelQuery {
            matchers,
            range,
            limit: 0,
        };
        queryable.label_names(query.clone()).await.unwrap();
        queryable.label_values("region", query).await.unwrap();
        let after = counts();
        for place in 0..2 {
            let (series, all) = (
                after[place].0 - before[place].0,
                after[place].1 - before[place].1,
            );
            // Of series, names and values one each.
            assert_eq!(
                (series, all),
                (expected[place], 3 * expected[place]),
                "{op:?} {value} {range:?}"
            );
        }
    }
}

/// whom a request would ask, through stores of this process, and why not the others.
#[tokio::test]
async fn it_is_told_whom_a_request_would_ask() {
    let region = |name: &'static str| database(&[("region", name)]);
    let inner = proxy_over([Endpoint::local("eu-1", region("eu") as _)]);
    let options = ProxyOptions {
        selector: TsdbSelector::new(|labels| labels.get("region").as_deref() != Some("hidden")),
        ..ProxyOptions::default()
    };
    let missing = Missing {
        source: "dns+gone:1".into(),
        reason: "no such name".into(),
    };
    let endpoints = EndpointSet::default();
    endpoints.replace_with_gaps(
        [
            Endpoint::local("inner", dyn_store(inner)),
            Endpoint::local("us", region("us") as _),
            Endpoint::local("hidden", region("hidden") as _),
            Endpoint::local("early", database(&[]) as _),
        ],
        [missing],
    );
    let proxy = Proxy::new(endpoints, options);
    let request = SeriesRequest {
        matchers: vec![
            Matcher::equal("__name__", "up"),
            Matcher::equal("region", "eu"),
        ],
        ..up()
    };
    let told = |plans: Vec<SourcePlan>| -> Vec<String> {
        let one = |plan: SourcePlan| {
            let parts: Vec<String> = plan.parts.iter().map(|part| part.source.clone()).collect();
            let reason = plan.skipped.unwrap_or_else(|| parts.join(","));
            format!("{}: {reason}", plan.source)
        };
        plans.into_iter().map(one).collect()
    };
    assert_eq!(
        told(proxy.sources(&request).await.unwrap()),
        [
            "dns+gone:1: no such name",
            "inner: eu-1",
            "us: external labels does not match request label matchers: {region=\"us\"}",
            "hidden: has no TSDB whose external labels are selected: {region=\"hidden\"}",
            "early: ",
        ]
    );
    let request = SeriesRequest {
        range: TimeRange::from_millis(5000, 6000),
        ..request
    };
    let plans = told(proxy.sources(&request).await.unwrap());
    assert_eq!(
        plans[4],
        "early: does not have data within this time period: [5000,6000]. Store time ranges: [1000,1000]"
    );
}

/// what each store has given is logged, under its name, once its answer has ended.
#[tokio::test]
async fn what_each_store_gives_is_logged() {
    let proxy = proxy_over([
        Endpoint::local("b", database(&[("a", "2")]) as _),
        Endpoint::local("a", database(&[("a", "1")]) as _),
        Endpoint::local("c", database(&[("a", "3")]) as _),
    ]);
    let log = Arc::new(SourceLog::default());
    let request = SeriesRequest {
        matchers: vec![
            Matcher::equal("__name__", "up"),
            Matcher::new(MatchOp::NotEqual, "a", "3").unwrap(),
        ],
        log: Some(Arc::clone(&log)),
        ..SeriesRequest::default()
    };
    names(&proxy, request).await;
    let found: Vec<_> = log
        .read()
        .into_iter()
        .map(|one| {
            (
                one.source,
                one.responses,
                one.series,
                one.chunks,
                one.samples,
            )
        })
        .collect();
    assert_eq!(
        found,
        [("a".into(), 1, 1, 1, 1), ("b".to_owned(), 1, 1, 1, 1)]
    );
}
