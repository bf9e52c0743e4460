use thanos_core::labels::Matcher;
use thanos_core::time::TimeRange;

use super::rules::rules_request_from_pb;
use super::status::status_request_from_pb;
use crate::apis::exemplars::{ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{Metadata, MetadataRequest};
use crate::apis::rules::{RuleGroup, RuleKinds, RulesRequest};
use crate::apis::status::{StatusRequest, TenantStatistics};
use crate::apis::targets::{TargetStates, Targets, TargetsRequest};
use crate::matchers::NewMatchers;
use crate::pb::thanos as pb;
use crate::store::PartialResponse;
use crate::tenant::TenantId;
use crate::testkit::FixedApis;

#[test]
fn every_field_of_an_answer_survives() {
    let sample = FixedApis::sample("a");
    for group in sample.rules {
        assert_eq!(RuleGroup::from(pb::RuleGroup::from(group.clone())), group);
    }
    let targets = Targets::from(pb::TargetDiscovery::from(sample.targets.clone()));
    assert_eq!(targets, sample.targets);
    let metadata = Metadata::from(pb::MetricMetadata::from(sample.metadata.clone()));
    assert_eq!(metadata, sample.metadata);
    for series in sample.exemplars {
        let message = pb::ExemplarData::from(series.clone());
        assert_eq!(SeriesExemplars::from(message), series);
    }
    let statistics = pb::TsdbStatistics::from(sample.statistics.clone());
    assert_eq!(TenantStatistics::from(statistics), sample.statistics);
}

#[test]
fn every_field_of_a_request_survives() {
    let rules = RulesRequest {
        kind: RuleKinds::Alerting,
        matchers: vec![vec![Matcher::equal("a", "b\"c")], Vec::new()],
        rule_names: vec!["r".into()],
        rule_groups: vec!["g".into()],
        files: vec!["f".into()],
        partial_response: PartialResponse::Warn,
        ..RulesRequest::default()
    };
    let again = rules_request_from_pb(rules.clone().into(), &NewMatchers).unwrap();
    assert_eq!(format!("{again:?}"), format!("{rules:?}"));

    let status = StatusRequest {
        only_tenant: Some(TenantId::parse("team").unwrap()),
        entries_max: 7,
        matchers: vec![Matcher::equal("a", "b")],
        ..StatusRequest::default()
    };
    let again = status_request_from_pb(&status.clone().into(), &NewMatchers).unwrap();
    assert_eq!(format!("{again:?}"), format!("{status:?}"));

    for state in [
        TargetStates::Any,
        TargetStates::Active,
        TargetStates::Dropped,
    ] {
        let request = TargetsRequest {
            state,
            ..TargetsRequest::default()
        };
        let again = TargetsRequest::try_from(pb::TargetsRequest::from(request)).unwrap();
        assert_eq!(again.state, state);
    }

    let exemplars = ExemplarsRequest {
        query: "up".into(),
        range: TimeRange::from_millis(-1, 9),
        ..ExemplarsRequest::default()
    };
    let again = ExemplarsRequest::from(pb::ExemplarsRequest::from(exemplars.clone()));
    assert_eq!(format!("{again:?}"), format!("{exemplars:?}"));

    // Q-34: a sidecar of Thanos finds no exemplars at the very ends of the milliseconds.
    let all = pb::ExemplarsRequest::from(ExemplarsRequest::default());
    assert_eq!(
        (all.start, all.end),
        (-9_223_309_901_257_974_000, 9_223_309_901_257_974_999)
    );
    assert_eq!(ExemplarsRequest::from(all).range, TimeRange::ALL);
}

/// X-50: a limit of -1 is none, 0 is nothing.
#[test]
fn limits_of_metadata_survive() {
    for (metrics_max, limit) in [(None, -1), (Some(0), 0), (Some(10), 10)] {
        let request = MetadataRequest {
            metrics_max,
            ..MetadataRequest::default()
        };
        let message = pb::MetricMetadataRequest::from(request);
        assert_eq!(message.limit, limit);
        assert_eq!(MetadataRequest::from(message).metrics_max, metrics_max);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let rules = |change: &dyn Fn(&mut pb::RulesRequest)| {
        let mut message = pb::RulesRequest::default();
        change(&mut message);
        rules_request_from_pb(message, &NewMatchers)
    };
    assert!(rules(&|_| {}).is_ok());
    assert!(rules(&|message| message.r#type = 9).is_err());
    assert!(rules(&|message| message.matcher_string = vec!["{".into()]).is_err());
    let targets = pb::TargetsRequest {
        state: 9,
        ..Default::default()
    };
    assert!(TargetsRequest::try_from(targets).is_err());
    for (tenant, limit) in [("../x", 1), ("", -1)] {
        let message = pb::TsdbStatisticsRequest {
            tenant: tenant.into(),
            limit,
            ..Default::default()
        };
        assert!(status_request_from_pb(&message, &NewMatchers).is_err());
    }
}
