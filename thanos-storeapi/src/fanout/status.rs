//! The statistics of many databases.
//!
//! Source: Thanos' `pkg/status/statuspb/custom.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::time::{TimeRange, Timestamp};

use super::Fanout;
use crate::apis::Answer;
use crate::apis::status::{
    HeadStatistics, Statistic, StatusApi, StatusRequest, TenantStatistics, TsdbStatistics,
};

#[async_trait]
impl StatusApi for Fanout {
    async fn tsdb_statistics(&self, request: StatusRequest) -> Result<Answer<TenantStatistics>> {
        let policy = request.partial_response;
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().status.as_ref()?);
            let request = request.clone();
            let call = async move { api.tsdb_statistics(request).await };
            Some(Box::pin(call) as _)
        };
        let what = "fetching tsdb statistics";
        let answer: Answer<Vec<TenantStatistics>> =
            self.ask(what, policy, |offers| offers.status, call).await?;
        let mut all = TenantStatistics::new();
        for (tenant, statistics) in answer.value.into_iter().flatten() {
            match all.get_mut(&tenant) {
                Some(known) => known.add(statistics),
                None => {
                    all.insert(tenant, sorted(statistics));
                }
            }
        }
        Ok(Answer {
            value: all,
            warnings: answer.warnings,
            completeness: answer.completeness,
        })
    }
}

impl TsdbStatistics {
    /// Adds the statistics of another database: series and chunks are added up, times widened, lists merged.
    pub fn add(&mut self, other: Self) {
        self.head.add(&other.head);
        let add = |a: u64, b: u64| a.saturating_add(b);
        merge(
            &mut self.series_by_metric_name,
            other.series_by_metric_name,
            add,
        );
        // The same values may be in both.
        merge(
            &mut self.values_by_label_name,
            other.values_by_label_name,
            u64::max,
        );
        merge(
            &mut self.bytes_by_label_name,
            other.bytes_by_label_name,
            add,
        );
        merge(
            &mut self.series_by_label_pair,
            other.series_by_label_pair,
            add,
        );
    }
}

impl HeadStatistics {
    fn add(&mut self, other: &Self) {
        self.series = self.series.saturating_add(other.series);
        self.label_pairs = self.label_pairs.saturating_add(other.label_pairs);
        self.chunks = self.chunks.saturating_add(other.chunks);
        // A head without data has no times.
        let is_unknown = |time: Timestamp| time.as_millis() <= 0;
        let min = match is_unknown(self.range.min) {
            true => other.range.min,
            false => self.range.min.min(other.range.min),
        };
        self.range = TimeRange {
            min,
            max: self.range.max.max(other.range.max),
        };
    }
}

fn sorted(mut statistics: TsdbStatistics) -> TsdbStatistics {
    for list in [
        &mut statistics.series_by_metric_name,
        &mut statistics.values_by_label_name,
        &mut statistics.bytes_by_label_name,
        &mut statistics.series_by_label_pair,
    ] {
        merge(list, Vec::new(), u64::max);
    }
    statistics
}

/// Merges two lists, the largest value first.
fn merge(list: &mut Vec<Statistic>, more: Vec<Statistic>, join: impl Fn(u64, u64) -> u64) {
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for statistic in list.drain(..).chain(more) {
        let value = by_name.get(&statistic.name);
        let value = value.map_or(statistic.value, |value| join(*value, statistic.value));
        by_name.insert(statistic.name, value);
    }
    list.extend(
        by_name
            .into_iter()
            .map(|(name, value)| Statistic { name, value }),
    );
    list.sort_by_key(|statistic| Reverse(statistic.value));
}
