use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use thanos_core::chunk::Aggregate;
use thanos_core::error::{Error, ErrorKind};
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::query::{Completeness, Missing};
use thanos_core::time::TimeRange;
use tonic::{Code, Status};

use super::response::{label_names_from_pb, label_values_from_pb};
use super::status::{from_status, to_status};
use crate::pb::thanos as pb;
use crate::pb::thanos::info as info_pb;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, Projection, QueryHints,
    SeriesRequest, ShardInfo, StoreInfo, TsdbInfo,
};
use crate::tenant::TenantId;

fn recorded(name: &str) -> Bytes {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/storeapi");
    std::fs::read(format!("{dir}/{name}.bin")).unwrap().into()
}

fn recorded_requests() -> Vec<String> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/storeapi");
    let names = std::fs::read_dir(dir).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".req.bin").map(str::to_owned)
    });
    let mut names: Vec<String> = names.flatten().collect();
    names.sort();
    names
}

#[test]
fn recorded_requests_are_read_and_written_byte_for_byte() {
    let names = recorded_requests();
    assert_eq!(names.len(), 21);
    for name in names {
        let bytes = recorded(&format!("{name}.req"));
        let written = if name.ends_with("info") {
            info_pb::InfoRequest::decode(bytes.clone())
                .unwrap()
                .encode_to_vec()
        } else if name.contains("label-names") {
            let request = pb::LabelNamesRequest::decode(bytes.clone()).unwrap();
            let request = LabelNamesRequest::try_from(request).unwrap();
            pb::LabelNamesRequest::from(request).encode_to_vec()
        } else if name.contains("label-values") {
            let request = pb::LabelValuesRequest::decode(bytes.clone()).unwrap();
            let request = LabelValuesRequest::try_from(request).unwrap();
            pb::LabelValuesRequest::from(request).encode_to_vec()
        } else {
            let request = pb::SeriesRequest::decode(bytes.clone()).unwrap();
            let request = SeriesRequest::try_from(request).unwrap();
            assert!(!request.matchers.is_empty(), "{name}");
            assert_eq!(request.partial_response, PartialResponse::Warn, "{name}");
            pb::SeriesRequest::from(request).encode_to_vec()
        };
        assert_eq!(Bytes::from(written), bytes, "{name}");
    }
}

#[test]
fn a_recorded_request_says_what_was_asked() {
    let message = pb::SeriesRequest::decode(recorded("store-ds-5m.req")).unwrap();
    let request = SeriesRequest::try_from(message).unwrap();
    assert_eq!(
        request.range,
        TimeRange::from_millis(1_791_417_600_000, 1_791_590_400_000)
    );
    assert_eq!(request.max_resolution_window_ms, 300_000);
    assert_eq!(request.aggregates, Aggregate::DOWNSAMPLED);
    let matchers: Vec<String> = request.matchers.iter().map(Matcher::to_string).collect();
    assert_eq!(
        matchers,
        [r#"__name__="edge""#, r#"case=~"sin|counter_5_resets""#]
    );
}

#[test]
fn recorded_label_answers_are_read_and_written_byte_for_byte() {
    for name in [
        "store-label-values",
        "store-label-values-ext",
        "sidecar-label-values",
    ] {
        let bytes = recorded(&format!("{name}.resp"));
        let message = pb::LabelValuesResponse::decode(bytes.clone()).unwrap();
        let answer = label_values_from_pb(message, "peer");
        assert!(!answer.values.is_empty() && answer.completeness.is_complete());
        assert_eq!(answer.hints.is_some(), name.starts_with("store"));
        let written = pb::LabelValuesResponse::from(answer).encode_to_vec();
        assert_eq!(Bytes::from(written), bytes, "{name}");
    }
    let bytes = recorded("store-label-names.resp");
    let message = pb::LabelNamesResponse::decode(bytes.clone()).unwrap();
    let answer = label_names_from_pb(message, "peer");
    assert_eq!(answer.values.len(), 15);
    let written = pb::LabelNamesResponse::from(answer).encode_to_vec();
    assert_eq!(Bytes::from(written), bytes);
}

/// X-48: the parts of an info say what a component offers.
#[test]
fn recorded_infos_are_read_and_written_with_equal_parts() {
    for name in ["store-info", "store-ha-info", "sidecar-info", "ruler-info"] {
        let message = info_pb::InfoResponse::decode(recorded(&format!("{name}.resp"))).unwrap();
        let info = StoreInfo::from(message.clone());
        assert!(info.supports_sharding && info.supports_without_replica_labels);
        let is_sidecar = name == "sidecar-info";
        assert_eq!(info.offers.targets, is_sidecar, "{name}");
        assert_eq!(info.offers.rules, is_sidecar || name == "ruler-info");
        assert_eq!(info_pb::InfoResponse::from(info), message, "{name}");
    }
}

#[test]
fn a_component_without_a_store_stays_one() {
    let message = info_pb::InfoResponse {
        component_type: "rule".into(),
        rules: Some(info_pb::RulesInfo {}),
        ..Default::default()
    };
    let info = StoreInfo::from(message.clone());
    assert!(!info.offers.store && info.offers.rules);
    assert_eq!(info_pb::InfoResponse::from(info), message);
}

/// Q-34: a component that has no series has external labels, which its rules and exemplars carry.
#[test]
fn a_component_without_a_store_keeps_its_label_sets() {
    let external = Labels::from_pairs([("cluster", "eu")]);
    let message = info_pb::InfoResponse {
        label_sets: vec![super::info::labels_to_pb(&external)],
        component_type: "sidecar".into(),
        exemplars: Some(info_pb::ExemplarsInfo::default()),
        ..Default::default()
    };
    let info = StoreInfo::from(message.clone());
    assert!(!info.offers.store);
    assert_eq!(info.tsdbs[0].external_labels, external);
    assert!(info.time_range().is_some_and(TimeRange::is_empty));
    assert_eq!(info_pb::InfoResponse::from(info), message);
}

#[test]
fn a_recorded_querier_lists_the_databases_below_it() {
    let message = info_pb::InfoResponse::decode(recorded("query-info.resp")).unwrap();
    let info = StoreInfo::from(message);
    assert_eq!(info.component, "query");
    let mut blocks_by_replica = BTreeMap::new();
    for tsdb in &info.tsdbs {
        let replica = tsdb.external_labels.get("replica").unwrap().into_owned();
        *blocks_by_replica.entry(replica).or_insert(0) += 1;
    }
    assert_eq!(
        blocks_by_replica,
        BTreeMap::from([("a".into(), 2), ("b".into(), 3)])
    );
    let range = TimeRange::from_millis(1_795_349_700_000, 1_795_350_600_000);
    assert_eq!(info.time_range(), Some(range));
}

#[test]
fn a_store_that_lists_no_databases_is_known_by_its_label_sets() {
    let label_set = |pairs: &[(&str, &str)]| pb::ZLabelSet {
        labels: pairs
            .iter()
            .map(|(name, value)| pb::Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    };
    let message = info_pb::InfoResponse {
        label_sets: vec![
            label_set(&[("replica", "a")]),
            label_set(&[("@thanos_compatibility_store_type", "store")]),
        ],
        store: Some(info_pb::StoreInfo {
            min_time: 5,
            max_time: 9,
            ..Default::default()
        }),
        ..Default::default()
    };
    let tsdb = |external_labels| TsdbInfo {
        external_labels,
        range: TimeRange::from_millis(5, 9),
    };
    let labelled = StoreInfo::from(message.clone());
    assert_eq!(
        labelled.tsdbs,
        [tsdb(Labels::from_pairs([("replica", "a")]))]
    );

    let without_labels = info_pb::InfoResponse {
        label_sets: Vec::new(),
        ..message
    };
    assert_eq!(
        StoreInfo::from(without_labels).tsdbs,
        [tsdb(Labels::empty())]
    );
}

#[test]
fn a_store_without_data_is_never_worth_asking() {
    let message = info_pb::InfoResponse::from(StoreInfo::default());
    let store = message.store.clone().unwrap();
    assert!(store.min_time > store.max_time);
    assert_eq!(StoreInfo::from(message), StoreInfo::default());
    let nothing = StoreInfo::from(info_pb::InfoResponse::default());
    assert!(nothing.tsdbs.is_empty() && !nothing.offers.store);
}

#[test]
fn every_field_of_a_request_survives() {
    let any = prost_types::Any {
        type_url: "a/b".into(),
        value: vec![1, 2],
    };
    let request = SeriesRequest {
        range: TimeRange::from_millis(-5, 7),
        matchers: vec![
            Matcher::equal("a", "b"),
            Matcher::new(MatchOp::NotEqual, "c", "d").unwrap(),
            Matcher::new(MatchOp::Regex, "e", "f.*").unwrap(),
            Matcher::new(MatchOp::NotRegex, "g", "h|i").unwrap(),
        ],
        max_resolution_window_ms: 1,
        aggregates: vec![Aggregate::Raw, Aggregate::Counter],
        partial_response: PartialResponse::Abort,
        skip_chunks: true,
        hints: Some(any.encode_to_vec().into()),
        tenant: TenantId::default(),
        step_ms: 2,
        range_ms: 3,
        query_hints: Some(QueryHints {
            step_ms: 4,
            func: Some("rate".into()),
            grouping: Some((true, vec!["x".into()])),
            range_ms: Some(5),
            projection: Some(Projection {
                include: true,
                labels: vec!["x".into()],
            }),
        }),
        shard: Some(ShardInfo {
            shard_index: 1,
            total_shards: 2,
            by: true,
            labels: vec!["y".into()],
        }),
        without_replica_labels: vec!["z".into()],
        limit: 6,
        response_batch_size: 7,
        log: None,
    };
    let message = pb::SeriesRequest::from(request.clone());
    let back = SeriesRequest::try_from(message).unwrap();
    assert_eq!(format!("{back:?}"), format!("{request:?}"));

    let request = LabelNamesRequest {
        range: TimeRange::from_millis(1, 2),
        matchers: vec![Matcher::equal("a", "b")],
        partial_response: PartialResponse::Warn,
        without_replica_labels: vec!["z".into()],
        limit: 3,
        hints: Some(any.encode_to_vec().into()),
        tenant: TenantId::default(),
    };
    let back = LabelNamesRequest::try_from(pb::LabelNamesRequest::from(request.clone()));
    assert_eq!(format!("{:?}", back.unwrap()), format!("{request:?}"));

    let request = LabelValuesRequest {
        label: "job".into(),
        range: TimeRange::ALL,
        matchers: vec![Matcher::equal("a", "b")],
        partial_response: PartialResponse::Abort,
        without_replica_labels: vec!["z".into()],
        limit: 3,
        hints: None,
        tenant: TenantId::default(),
    };
    let back = LabelValuesRequest::try_from(pb::LabelValuesRequest::from(request.clone()));
    assert_eq!(format!("{:?}", back.unwrap()), format!("{request:?}"));
}

/// Q-04, Q-05: milliseconds at the very ends of their type become no time in Go, and then a sidecar finds nothing.
#[test]
fn all_of_time_is_sent_as_prometheus_has_it() {
    let (earliest, latest) = (-9_223_309_901_257_974_000, 9_223_309_901_257_974_999);
    let series = pb::SeriesRequest::from(SeriesRequest::default());
    assert_eq!((series.min_time, series.max_time), (earliest, latest));
    let names = pb::LabelNamesRequest::from(LabelNamesRequest::default());
    assert_eq!((names.start, names.end), (earliest, latest));
    let values = pb::LabelValuesRequest::from(LabelValuesRequest::default());
    assert_eq!((values.start, values.end), (earliest, latest));

    assert_eq!(
        SeriesRequest::try_from(series).unwrap().range,
        TimeRange::ALL
    );
    let names = LabelNamesRequest::try_from(names).unwrap();
    assert_eq!(names.range, TimeRange::ALL);
    let values = LabelValuesRequest::try_from(values).unwrap();
    assert_eq!(values.range, TimeRange::ALL);
}

#[test]
fn the_deprecated_switch_aborts_too() {
    let message = pb::SeriesRequest {
        partial_response_disabled: true,
        ..Default::default()
    };
    let request = SeriesRequest::try_from(message).unwrap();
    assert_eq!(request.partial_response, PartialResponse::Abort);
}

#[test]
fn requests_that_make_no_sense_are_invalid() {
    let matcher = |number, value: &str| pb::LabelMatcher {
        r#type: number,
        name: "a".into(),
        value: value.into(),
    };
    let shard = |shard_index, total_shards| pb::ShardInfo {
        shard_index,
        total_shards,
        ..Default::default()
    };
    let cases = [
        (
            pb::SeriesRequest {
                matchers: vec![matcher(9, "b")],
                ..Default::default()
            },
            "unknown matcher type 9",
        ),
        (
            pb::SeriesRequest {
                matchers: vec![matcher(2, "(")],
                ..Default::default()
            },
            "error parsing regexp",
        ),
        (
            pb::SeriesRequest {
                aggregates: vec![6],
                ..Default::default()
            },
            "unknown aggregate 6",
        ),
        (
            pb::SeriesRequest {
                partial_response_strategy: 2,
                ..Default::default()
            },
            "unknown partial response strategy 2",
        ),
        (
            pb::SeriesRequest {
                shard_info: Some(shard(3, 3)),
                ..Default::default()
            },
            "shard_index 3 is not one of 3 shards",
        ),
        (
            pb::SeriesRequest {
                shard_info: Some(shard(-1, 3)),
                ..Default::default()
            },
            "shard_index -1",
        ),
    ];
    for (message, expected) in cases {
        let error = SeriesRequest::try_from(message).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn no_shards_and_negative_limits_mean_all_series() {
    let message = pb::SeriesRequest {
        shard_info: Some(pb::ShardInfo::default()),
        limit: -1,
        ..Default::default()
    };
    let request = SeriesRequest::try_from(message).unwrap();
    assert_eq!((request.shard, request.limit), (None, 0));
}

#[test]
fn label_answers_keep_remarks_and_losses_apart() {
    let loss = Missing {
        source: "store-a".into(),
        reason: "timed out".into(),
    };
    let mut completeness = Completeness::Complete;
    completeness.add(loss);
    let answer = LabelsResponse {
        values: vec!["a".into()],
        warnings: vec!["slow".into()],
        completeness,
        hints: None,
    };
    let message = pb::LabelNamesResponse::from(answer.clone());
    assert_eq!(message.warnings, ["slow", "store-a: timed out"]);
    assert_eq!(label_names_from_pb(message.clone(), "peer"), answer);

    // A proxy that does not know our details forwards the texts, or adds one of its own.
    let mut forwarded = message.clone();
    forwarded.warning_details.clear();
    let seen = label_names_from_pb(forwarded, "peer");
    assert_eq!(
        (seen.warnings.len(), seen.completeness.missing().len()),
        (0, 2)
    );
    let mut extended = message;
    extended.warnings.push("another".into());
    let seen = label_names_from_pb(extended, "peer");
    assert_eq!(
        (seen.warnings.len(), seen.completeness.missing().len()),
        (0, 3)
    );
}

#[test]
fn errors_keep_their_kind_and_text_on_the_way() {
    let kinds = [
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::Corrupt,
        ErrorKind::Unavailable,
        ErrorKind::LimitExceeded,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
    ];
    for kind in kinds {
        let error = Error::new(kind, "text \u{fc}\nmore").at(7).in_file("index");
        let back = from_status(to_status(&error), "store-a");
        assert_eq!(back.kind(), kind);
        assert_eq!(back.to_string(), format!("store-a: {error}"));
    }
}

#[test]
fn codes_of_go_peers_have_a_kind() {
    let cases = [
        (Code::Unknown, ErrorKind::Unavailable),
        (Code::Aborted, ErrorKind::Unavailable),
        (Code::DeadlineExceeded, ErrorKind::Cancelled),
        (Code::Unimplemented, ErrorKind::Invalid),
        (Code::PermissionDenied, ErrorKind::Invalid),
    ];
    for (code, kind) in cases {
        assert_eq!(from_status(Status::new(code, "x"), "p").kind(), kind);
    }
}

#[test]
fn a_long_error_is_cut_at_a_character() {
    let error = Error::internal("\u{20ac}".repeat(5000));
    let status = to_status(&error);
    assert!(status.message().len() <= (4 << 10) + 3);
    assert!(status.message().ends_with("\u{20ac}..."));
}

#[test]
fn the_causes_of_a_status_are_told() {
    let cause = std::io::Error::other("connection refused");
    let mut status = Status::unavailable("transport error");
    status.set_source(std::sync::Arc::new(cause));
    let error = from_status(status, "store-a");
    assert_eq!(
        error.to_string(),
        "store-a: transport error: connection refused"
    );
}
