//! Statistics, explaining and analyzing.

use serde_json::Value as Json;

use super::golden::{get, target};

async fn answer(path: &str, params: &[(&str, &str)]) -> Json {
    let params: Vec<(&str, String)> = params
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let (_, body) = get(&target(&format!("/api/v1/{path}"), &params)).await;
    serde_json::from_str(&body).unwrap()
}

const TIME: (&str, &str) = ("time", "1793496600");

///
#[tokio::test]
async fn statistics_come_when_they_are_asked_for() {
    let query = ("query", "sum(rate(http_requests_total[5m]))");
    let plain = answer("query", &[query, TIME]).await;
    assert_eq!(plain["data"].get("stats"), None);
    for (value, warning) in [
        ("true", None),
        ("all", None),
        (
            "yes",
            Some(
                "value \"yes\" for parameter \"stats\" is deprecated and will be rejected in the next \
                 major release, use \"true\" or \"all\"",
            ),
        ),
    ] {
        let json = answer("query", &[query, TIME, ("stats", value)]).await;
        let samples = &json["data"]["stats"]["samples"];
        assert!(samples["totalQueryableSamples"].as_u64() > Some(100));
        assert_eq!(samples["samplesRead"], samples["totalQueryableSamples"]);
        assert!(samples.get("samplesReadPerStep").is_none());
        let timings = &json["data"]["stats"]["timings"];
        assert!(timings["execTotalTime"].as_f64() > Some(0.0), "{timings}");
        let found = json["warnings"].get(0).and_then(Json::as_str);
        assert_eq!(found, warning);
    }
}

///
#[tokio::test]
async fn a_query_is_explained_without_running() {
    let query = ("query", "sum by (job) (rate(x[5m])) / on(job) y");
    let times = [("start", "0"), ("end", "60"), ("step", "15")];
    let range = [&[query][..], &times].concat();
    for (path, params) in [
        ("query_explain", vec![query, ("engine", "thanos")]),
        ("query_range_explain", range),
    ] {
        let json = answer(path, &params).await;
        let root = &json["data"];
        assert_eq!(root["name"], "[binary] / on (job) one-to-one", "{json}");
        assert_eq!(root["position"]["end"], query.1.len());
        let names = |json: &Json| -> Vec<String> {
            let children = json["children"].as_array().unwrap();
            let names = children.iter().map(|child| child["name"].as_str().unwrap());
            names.map(ToOwned::to_owned).collect()
        };
        let expected = [
            "[aggregate] sum by (job)",
            "[vectorSelector] {__name__=\"y\"}",
        ];
        assert_eq!(names(root), expected);
        let sum = &root["children"][0];
        assert_eq!(names(sum), ["[function] rate[5m]"]);
        assert_eq!(
            names(&sum["children"][0]),
            ["[seriesSource] {__name__=\"x\"}"]
        );
    }
    let json = answer("query_explain", &[query, ("engine", "prometheus")]).await;
    assert_eq!(json["error"], "engine type must be 'thanos'");
}

///
#[tokio::test]
async fn a_query_is_analyzed_while_it_runs() {
    let query = ("query", "sum(rate(http_requests_total[5m]))");
    let json = answer("query", &[query, TIME, ("analyze", "1")]).await;
    let root = &json["data"]["analysis"];
    assert_eq!(root["name"], "[aggregate] sum");
    assert_eq!(root["series"], 1);
    assert_eq!(root["totalSamples"], 1);
    let rate = &root["children"][0];
    assert_eq!(rate["name"], "[function] rate[5m]");
    assert!(rate["series"].as_u64() > Some(1), "{json}");
    let source = &rate["children"][0];
    assert_eq!(source["series"], rate["series"]);
    assert!(source["totalSamples"].as_u64() > rate["totalSamples"].as_u64());
    for node in [root, rate, source] {
        assert!(node["executionTime"].as_str().unwrap().ends_with('s'));
        assert!(node["bytes"].as_u64() > Some(0), "{json}");
    }
    let params = [query, TIME, ("analyze", "true"), ("engine", "prometheus")];
    let json = answer("query", &params).await;
    assert_eq!(json["data"].get("analysis"), None);
    let warning = "Query not analyzable; change engine to 'thanos'.";
    assert_eq!(json["warnings"][0], warning);
}
