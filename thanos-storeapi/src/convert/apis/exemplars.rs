//! Exemplars.

use thanos_core::budget::MemoryBudget;
use thanos_core::time::Timestamp;

use super::{labels, policy_from_pb, policy_to_pb, some_labels, streamed};
use crate::apis::exemplars::{Exemplar, ExemplarsRequest, SeriesExemplars};
use crate::convert::range::{range_from_pb, range_to_pb};
use crate::pb::thanos as pb;
use crate::tenant::TenantId;

streamed!(ExemplarsResponse, exemplars_response::Data(ExemplarData));

impl From<ExemplarsRequest> for pb::ExemplarsRequest {
    fn from(request: ExemplarsRequest) -> Self {
        let (start, end) = range_to_pb(request.range);
        Self {
            query: request.query,
            start,
            end,
            partial_response_strategy: policy_to_pb(request.partial_response),
        }
    }
}

impl From<pb::ExemplarsRequest> for ExemplarsRequest {
    fn from(request: pb::ExemplarsRequest) -> Self {
        Self {
            query: request.query,
            range: range_from_pb(request.start, request.end),
            partial_response: policy_from_pb(request.partial_response_strategy),
            tenant: TenantId::default(),
            budget: MemoryBudget::default(),
        }
    }
}

impl From<SeriesExemplars> for pb::ExemplarData {
    fn from(series: SeriesExemplars) -> Self {
        let exemplar = |exemplar: Exemplar| pb::Exemplar {
            labels: some_labels(&exemplar.labels),
            value: exemplar.value,
            ts: exemplar.time.as_millis(),
        };
        Self {
            series_labels: some_labels(&series.labels),
            exemplars: series.exemplars.into_iter().map(exemplar).collect(),
        }
    }
}

impl From<pb::ExemplarData> for SeriesExemplars {
    fn from(series: pb::ExemplarData) -> Self {
        let exemplar = |exemplar: pb::Exemplar| Exemplar {
            labels: labels(exemplar.labels.as_ref()),
            value: exemplar.value,
            time: Timestamp::from_millis(exemplar.ts),
        };
        Self {
            labels: labels(series.series_labels.as_ref()),
            exemplars: series.exemplars.into_iter().map(exemplar).collect(),
        }
    }
}
