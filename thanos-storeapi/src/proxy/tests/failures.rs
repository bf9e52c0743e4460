//! Ways of failing x what the request wants: never incomplete data labelled complete.

use std::time::Duration;

use thanos_core::error::ErrorKind;
use thanos_core::labels::MatchOp;

use super::*;
use crate::testkit::{Answer, Fault};

const TIMEOUT: Duration = Duration::from_secs(2);

/// One bad store among two good ones, each with a third of the series.
struct Bench {
    proxy: Proxy,
    stores: Vec<Arc<MemStore>>,
    full: Vec<Labels>,
    good: Vec<Labels>,
}

fn bench(bad_place: usize, faults: &[Fault]) -> Bench {
    let data = pods(30);
    let mut stores = Vec::new();
    let mut good = Vec::new();
    for place in 0..3 {
        let store = part(&data, "r1", |series| series % 3 == place);
        if place == bad_place {
            store.set_faults(faults.iter().cloned());
        } else {
            good.extend((0..30).filter(|series| series % 3 == place));
        }
        stores.push(Arc::new(store));
    }
    good.sort_unstable();
    let finals = |place: &usize| {
        let mut builder = LabelsBuilder::from_labels(data.series[*place].labels.as_ref());
        builder.set("region", "eu").build()
    };
    let endpoints = stores.iter().enumerate().map(|(place, store)| {
        let name = if place == bad_place {
            "bad".to_owned()
        } else {
            format!("good-{place}")
        };
        let store: Arc<dyn Store> = store.clone();
        Endpoint::local(name, store)
    });
    let options = ProxyOptions {
        response_timeout: Some(TIMEOUT),
        read_ahead_batches: 2,
        ..Default::default()
    };
    Bench {
        proxy: Proxy::new(EndpointSet::new(endpoints), options),
        full: (0..30).map(|place| finals(&place)).collect(),
        good: good.iter().map(finals).collect(),
        stores,
    }
}

async fn ask(proxy: &Proxy, policy: PartialResponse) -> Result<Answer> {
    let request = SeriesRequest {
        partial_response: policy,
        ..all_pods()
    };
    Answer::collect(proxy.series(request).await?).await
}

/// The faults after which data is lost, with a piece of the text that users see.
fn losing() -> Vec<(Vec<Fault>, &'static str)> {
    let mut faults = vec![
        (vec![Fault::FailStart], "fetch series for Addr: bad"),
        (
            vec![Fault::HangStart],
            "failed to receive any data in 2s from Addr: bad",
        ),
        (vec![Fault::Unsorted], "is not in order"),
        (vec![Fault::FailStart, Fault::FailInfo], "injected failure"),
        (
            vec![Fault::HangStart, Fault::HangInfo],
            "failed to receive any data in 2s from Addr: bad",
        ),
        (
            vec![Fault::FailAfter(2), Fault::Kind(ErrorKind::LimitExceeded)],
            "injected failure",
        ),
        (
            vec![Fault::FailAfter(3), Fault::Kind(ErrorKind::Corrupt)],
            "injected failure",
        ),
    ];
    // Five batches of two series, then the end.
    for events in 0..=5 {
        faults.push((
            vec![Fault::FailAfter(events)],
            "receive series from Addr: bad",
        ));
        faults.push((
            vec![Fault::HangAfter(events)],
            "failed to receive any data in 2s from Addr: bad",
        ));
        faults.push((vec![Fault::PanicAfter(events)], "panicked"));
    }
    faults
}

/// with WARN the others' data comes, all of it, and the failed store is named.
#[tokio::test(start_paused = true)]
async fn with_warn_every_loss_is_named_and_the_rest_is_whole() {
    for bad_place in 0..3 {
        for (faults, text) in losing() {
            let bench = bench(bad_place, &faults);
            let case = format!("{faults:?} in store {bad_place}");
            let answer = ask(&bench.proxy, PartialResponse::Warn).await.unwrap();
            let panicked = faults
                .iter()
                .any(|fault| matches!(fault, Fault::PanicAfter(_)));
            let sorted_out = faults.contains(&Fault::Unsorted);
            let failed = u64::from(!panicked && !sorted_out);
            assert_eq!(bench.proxy.counters().streams_failed(), failed, "{case}");
            assert_eq!(answer.missing.len(), 1, "{case}: {:?}", answer.missing);
            assert_eq!(answer.missing[0].source, "bad", "{case}");
            assert!(
                answer.missing[0].reason.contains(text),
                "{case}: {:?}",
                answer.missing
            );
            let found = answer.labels();
            assert!(found.is_sorted(), "{case}");
            assert!(
                bench.good.iter().all(|labels| found.contains(labels)),
                "{case}: {found:?}"
            );
            assert!(
                found.iter().all(|labels| bench.full.contains(labels)),
                "{case}: {found:?}"
            );
        }
    }
}

/// with ABORT no loss passes as an answer.
#[tokio::test(start_paused = true)]
async fn with_abort_every_loss_fails_the_request() {
    for bad_place in 0..3 {
        for (faults, text) in losing() {
            let bench = bench(bad_place, &faults);
            let error = ask(&bench.proxy, PartialResponse::Abort).await.unwrap_err();
            assert!(error.to_string().contains(text), "{faults:?}: {error}");
            let kind = faults.iter().find_map(|fault| match fault {
                Fault::Kind(kind) => Some(*kind),
                _ => None,
            });
            if let Some(kind) = kind {
                assert_eq!(error.kind(), kind, "{faults:?}");
            }
        }
    }
}

/// A store whose info cannot be had may hold anything: it is asked, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn faults_that_lose_nothing_leave_the_answer_complete() {
    for faults in [
        vec![],
        vec![Fault::FailInfo],
        vec![Fault::HangInfo],
        vec![Fault::Slow(Duration::from_millis(1900))],
        vec![Fault::FailAfter(6)],
        vec![Fault::HangAfter(6)],
    ] {
        for policy in [PartialResponse::Warn, PartialResponse::Abort] {
            let bench = bench(1, &faults);
            let answer = ask(&bench.proxy, policy).await.unwrap();
            assert_eq!(answer.missing, [], "{faults:?}");
            assert_eq!(answer.labels(), bench.full, "{faults:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn label_calls_name_what_they_miss_or_fail() {
    for faults in [
        vec![Fault::FailStart],
        vec![Fault::HangStart],
        vec![Fault::FailStart, Fault::FailInfo],
    ] {
        let bench = bench(2, &faults);
        let names = |partial_response| LabelNamesRequest {
            partial_response,
            ..Default::default()
        };
        let values = |partial_response| LabelValuesRequest {
            partial_response,
            label: "pod".into(),
            ..Default::default()
        };
        let proxy = &bench.proxy;
        let error = proxy
            .label_names(names(PartialResponse::Abort))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("fetch label names from store Addr: bad"),
            "{error}"
        );
        let error = proxy
            .label_values(values(PartialResponse::Abort))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("fetch label values from store Addr: bad"),
            "{error}"
        );
        let answer = proxy
            .label_names(names(PartialResponse::Warn))
            .await
            .unwrap();
        assert_eq!(answer.values, ["__name__", "pod", "region", "replica"]);
        assert_eq!(answer.completeness.missing()[0].source, "bad");
        let answer = proxy
            .label_values(values(PartialResponse::Warn))
            .await
            .unwrap();
        assert_eq!(answer.values.len(), 20);
        assert_eq!(answer.completeness.missing().len(), 1);
    }
}

/// What a store below says about missing data and warnings is passed on, once.
#[tokio::test]
async fn notices_of_stores_pass_once() {
    let missing = Missing {
        source: "deep".into(),
        reason: "gone".into(),
    };
    let data = pods(4);
    let store = |replica: &str| {
        let store = part(&data, replica, |_| true)
            .with_warning("careful")
            .with_missing(missing.clone());
        Endpoint::local(replica, dyn_store(store))
    };
    let proxy = proxy_over([store("r1"), store("r2")]);
    let answer = ask(&proxy, PartialResponse::Warn).await.unwrap();
    assert_eq!(answer.warnings, ["careful"]);
    assert_eq!(answer.missing, std::slice::from_ref(&missing));
    assert_eq!(answer.series.len(), 4);
    let error = ask(&proxy, PartialResponse::Abort).await.unwrap_err();
    assert_eq!(error.to_string(), "deep: gone");
    let request = LabelNamesRequest {
        partial_response: PartialResponse::Warn,
        ..Default::default()
    };
    let names = proxy.label_names(request).await.unwrap();
    assert_eq!(names.warnings, ["careful"]);
    assert_eq!(names.completeness.missing(), [missing]);
    assert!(
        proxy
            .label_names(LabelNamesRequest::default())
            .await
            .is_err()
    );
}

/// no store at all is not an empty world.
#[tokio::test]
async fn without_any_store_the_answer_is_not_complete() {
    let proxy = proxy_over([]);
    let error = ask(&proxy, PartialResponse::Abort).await.unwrap_err();
    assert_eq!(error.to_string(), "No StoreAPIs available");
    let answer = ask(&proxy, PartialResponse::Warn).await.unwrap();
    assert_eq!(answer.missing[0].reason, "No StoreAPIs available");
    assert!(
        proxy
            .label_names(LabelNamesRequest::default())
            .await
            .is_err()
    );
    let values = LabelValuesRequest {
        label: "pod".into(),
        partial_response: PartialResponse::Warn,
        ..Default::default()
    };
    assert!(
        !proxy
            .label_values(values)
            .await
            .unwrap()
            .completeness
            .is_complete()
    );
}

/// No store that matches is an empty answer, and a complete one.
#[tokio::test]
async fn without_a_matching_store_the_answer_is_empty() {
    let bench = bench(0, &[Fault::FailStart]);
    let other_region = Matcher::new(MatchOp::Regex, "region", "us|ap").unwrap();
    for policy in [PartialResponse::Warn, PartialResponse::Abort] {
        let mut request = SeriesRequest {
            partial_response: policy,
            ..all_pods()
        };
        request.matchers.push(other_region.clone());
        let answer = Answer::collect(bench.proxy.series(request).await.unwrap())
            .await
            .unwrap();
        assert_eq!(answer, Answer::default());
    }
    assert!(bench.stores.iter().all(|store| store.requests().is_empty()));
}

/// A budget that is too small is a failure like any other, and names itself.
#[tokio::test]
async fn series_that_do_not_fit_the_budget_are_not_dropped_silently() {
    let data = pods(300);
    for old in [false, true] {
        let store = part(&data, "r1", |_| true).with_batch_series(50);
        let store = if old {
            store.without_replica_label_removal()
        } else {
            store
        };
        let options = ProxyOptions {
            budget: MemoryBudget::new("query memory", 2000),
            ..Default::default()
        };
        let endpoints = EndpointSet::new([Endpoint::local("big", dyn_store(store))]);
        let proxy = Proxy::new(endpoints, options.clone());
        let error = ask(&proxy, PartialResponse::Abort).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(error.to_string().contains("query memory"), "{error}");
        let answer = ask(&proxy, PartialResponse::Warn).await.unwrap();
        assert_eq!(answer.missing[0].source, "big");
        drop(proxy);
        assert_eq!(options.budget.used_bytes(), 0);
    }
}
