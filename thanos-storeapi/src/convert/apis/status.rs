//! The statistics of databases.

use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};
use thanos_core::time::TimeRange;

use super::{policy_from_pb, policy_to_pb, streamed};
use crate::apis::status::{
    HeadStatistics, Statistic, StatusRequest, TenantStatistics, TsdbStatistics,
};
use crate::convert::matchers::{matchers_from_pb, matchers_to_pb};
use crate::matchers::MatcherSource;
use crate::pb::thanos as pb;
use crate::tenant::TenantId;

streamed!(
    TsdbStatisticsResponse,
    tsdb_statistics_response::Statistics(TsdbStatistics)
);

impl From<StatusRequest> for pb::TsdbStatisticsRequest {
    fn from(request: StatusRequest) -> Self {
        let tenant = request.only_tenant;
        Self {
            tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
            limit: i32::try_from(request.entries_max).unwrap_or(i32::MAX),
            partial_response_strategy: policy_to_pb(request.partial_response),
            matchers: matchers_to_pb(&request.matchers),
        }
    }
}

/// Returns the request, its matchers made by `source`.
pub(crate) fn status_request_from_pb(
    request: &pb::TsdbStatisticsRequest,
    source: &dyn MatcherSource,
) -> Result<StatusRequest> {
    let limit = request.limit;
    let entries_max = usize::try_from(limit)
        .map_err(|_| Error::invalid(format!("limit {limit} of statistics is negative")))?;
    let only_tenant = match request.tenant.as_str() {
        "" => None,
        name => Some(TenantId::parse(name)?),
    };
    Ok(StatusRequest {
        only_tenant,
        entries_max,
        matchers: matchers_from_pb(&request.matchers, source)?,
        partial_response: policy_from_pb(request.partial_response_strategy),
        tenant: TenantId::default(),
        budget: MemoryBudget::default(),
    })
}

impl From<TenantStatistics> for pb::TsdbStatistics {
    fn from(statistics: TenantStatistics) -> Self {
        let entry = |(tenant, statistics): (String, TsdbStatistics)| (tenant, statistics.into());
        Self {
            statistics: statistics.into_iter().map(entry).collect(),
        }
    }
}

impl From<pb::TsdbStatistics> for TenantStatistics {
    fn from(statistics: pb::TsdbStatistics) -> Self {
        let entries = statistics.statistics.into_iter();
        entries
            .map(|(tenant, entry)| (tenant, entry.into()))
            .collect()
    }
}

impl From<TsdbStatistics> for pb::TsdbStatisticsEntry {
    fn from(statistics: TsdbStatistics) -> Self {
        let head = &statistics.head;
        let list = |list: Vec<Statistic>| {
            let entry = |entry: Statistic| pb::Statistic {
                name: entry.name,
                value: entry.value,
            };
            list.into_iter().map(entry).collect()
        };
        Self {
            head_statistics: Some(pb::HeadStatistics {
                num_series: head.series,
                num_label_pairs: head.label_pairs,
                chunk_count: head.chunks,
                min_time: head.range.min.as_millis(),
                max_time: head.range.max.as_millis(),
            }),
            series_count_by_metric_name: list(statistics.series_by_metric_name),
            label_value_count_by_label_name: list(statistics.values_by_label_name),
            memory_in_bytes_by_label_name: list(statistics.bytes_by_label_name),
            series_count_by_label_value_pair: list(statistics.series_by_label_pair),
        }
    }
}

impl From<pb::TsdbStatisticsEntry> for TsdbStatistics {
    fn from(entry: pb::TsdbStatisticsEntry) -> Self {
        let head = |head: pb::HeadStatistics| HeadStatistics {
            series: head.num_series,
            label_pairs: head.num_label_pairs,
            chunks: head.chunk_count,
            range: TimeRange::from_millis(head.min_time, head.max_time),
        };
        let list = |list: Vec<pb::Statistic>| {
            let entry = |entry: pb::Statistic| Statistic {
                name: entry.name,
                value: entry.value,
            };
            list.into_iter().map(entry).collect()
        };
        Self {
            head: entry.head_statistics.map(head).unwrap_or_default(),
            series_by_metric_name: list(entry.series_count_by_metric_name),
            values_by_label_name: list(entry.label_value_count_by_label_name),
            bytes_by_label_name: list(entry.memory_in_bytes_by_label_name),
            series_by_label_pair: list(entry.series_count_by_label_value_pair),
        }
    }
}
