//! The messages of what components answer beside series.

pub(crate) mod exemplars;
pub(crate) mod metadata;
pub(crate) mod query;
pub(crate) mod rules;
mod selector;
pub(crate) mod status;
pub(crate) mod targets;

#[cfg(test)]
mod tests;

use thanos_core::labels::Labels;
use thanos_core::time::UtcTime;

use super::info::{labels_from_pb, labels_to_pb};
use crate::pb::thanos as pb;
use crate::store::PartialResponse;

/// What one message of a streamed answer holds.
pub(crate) enum Piece<T> {
    /// A part of the value.
    Value(T),
    /// Something that went wrong.
    Warning(String),
    /// Nothing that this version knows.
    Unknown,
}

/// A message of a streamed answer.
pub(crate) trait Streamed: prost::Message {
    /// The part of the value that a message carries.
    type Value;

    /// Returns the message of a part.
    fn of_value(value: Self::Value) -> Self;

    /// Returns the message of a warning.
    fn of_warning(warning: String) -> Self;

    /// Returns what the message holds.
    fn piece(self) -> Piece<Self::Value>;
}

/// Implements [`Streamed`] for a message whose `result` is one of a value and a warning.
macro_rules! streamed {
    ($message:ident, $module:ident :: $variant:ident ($value:ident)) => {
        impl $crate::convert::apis::Streamed for $crate::pb::thanos::$message {
            type Value = $crate::pb::thanos::$value;

            fn of_value(value: Self::Value) -> Self {
                let result = $crate::pb::thanos::$module::Result::$variant(value);
                Self {
                    result: Some(result),
                }
            }

            fn of_warning(warning: String) -> Self {
                let result = $crate::pb::thanos::$module::Result::Warning(warning);
                Self {
                    result: Some(result),
                }
            }

            fn piece(self) -> $crate::convert::apis::Piece<Self::Value> {
                use $crate::convert::apis::Piece;
                use $crate::pb::thanos::$module::Result;
                match self.result {
                    Some(Result::$variant(value)) => Piece::Value(value),
                    Some(Result::Warning(warning)) => Piece::Warning(warning),
                    None => Piece::Unknown,
                }
            }
        }
    };
}
use streamed;

fn policy_to_pb(policy: PartialResponse) -> i32 {
    match policy {
        PartialResponse::Warn => pb::PartialResponseStrategy::Warn,
        PartialResponse::Abort => pb::PartialResponseStrategy::Abort,
    }
    .into()
}

/// An unknown strategy is the careful one.
fn policy_from_pb(strategy: i32) -> PartialResponse {
    match pb::PartialResponseStrategy::try_from(strategy) {
        Ok(pb::PartialResponseStrategy::Warn) => PartialResponse::Warn,
        Ok(pb::PartialResponseStrategy::Abort) | Err(_) => PartialResponse::Abort,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "messages in messages are optional"
)]
fn some_labels(labels: &Labels) -> Option<pb::ZLabelSet> {
    Some(labels_to_pb(labels))
}

fn labels(labels: Option<&pb::ZLabelSet>) -> Labels {
    labels.map(labels_from_pb).unwrap_or_default()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "messages in messages are optional"
)]
fn some_time(time: UtcTime) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.unix_secs(),
        nanos: i32::try_from(time.nanos()).expect("below 10^9"),
    })
}

/// A time that is absent or makes no sense is that of things that never happened.
fn time(time: Option<&prost_types::Timestamp>) -> UtcTime {
    time.and_then(known_time).unwrap_or(UtcTime::GO_ZERO)
}

fn known_time(time: &prost_types::Timestamp) -> Option<UtcTime> {
    UtcTime::from_unix_secs_and_nanos(time.seconds, u32::try_from(time.nanos).ok()?)
}

/// Decodes `data` as each message that a peer may send and converts what decodes, for fuzzing.
#[cfg(any(test, feature = "testkit"))]
pub(super) fn read_all(data: &[u8]) {
    use crate::apis::{exemplars, metadata, rules as rule_apis, status as status_apis, targets};
    use crate::matchers::NewMatchers;
    use prost::Message;

    if let Ok(message) = pb::RulesRequest::decode(data)
        && let Ok(request) = rules::rules_request_from_pb(message, &NewMatchers)
    {
        let again = rules::rules_request_from_pb(request.clone().into(), &NewMatchers);
        let again = again.expect("our own requests are valid");
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }
    if let Ok(message) = pb::TsdbStatisticsRequest::decode(data) {
        let _ = status::status_request_from_pb(&message, &NewMatchers);
    }
    if let Ok(message) = pb::TargetsRequest::decode(data) {
        let _ = targets::TargetsRequest::try_from(message);
    }
    if let Ok(message) = pb::MetricMetadataRequest::decode(data) {
        let _ = metadata::MetadataRequest::from(message);
    }
    if let Ok(message) = pb::ExemplarsRequest::decode(data) {
        let _ = exemplars::ExemplarsRequest::from(message);
    }
    if let Ok(message) = pb::RuleGroup::decode(data) {
        let _ = pb::RuleGroup::from(rule_apis::RuleGroup::from(message));
    }
    if let Ok(message) = pb::TargetDiscovery::decode(data) {
        let _ = pb::TargetDiscovery::from(targets::Targets::from(message));
    }
    if let Ok(message) = pb::MetricMetadata::decode(data) {
        let _ = pb::MetricMetadata::from(metadata::Metadata::from(message));
    }
    if let Ok(message) = pb::ExemplarData::decode(data) {
        let _ = pb::ExemplarData::from(exemplars::SeriesExemplars::from(message));
    }
    if let Ok(message) = pb::TsdbStatistics::decode(data) {
        let _ = pb::TsdbStatistics::from(status_apis::TenantStatistics::from(message));
    }
}
