//! What is known about the health of an endpoint.

use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp};

use crate::store::StoreInfo;

/// The component of endpoints that never told theirs.
const UNKNOWN: &str = "unknown-store-api";
/// COMPAT: the components that Thanos knows (`pkg/component/component.go`, `FromString`); all others are unknown ones.
const COMPONENTS: [&str; 6] = ["query", "rule", "sidecar", "store", "receive", "debug"];

/// An endpoint and what its last checks brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its address.
    pub name: String,
    /// What it is: `sidecar`, `store` and so on.
    pub component: String,
    /// When it answered last.
    pub last_check: Option<Timestamp>,
    /// Why it did not answer the last time, if it did not.
    pub last_error: Option<String>,
    /// Since when it does not answer.
    pub unhealthy_since: Option<Timestamp>,
    /// The external labels of its databases, as of when it answered last; sets without labels are left out.
    pub label_sets: Vec<Labels>,
    /// The times of its data, as of when it answered last.
    pub range: TimeRange,
    /// Whether it offered series when it answered last.
    pub is_store: bool,
}

impl EndpointStatus {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            component: UNKNOWN.to_owned(),
            last_check: None,
            last_error: None,
            unhealthy_since: None,
            label_sets: Vec::new(),
            range: TimeRange::ALL,
            is_store: false,
        }
    }

    pub(super) fn healthy(&mut self, info: &StoreInfo, now: Timestamp) {
        let known = COMPONENTS.contains(&info.component.as_str());
        self.component = if known { &info.component } else { UNKNOWN }.to_owned();
        self.last_check = Some(now);
        self.last_error = None;
        self.unhealthy_since = None;
        let sets = info.tsdbs.iter().map(|tsdb| tsdb.external_labels.clone());
        self.label_sets = sets.filter(|labels| !labels.is_empty()).collect();
        self.label_sets.sort();
        self.label_sets.dedup();
        self.is_store = info.offers.store;
        // A store without data says so with a range that holds no time, in Thanos' way.
        let none = TimeRange {
            min: Timestamp::MAX,
            max: Timestamp::MIN,
        };
        self.range = match info.time_range() {
            _ if !info.offers.store => TimeRange::ALL,
            Some(range) => range,
            None => none,
        };
    }

    pub(super) fn unhealthy(&mut self, error: String, now: Timestamp) {
        self.last_error = Some(error);
        self.unhealthy_since.get_or_insert(now);
    }
}
