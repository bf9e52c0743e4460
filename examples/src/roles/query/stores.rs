//! `GET /api/v1/stores`: the endpoints and their health.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};
use thanos_core::time::UtcTime;
use thanos_storeapi::endpoints::{Discovery, EndpointStatus};
use thanos_storeapi::proxy::TsdbSelector;

/// When an endpoint that never answered was checked last: Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns the route under `/api/v1`; of each endpoint the databases are listed that `selector` keeps.
pub(super) fn routes(discovery: Arc<Discovery>, selector: TsdbSelector) -> Router {
    let list = move || async move {
        let statuses = selected(discovery.statuses(), &selector);
        let text = answer(statuses).to_string();
        ([(CONTENT_TYPE, "application/json")], text)
    };
    Router::new().route("/stores", get(list))
}

/// One endpoint as Thanos lists it.
#[derive(Debug, Serialize)]
struct Store {
    name: String,
    #[serde(rename = "lastCheck")]
    last_check: String,
    #[serde(rename = "lastError")]
    last_error: Option<String>,
    #[serde(rename = "labelSets")]
    label_sets: Vec<BTreeMap<String, String>>,
    #[serde(rename = "minTime")]
    min_time: i64,
    #[serde(rename = "maxTime")]
    max_time: i64,
}

/// Leaves out what is not selected, and endpoints that have nothing else.
fn selected(statuses: Vec<EndpointStatus>, selector: &TsdbSelector) -> Vec<EndpointStatus> {
    let judged = statuses.into_iter().filter_map(|mut status| {
        let is_labelled = !status.label_sets.is_empty();
        status.label_sets.retain(|labels| selector.keeps(labels));
        (!is_labelled || !status.label_sets.is_empty()).then_some(status)
    });
    judged.collect()
}

fn answer(statuses: Vec<EndpointStatus>) -> Value {
    let mut by_component: BTreeMap<String, Vec<Store>> = BTreeMap::new();
    for status in statuses {
        let component = by_component.entry(status.component.clone()).or_default();
        component.push(store(status));
    }
    json!({"status": "success", "data": by_component})
}

fn store(status: EndpointStatus) -> Store {
    let set = |labels: &thanos_core::labels::Labels| {
        let labels = labels.iter();
        labels
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    };
    Store {
        last_check: status.last_check.map_or_else(
            || NEVER.to_owned(),
            |time| UtcTime::from_timestamp(time).to_string(),
        ),
        last_error: status.last_error,
        label_sets: status.label_sets.iter().map(set).collect(),
        min_time: status.range.min.as_millis(),
        max_time: status.range.max.as_millis(),
        name: status.name,
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::labels::Labels;
    use thanos_core::time::{TimeRange, Timestamp};

    use super::*;

    /// label sets that are not selected are not listed, nor are endpoints without others.
    #[test]
    fn what_is_not_selected_is_not_listed() {
        let status = |name: &str, replicas: &[&str]| EndpointStatus {
            name: name.to_owned(),
            component: "store".to_owned(),
            last_check: None,
            last_error: None,
            unhealthy_since: None,
            label_sets: replicas
                .iter()
                .map(|replica| Labels::from_pairs([("replica", *replica)]))
                .collect(),
            range: TimeRange::ALL,
            is_store: true,
        };
        let selector = TsdbSelector::new(|labels| labels.get("replica").as_deref() == Some("a"));
        let statuses = vec![
            status("mixed", &["a", "b"]),
            status("other", &["b"]),
            status("unlabelled", &[]),
        ];
        let found = selected(statuses, &selector);
        let found: Vec<_> = found
            .iter()
            .map(|status| (status.name.as_str(), status.label_sets.len()))
            .collect();
        assert_eq!(found, [("mixed", 1), ("unlabelled", 0)]);
    }

    /// names and shapes of Thanos' answer.
    #[test]
    fn stores_are_listed_by_component() {
        let status = |name: &str, last_error: Option<&str>| EndpointStatus {
            name: name.to_owned(),
            component: "sidecar".to_owned(),
            last_check: last_error.is_none().then(|| Timestamp::from_millis(1500)),
            last_error: last_error.map(str::to_owned),
            unhealthy_since: None,
            label_sets: vec![Labels::from_pairs([("replica", "0")])],
            range: TimeRange::from_millis(5, 7),
            is_store: true,
        };
        let found = answer(vec![status("a:1", None), status("b:1", Some("gone"))]);
        let store = |name: &str, check: &str, error: Value| {
            json!({"name": name, "lastCheck": check, "lastError": error, "labelSets": [{"replica": "0"}],
                "minTime": 5, "maxTime": 7})
        };
        let stores = [
            store("a:1", "1970-01-01T00:00:01.5Z", Value::Null),
            store("b:1", NEVER, json!("gone")),
        ];
        assert_eq!(
            found,
            json!({"status": "success", "data": {"sidecar": stores}})
        );
    }
}
