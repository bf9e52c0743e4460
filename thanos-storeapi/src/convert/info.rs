//! What a store says about itself.

use std::collections::BTreeSet;

use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp};

use crate::apis::Offers;
use crate::pb::thanos as pb;
use crate::pb::thanos::info as info_pb;
use crate::store::{StoreInfo, TsdbInfo};

/// The label of an extra label set with which store gateways tell old queriers their type.
/// COMPAT: pkg/store/bucket.go CompatibilityTypeLabelName.
const COMPATIBILITY_LABEL: &str = "@thanos_compatibility_store_type";

impl From<StoreInfo> for info_pb::InfoResponse {
    fn from(info: StoreInfo) -> Self {
        // Without data the range holds no time, so that a querier never asks.
        let range = info.time_range().unwrap_or(TimeRange {
            min: Timestamp::MAX,
            max: Timestamp::MIN,
        });
        let label_sets: BTreeSet<&Labels> = info
            .tsdbs
            .iter()
            .map(|tsdb| &tsdb.external_labels)
            .collect();
        let mut label_sets: Vec<_> = label_sets.into_iter().map(labels_to_pb).collect();
        if info.component == "store" && !label_sets.is_empty() {
            let compatibility = Labels::from_pairs([(COMPATIBILITY_LABEL, "store")]);
            label_sets.push(labels_to_pb(&compatibility));
        }
        let tsdb_to_pb = |tsdb: &TsdbInfo| info_pb::TsdbInfo {
            labels: Some(labels_to_pb(&tsdb.external_labels)),
            min_time: tsdb.range.min.as_millis(),
            max_time: tsdb.range.max.as_millis(),
        };
        Self {
            label_sets,
            store: info.offers.store.then(|| info_pb::StoreInfo {
                min_time: range.min.as_millis(),
                max_time: range.max.as_millis(),
                supports_sharding: info.supports_sharding,
                supports_without_replica_labels: info.supports_without_replica_labels,
                tsdb_infos: info.tsdbs.iter().map(tsdb_to_pb).collect(),
                supports_projections: info.supports_projections,
            }),
            component_type: info.component,
            rules: info.offers.rules.then_some(info_pb::RulesInfo {}),
            targets: info.offers.targets.then_some(info_pb::TargetsInfo {}),
            metric_metadata: info
                .offers
                .metadata
                .then_some(info_pb::MetricMetadataInfo {}),
            exemplars: info.offers.exemplars.map(|range| info_pb::ExemplarsInfo {
                min_time: range.min.as_millis(),
                max_time: range.max.as_millis(),
            }),
            status: info.offers.status.then_some(info_pb::StatusInfo {}),
            query: info.offers.query.then_some(info_pb::QueryApiInfo {}),
        }
    }
}

/// A component without the Store API (or not ready yet) is a store without data: its label sets say nothing about series, and
/// yet what it answers beside them carries these labels.
impl From<info_pb::InfoResponse> for StoreInfo {
    fn from(info: info_pb::InfoResponse) -> Self {
        let offers = offers(&info);
        let store = info.store.unwrap_or_else(|| info_pb::StoreInfo {
            min_time: i64::MAX,
            max_time: i64::MIN,
            ..Default::default()
        });
        let range = TimeRange::from_millis(store.min_time, store.max_time);
        let mut tsdbs: Vec<TsdbInfo> = store
            .tsdb_infos
            .iter()
            .map(|tsdb| TsdbInfo {
                external_labels: tsdb.labels.as_ref().map(labels_from_pb).unwrap_or_default(),
                range: TimeRange::from_millis(tsdb.min_time, tsdb.max_time),
            })
            .collect();
        if tsdbs.is_empty() && (!range.is_empty() || !info.label_sets.is_empty()) {
            tsdbs = tsdbs_of_label_sets(&info.label_sets, range);
        }
        Self {
            component: info.component_type,
            tsdbs,
            supports_sharding: store.supports_sharding,
            supports_without_replica_labels: store.supports_without_replica_labels,
            supports_projections: store.supports_projections,
            offers,
        }
    }
}

/// Returns what the parts of the message say that the component answers (row X-48 of the specification).
fn offers(info: &info_pb::InfoResponse) -> Offers {
    let times = |exemplars: &info_pb::ExemplarsInfo| {
        TimeRange::from_millis(exemplars.min_time, exemplars.max_time)
    };
    Offers {
        store: info.store.is_some(),
        rules: info.rules.is_some(),
        targets: info.targets.is_some(),
        metadata: info.metric_metadata.is_some(),
        exemplars: info.exemplars.as_ref().map(times),
        status: info.status.is_some(),
        query: info.query.is_some(),
    }
}

/// Returns one entry for each label set of a store that does not list its databases, over its whole range.
fn tsdbs_of_label_sets(label_sets: &[pb::ZLabelSet], range: TimeRange) -> Vec<TsdbInfo> {
    let mut label_sets: Vec<Labels> = label_sets
        .iter()
        .map(labels_from_pb)
        .filter(|labels| labels.get(COMPATIBILITY_LABEL).is_none())
        .collect();
    if label_sets.is_empty() {
        label_sets.push(Labels::empty());
    }
    let entry = |external_labels| TsdbInfo {
        external_labels,
        range,
    };
    label_sets.into_iter().map(entry).collect()
}

pub(crate) fn labels_to_pb(labels: &Labels) -> pb::ZLabelSet {
    let label = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| pb::Label {
        name: name.into_owned(),
        value: value.into_owned(),
    };
    pb::ZLabelSet {
        labels: labels.iter().map(label).collect(),
    }
}

pub(crate) fn labels_from_pb(labels: &pb::ZLabelSet) -> Labels {
    let pairs = labels.labels.iter();
    Labels::from_pairs(pairs.map(|label| (&label.name, &label.value)))
}
