//! Metadata of metrics.

use super::{policy_from_pb, policy_to_pb, streamed};
use crate::apis::metadata::{Metadata, MetadataRequest, MetricMetadata};
use crate::pb::thanos as pb;
use crate::tenant::TenantId;
use thanos_core::budget::MemoryBudget;

streamed!(
    MetricMetadataResponse,
    metric_metadata_response::Metadata(MetricMetadata)
);

impl From<MetadataRequest> for pb::MetricMetadataRequest {
    fn from(request: MetadataRequest) -> Self {
        let limit = request.metrics_max.map(i32::try_from);
        Self {
            metric: request.metric.unwrap_or_default(),
            // More than the wire can say is as good as all.
            limit: limit.map_or(-1, |limit| limit.unwrap_or(-1)),
            partial_response_strategy: policy_to_pb(request.partial_response),
        }
    }
}

/// A negative limit is none (row X-50 of the specification).
impl From<pb::MetricMetadataRequest> for MetadataRequest {
    fn from(request: pb::MetricMetadataRequest) -> Self {
        Self {
            metric: Some(request.metric).filter(|metric| !metric.is_empty()),
            metrics_max: usize::try_from(request.limit).ok(),
            partial_response: policy_from_pb(request.partial_response_strategy),
            tenant: TenantId::default(),
            budget: MemoryBudget::default(),
        }
    }
}

impl From<Metadata> for pb::MetricMetadata {
    fn from(metadata: Metadata) -> Self {
        let meta = |meta: MetricMetadata| pb::Meta {
            r#type: meta.metric_type,
            help: meta.help,
            unit: meta.unit,
        };
        let entry = |(name, metas): (String, Vec<MetricMetadata>)| {
            let metas = metas.into_iter().map(meta).collect();
            (name, pb::MetricMetadataEntry { metas })
        };
        Self {
            metadata: metadata.into_iter().map(entry).collect(),
        }
    }
}

impl From<pb::MetricMetadata> for Metadata {
    fn from(metadata: pb::MetricMetadata) -> Self {
        let meta = |meta: pb::Meta| MetricMetadata {
            metric_type: meta.r#type,
            help: meta.help,
            unit: meta.unit,
        };
        let entry = |(name, entry): (String, pb::MetricMetadataEntry)| {
            (name, entry.metas.into_iter().map(meta).collect())
        };
        metadata.metadata.into_iter().map(entry).collect()
    }
}
