//! Requests.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use thanos_core::chunk::Aggregate;
use thanos_core::error::{Error, Result};

use super::matchers::{matchers_from_pb, matchers_to_pb};
use super::range::{range_from_pb, range_to_pb};
use crate::matchers::{MatcherSource, NewMatchers};
use crate::pb::thanos as pb;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, PartialResponse, Projection, QueryHints,
    SERIES_HASH_LABEL, SeriesRequest, ShardInfo,
};
use crate::tenant::TenantId;

impl From<SeriesRequest> for pb::SeriesRequest {
    fn from(request: SeriesRequest) -> Self {
        let (disabled, strategy) = partial_response_to_pb(request.partial_response);
        let (min_time, max_time) = range_to_pb(request.range);
        Self {
            min_time,
            max_time,
            matchers: matchers_to_pb(&request.matchers),
            max_resolution_window: request.max_resolution_window_ms,
            aggregates: request.aggregates.iter().map(|one| *one as i32).collect(),
            partial_response_disabled: disabled,
            partial_response_strategy: strategy,
            skip_chunks: request.skip_chunks,
            hints: any_to_pb(request.hints),
            step: request.step_ms,
            range: request.range_ms,
            query_hints: request.query_hints.map(pb::QueryHints::from),
            shard_info: request.shard.map(pb::ShardInfo::from),
            without_replica_labels: request.without_replica_labels,
            limit: count_to_pb(request.limit),
            response_batch_size: count_to_pb(request.response_batch_size),
        }
    }
}

impl TryFrom<pb::SeriesRequest> for SeriesRequest {
    type Error = Error;

    fn try_from(request: pb::SeriesRequest) -> Result<Self> {
        series_request_from_pb(request, &NewMatchers)
    }
}

/// Returns the request with the matchers that `matchers` makes.
pub(crate) fn series_request_from_pb(
    request: pb::SeriesRequest,
    matchers: &dyn MatcherSource,
) -> Result<SeriesRequest> {
    Ok(SeriesRequest {
        range: range_from_pb(request.min_time, request.max_time),
        matchers: matchers_from_pb(&request.matchers, matchers)?,
        max_resolution_window_ms: request.max_resolution_window,
        aggregates: aggregates_from_pb(&request.aggregates)?,
        partial_response: partial_response_from_pb(
            request.partial_response_disabled,
            request.partial_response_strategy,
        )?,
        skip_chunks: request.skip_chunks,
        hints: any_from_pb(request.hints),
        tenant: TenantId::default(),
        step_ms: request.step,
        range_ms: request.range,
        query_hints: request.query_hints.map(QueryHints::from),
        shard: shard_from_pb(request.shard_info)?,
        without_replica_labels: request.without_replica_labels,
        limit: count_from_pb(request.limit),
        response_batch_size: count_from_pb(request.response_batch_size),
        log: None,
    })
}

impl From<LabelNamesRequest> for pb::LabelNamesRequest {
    fn from(request: LabelNamesRequest) -> Self {
        let (disabled, strategy) = partial_response_to_pb(request.partial_response);
        let (start, end) = range_to_pb(request.range);
        Self {
            partial_response_disabled: disabled,
            partial_response_strategy: strategy,
            start,
            end,
            hints: any_to_pb(request.hints),
            matchers: matchers_to_pb(&request.matchers),
            without_replica_labels: request.without_replica_labels,
            limit: count_to_pb(request.limit),
        }
    }
}

impl TryFrom<pb::LabelNamesRequest> for LabelNamesRequest {
    type Error = Error;

    fn try_from(request: pb::LabelNamesRequest) -> Result<Self> {
        label_names_request_from_pb(request, &NewMatchers)
    }
}

/// Returns the request with the matchers that `matchers` makes.
pub(crate) fn label_names_request_from_pb(
    request: pb::LabelNamesRequest,
    matchers: &dyn MatcherSource,
) -> Result<LabelNamesRequest> {
    Ok(LabelNamesRequest {
        range: range_from_pb(request.start, request.end),
        matchers: matchers_from_pb(&request.matchers, matchers)?,
        partial_response: partial_response_from_pb(
            request.partial_response_disabled,
            request.partial_response_strategy,
        )?,
        without_replica_labels: request.without_replica_labels,
        limit: count_from_pb(request.limit),
        hints: any_from_pb(request.hints),
        tenant: TenantId::default(),
    })
}

impl From<LabelValuesRequest> for pb::LabelValuesRequest {
    fn from(request: LabelValuesRequest) -> Self {
        let (disabled, strategy) = partial_response_to_pb(request.partial_response);
        let (start, end) = range_to_pb(request.range);
        Self {
            label: request.label,
            partial_response_disabled: disabled,
            partial_response_strategy: strategy,
            start,
            end,
            hints: any_to_pb(request.hints),
            matchers: matchers_to_pb(&request.matchers),
            without_replica_labels: request.without_replica_labels,
            limit: count_to_pb(request.limit),
        }
    }
}

impl TryFrom<pb::LabelValuesRequest> for LabelValuesRequest {
    type Error = Error;

    fn try_from(request: pb::LabelValuesRequest) -> Result<Self> {
        label_values_request_from_pb(request, &NewMatchers)
    }
}

/// Returns the request with the matchers that `matchers` makes.
pub(crate) fn label_values_request_from_pb(
    request: pb::LabelValuesRequest,
    matchers: &dyn MatcherSource,
) -> Result<LabelValuesRequest> {
    Ok(LabelValuesRequest {
        label: request.label,
        range: range_from_pb(request.start, request.end),
        matchers: matchers_from_pb(&request.matchers, matchers)?,
        partial_response: partial_response_from_pb(
            request.partial_response_disabled,
            request.partial_response_strategy,
        )?,
        without_replica_labels: request.without_replica_labels,
        limit: count_from_pb(request.limit),
        hints: any_from_pb(request.hints),
        tenant: TenantId::default(),
    })
}

impl From<QueryHints> for pb::QueryHints {
    fn from(hints: QueryHints) -> Self {
        let is_projected = hints.projection.is_some();
        let projection = hints.projection.unwrap_or_default();
        Self {
            step_millis: hints.step_ms,
            func: hints.func.map(|name| pb::Func { name }),
            grouping: hints
                .grouping
                .map(|(by, labels)| pb::Grouping { by, labels }),
            range: hints.range_ms.map(|millis| pb::Range { millis }),
            projection_labels: projection.labels,
            projection_include: projection.include,
            series_hash_label_name: match is_projected {
                true => SERIES_HASH_LABEL.to_owned(),
                false => String::new(),
            },
        }
    }
}

impl From<pb::QueryHints> for QueryHints {
    fn from(hints: pb::QueryHints) -> Self {
        // Excluding nothing is as good as no hint at all.
        let is_projected = hints.projection_include || !hints.projection_labels.is_empty();
        let projection = Projection {
            include: hints.projection_include,
            labels: hints.projection_labels,
        };
        Self {
            step_ms: hints.step_millis,
            func: hints.func.map(|func| func.name),
            grouping: hints
                .grouping
                .map(|grouping| (grouping.by, grouping.labels)),
            range_ms: hints.range.map(|range| range.millis),
            projection: is_projected.then_some(projection),
        }
    }
}

impl From<ShardInfo> for pb::ShardInfo {
    fn from(shard: ShardInfo) -> Self {
        Self {
            shard_index: count_to_pb(shard.shard_index),
            total_shards: count_to_pb(shard.total_shards),
            by: shard.by,
            labels: shard.labels,
        }
    }
}

/// Returns the shard, or `None` when there are none to choose from: then Thanos wants all series.
pub(crate) fn shard_from_pb(shard: Option<pb::ShardInfo>) -> Result<Option<ShardInfo>> {
    let Some(shard) = shard.filter(|shard| shard.total_shards > 0) else {
        return Ok(None);
    };
    let total_shards = count_from_pb(shard.total_shards);
    let shard_index = u64::try_from(shard.shard_index)
        .ok()
        .filter(|index| *index < total_shards)
        .ok_or_else(|| {
            let index = shard.shard_index;
            Error::invalid(format!(
                "shard_index {index} is not one of {total_shards} shards"
            ))
        })?;
    Ok(Some(ShardInfo {
        shard_index,
        total_shards,
        by: shard.by,
        labels: shard.labels,
    }))
}

fn aggregates_from_pb(aggregates: &[i32]) -> Result<Vec<Aggregate>> {
    let convert = |number: &i32| {
        let unknown = |_| Error::invalid(format!("unknown aggregate {number}"));
        Ok(match pb::Aggr::try_from(*number).map_err(unknown)? {
            pb::Aggr::Raw => Aggregate::Raw,
            pb::Aggr::Count => Aggregate::Count,
            pb::Aggr::Sum => Aggregate::Sum,
            pb::Aggr::Min => Aggregate::Min,
            pb::Aggr::Max => Aggregate::Max,
            pb::Aggr::Counter => Aggregate::Counter,
        })
    };
    aggregates.iter().map(convert).collect()
}

/// Returns the deprecated switch and the strategy: peers read one or the other.
fn partial_response_to_pb(partial_response: PartialResponse) -> (bool, i32) {
    match partial_response {
        PartialResponse::Abort => (true, pb::PartialResponseStrategy::Abort.into()),
        PartialResponse::Warn => (false, pb::PartialResponseStrategy::Warn.into()),
    }
}

fn partial_response_from_pb(disabled: bool, strategy: i32) -> Result<PartialResponse> {
    let unknown = |_| Error::invalid(format!("unknown partial response strategy {strategy}"));
    Ok(
        match pb::PartialResponseStrategy::try_from(strategy).map_err(unknown)? {
            pb::PartialResponseStrategy::Warn if !disabled => PartialResponse::Warn,
            pb::PartialResponseStrategy::Warn | pb::PartialResponseStrategy::Abort => {
                PartialResponse::Abort
            }
        },
    )
}

/// Returns a count as the wire has it; nobody counts beyond its range.
pub(crate) fn count_to_pb(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns a count of the wire, where a negative number means the same as none.
pub(crate) fn count_from_pb(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Returns the message of which `any` is the serialised form; what is not one is sent as a value without type.
pub(super) fn any_to_pb(any: Option<Bytes>) -> Option<Any> {
    any.map(|any| {
        Any::decode(any.clone()).unwrap_or_else(|_| Any {
            type_url: String::new(),
            value: any.into(),
        })
    })
}

pub(super) fn any_from_pb(any: Option<Any>) -> Option<Bytes> {
    any.map(|any| any.encode_to_vec().into())
}
