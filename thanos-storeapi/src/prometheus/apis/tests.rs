use thanos_core::ErrorKind;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::TimeRange;

use super::*;
use crate::apis::rules::{AlertState, Rule};
use crate::apis::targets::TargetHealth;
use crate::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
use crate::prometheus::PrometheusClient;
use crate::store::PartialResponse;
use crate::testkit::http::{HttpFake, Reply};

const RULES: &str = r#"{"groups":[{"name":"g","file":"/r.yml","interval":30,"limit":0,
    "evaluationTime":0.5,"lastEvaluation":"2024-01-01T00:00:00.5Z","rules":[
    {"state":"firing","name":"Down","query":"up == 0","duration":60,"keepFiringFor":5,
     "labels":{"severity":"page","replica":"inner"},"annotations":{"summary":"s"},
     "alerts":[{"labels":{"alertname":"Down"},"annotations":{},"state":"firing",
                "activeAt":"2024-01-01T00:00:00Z","value":"0e+00"}],
     "health":"ok","evaluationTime":0.25,"lastEvaluation":"2024-01-01T00:00:00Z","type":"alerting"},
    {"name":"r:s","query":"sum(up)","labels":null,"health":"unknown","evaluationTime":0,
     "lastEvaluation":"0001-01-01T00:00:00Z","type":"recording"}]},
    {"name":"empty","file":"/r.yml","interval":30,"rules":[]}]}"#;

const TARGETS: &str = r#"{"activeTargets":[{"discoveredLabels":{"__address__":"a:1"},
    "labels":{"instance":"a:1"},"scrapePool":"p","scrapeUrl":"http://a:1/metrics",
    "globalUrl":"http://b:1/metrics","lastError":"refused","lastScrape":"2024-01-01T00:00:00Z",
    "lastScrapeDuration":0.5,"health":"down"}],"droppedTargets":[{"discoveredLabels":{"x":"y"}}]}"#;

const EXEMPLARS: &str = r#"[{"seriesLabels":{"__name__":"m"},"exemplars":[
    {"labels":{"trace_id":"t"},"value":"6.5","timestamp":1600096945.479}]}]"#;

const STATUS: &str = r#"{"headStats":{"numSeries":508,"numLabelPairs":7,"chunkCount":937,
    "minTime":1591516800000,"maxTime":1598896800143},
    "seriesCountByMetricName":[{"name":"a","value":2},{"name":"b","value":1}],
    "labelValueCountByLabelName":[],"memoryInBytesByLabelName":null,
    "seriesCountByLabelValuePair":[{"name":"job=x","value":4}]}"#;

const METADATA: &str = r#"{"up":[{"type":"gauge","help":"h","unit":""},
    {"type":"counter","help":"","unit":"s"}]}"#;

/// What stands for an answer without a body.
const NO_CONTENT: &str = "";
/// What stands for an answer that lost its body on the way.
const BODY_LOST: &str = "lost";

async fn apis(replies: &'static [(&'static str, &'static str)]) -> (HttpFake, PrometheusApis) {
    let http = HttpFake::start(move |asked| match asked.path.as_str() {
        "/p/metrics" => Reply::json(""),
        "/p/api/v1/status/config" => {
            let yaml = r#""global:\n  external_labels:\n    cluster: eu\n    replica: \"1\"\n""#;
            Reply::data(&format!(r#"{{"yaml":{yaml}}}"#))
        }
        path => {
            let found = replies.iter().find(|(wanted, _)| path.ends_with(wanted));
            match found {
                None => Reply::status(404, "not found"),
                Some((_, NO_CONTENT)) => Reply::status(204, ""),
                Some((_, BODY_LOST)) => Reply::json(""),
                Some((_, data)) => Reply::data(data),
            }
        }
    })
    .await;
    let config = HttpClientConfig::default();
    let client = HttpClient::new(&config, "test", HttpClientMetrics::default()).unwrap();
    let client = PrometheusClient::new(client, &format!("{}/p/", http.url())).unwrap();
    let server = PrometheusServer::new(client);
    (http, PrometheusApis::new(server))
}

async fn ready(replies: &'static [(&'static str, &'static str)]) -> (HttpFake, PrometheusApis) {
    let (http, apis) = apis(replies).await;
    apis.server.refresh().await.unwrap();
    http.asked();
    (http, apis)
}

fn text(labels: &Labels) -> String {
    labels.to_string()
}

/// SC-25: rules have the external labels.
#[tokio::test]
async fn rules_have_external_labels() {
    let (http, apis) = ready(&[("/rules", RULES)]).await;
    let groups = apis.rules(RulesRequest::default()).await.unwrap().value;
    assert_eq!(groups.len(), 2);
    let [Rule::Alerting(alerting), Rule::Recording(recording)] = &groups[0].rules[..] else {
        panic!("{groups:?}");
    };
    assert_eq!(
        text(&alerting.labels),
        r#"{cluster="eu", replica="1", severity="page"}"#
    );
    assert_eq!(alerting.state, AlertState::Firing);
    assert_eq!(
        (alerting.duration_secs, alerting.keep_firing_for_secs),
        (60.0, 5.0)
    );
    assert_eq!(alerting.alerts[0].value, "0e+00");
    let strategies = (
        groups[0].partial_response,
        alerting.alerts[0].partial_response,
    );
    assert_eq!(strategies, (PartialResponse::Abort, PartialResponse::Warn));
    assert_eq!(
        alerting.alerts[0].active_at.unwrap().to_string(),
        "2024-01-01T00:00:00Z"
    );
    assert_eq!(text(&recording.labels), r#"{cluster="eu", replica="1"}"#);
    assert_eq!(
        groups[0].last_evaluation.to_string(),
        "2024-01-01T00:00:00.5Z"
    );
    assert!(http.asked()[0].query.is_empty());
}

/// SC-25: only what was asked for, also from servers that do not know the condition.
#[tokio::test]
async fn rules_are_chosen() {
    let (http, apis) = ready(&[("/rules", RULES)]).await;
    let severity = Matcher::equal("severity", "page");
    for (request, names, parameter) in [
        (
            RulesRequest {
                kind: RuleKinds::Alerting,
                ..Default::default()
            },
            &["Down"][..],
            Some("alert"),
        ),
        (
            RulesRequest {
                kind: RuleKinds::Recording,
                ..Default::default()
            },
            &["r:s"],
            Some("record"),
        ),
        (
            RulesRequest {
                rule_names: vec!["r:s".into()],
                ..Default::default()
            },
            &["r:s"],
            None,
        ),
        (
            RulesRequest {
                rule_groups: vec!["h".into()],
                ..Default::default()
            },
            &[],
            None,
        ),
        (
            RulesRequest {
                files: vec!["/other".into()],
                ..Default::default()
            },
            &[],
            None,
        ),
        (
            RulesRequest {
                matchers: vec![vec![severity]],
                ..Default::default()
            },
            &["Down"],
            None,
        ),
    ] {
        let groups = apis.rules(request).await.unwrap().value;
        let found: Vec<_> = groups.iter().flat_map(|group| &group.rules).collect();
        let found: Vec<_> = found
            .into_iter()
            .map(|rule| match rule {
                Rule::Alerting(rule) => rule.name.as_str(),
                Rule::Recording(rule) => rule.name.as_str(),
            })
            .collect();
        assert_eq!(found, names);
        assert_eq!(http.asked()[0].parameter("type"), parameter);
    }
}

/// SC-26: targets have the external labels.
#[tokio::test]
async fn targets_have_external_labels() {
    let (http, apis) = ready(&[("/targets", TARGETS)]).await;
    let request = TargetsRequest {
        state: TargetStates::Dropped,
        ..TargetsRequest::default()
    };
    let targets = apis.targets(request).await.unwrap().value;
    let active = &targets.active[0];
    assert_eq!(
        text(&active.labels),
        r#"{cluster="eu", instance="a:1", replica="1"}"#
    );
    assert_eq!(active.discovered_labels.get("cluster").unwrap(), "eu");
    assert_eq!(
        (active.health, active.last_scrape_secs),
        (TargetHealth::Down, 0.5)
    );
    assert_eq!(
        targets.dropped[0].discovered_labels.get("replica").unwrap(),
        "1"
    );
    assert_eq!(http.asked()[0].parameter("state"), Some("dropped"));
}

/// SC-27: metadata is what Prometheus says.
#[tokio::test]
async fn metadata_is_passed_on() {
    let (http, apis) = ready(&[("/metadata", METADATA)]).await;
    let request = MetadataRequest {
        metric: Some("up".into()),
        metrics_max: Some(3),
        ..MetadataRequest::default()
    };
    let metadata = apis.metadata(request).await.unwrap().value;
    assert_eq!(metadata["up"].len(), 2);
    assert_eq!(metadata["up"][1].unit, "s");
    let asked = &http.asked()[0];
    assert_eq!(
        (asked.parameter("metric"), asked.parameter("limit")),
        (Some("up"), Some("3"))
    );
}

/// SC-28: series of exemplars have the external labels.
#[tokio::test]
async fn exemplars_have_external_labels() {
    let (http, apis) = ready(&[("/query_exemplars", EXEMPLARS)]).await;
    let request = ExemplarsRequest {
        query: "m{a=\"b c\"}".into(),
        range: TimeRange::from_millis(1500, 2000),
        ..ExemplarsRequest::default()
    };
    let found = apis.exemplars(request).await.unwrap().value;
    assert_eq!(
        text(&found[0].labels),
        r#"{__name__="m", cluster="eu", replica="1"}"#
    );
    let exemplar = &found[0].exemplars[0];
    assert_eq!(
        (exemplar.value, exemplar.time.as_millis()),
        (6.5, 1_600_096_945_479)
    );
    let asked = &http.asked()[0];
    assert_eq!(asked.parameter("query"), Some("m{a=\"b c\"}"));
    assert_eq!(
        (asked.parameter("start"), asked.parameter("end")),
        (Some("1.500"), Some("2.000"))
    );
}

/// SC-28: Prometheus answers a query that selects nothing with 204 and no body (X-06).
#[tokio::test]
async fn no_body_is_no_exemplars() {
    let (_http, apis) = ready(&[("/query_exemplars", NO_CONTENT)]).await;
    let request = ExemplarsRequest {
        query: "1".into(),
        ..ExemplarsRequest::default()
    };
    let none = apis.exemplars(request.clone()).await.unwrap();
    assert!(none.value.is_empty());
    // What has to be there is missed.
    let (_http, apis) = ready(&[("/query_exemplars", BODY_LOST)]).await;
    let error = apis.exemplars(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let (_http, apis) = ready(&[("/rules", NO_CONTENT), ("/metadata", "null")]).await;
    let error = apis.rules(RulesRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let error = apis.metadata(MetadataRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// SC-29: statistics belong to the tenant without a name, and to nobody whose labels do not match.
#[tokio::test]
async fn statistics_are_those_of_the_empty_tenant() {
    let (_http, apis) = apis(&[("/status/tsdb", STATUS)]).await;
    let request = StatusRequest {
        entries_max: 1,
        ..StatusRequest::default()
    };
    let error = apis.tsdb_statistics(request.clone()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "not ready")
    );

    let (http, apis) = ready(&[("/status/tsdb", STATUS)]).await;
    let found = apis.tsdb_statistics(request.clone()).await.unwrap().value;
    assert_eq!(found.keys().collect::<Vec<_>>(), [""]);
    let statistics = &found[""];
    assert_eq!((statistics.head.series, statistics.head.chunks), (508, 937));
    assert_eq!(
        statistics.series_by_metric_name.len(),
        1,
        "an old server knows no limit"
    );
    assert_eq!(statistics.series_by_label_pair[0].name, "job=x");
    assert_eq!(http.asked()[0].parameter("limit"), Some("1"));

    for matchers in [
        vec![Matcher::equal("cluster", "us")],
        vec![
            Matcher::equal("cluster", "eu"),
            Matcher::equal("other", "x"),
        ],
    ] {
        let request = StatusRequest {
            matchers,
            ..request.clone()
        };
        assert!(
            apis.tsdb_statistics(request)
                .await
                .unwrap()
                .value
                .is_empty()
        );
    }
    assert!(http.asked().is_empty());
}

#[tokio::test]
async fn nonsense_is_refused_with_the_address() {
    const BAD: &[(&str, &str)] = &[(
        "/rules",
        r#"{"groups":[{"name":"g","rules":[{"type":"odd"}]}]}"#,
    )];
    let (_http, apis) = ready(BAD).await;
    let error = apis.rules(RulesRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("/p/api/v1/rules"), "{error}");
    assert!(error.to_string().contains("odd"), "{error}");
    let error = apis.metadata(MetadataRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
