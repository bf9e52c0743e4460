//! The state of databases: how many series they have, and which names and labels have the most.
//!
//! Source of how they are added: Thanos' `pkg/status/statuspb/custom.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Matcher;
use thanos_core::time::{TimeRange, Timestamp};

use super::Answer;
use crate::store::PartialResponse;
use crate::tenant::TenantId;

/// A request for the statistics of databases.
#[derive(Debug, Clone, Default)]
pub struct StatusRequest {
    /// The only tenant that is wanted; `None` means all that there are.
    pub only_tenant: Option<TenantId>,
    /// The most entries of each list.
    pub entries_max: usize,
    /// Conditions on the external labels of databases; all must hold.
    pub matchers: Vec<Matcher>,
    /// What a fan-out does when a component fails.
    pub partial_response: PartialResponse,
    /// On whose behalf; travels as metadata of the call.
    pub tenant: TenantId,
    /// Where the memory of an answer over the network comes from. A fan-out has a budget of its own.
    pub budget: MemoryBudget,
}

/// The statistics of the databases of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TsdbStatistics {
    /// Of the newest data, which is in memory.
    pub head: HeadStatistics,
    /// Names of metrics by their series.
    pub series_by_metric_name: Vec<Statistic>,
    /// Names of labels by their values.
    pub values_by_label_name: Vec<Statistic>,
    /// Names of labels by the bytes of their values.
    pub bytes_by_label_name: Vec<Statistic>,
    /// Pairs `name=value` by their series.
    pub series_by_label_pair: Vec<Statistic>,
}

/// The size of the newest data of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadStatistics {
    /// Its series.
    pub series: u64,
    /// Its different label pairs.
    pub label_pairs: i64,
    /// Its chunks.
    pub chunks: i64,
    /// From its first to its last sample.
    pub range: TimeRange,
}

/// Nothing, at no time: both ends of the range are 0, as Thanos says it.
impl Default for HeadStatistics {
    fn default() -> Self {
        Self {
            series: 0,
            label_pairs: 0,
            chunks: 0,
            range: TimeRange::from_millis(0, 0),
        }
    }
}

impl HeadStatistics {
    fn add(&mut self, other: &Self) {
        self.series = self.series.saturating_add(other.series);
        self.label_pairs = self.label_pairs.saturating_add(other.label_pairs);
        self.chunks = self.chunks.saturating_add(other.chunks);
        // A head without data has no times.
        let is_known = |time: &Timestamp| time.as_millis() > 0;
        let starts = [self.range.min, other.range.min].into_iter();
        self.range = TimeRange {
            min: starts.filter(is_known).min().unwrap_or(self.range.min),
            max: self.range.max.max(other.range.max),
        };
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

/// Adds statistics of tenants to those of others.
pub fn add_tenants(all: &mut TenantStatistics, more: TenantStatistics) {
    for (tenant, statistics) in more {
        all.entry(tenant).or_default().add(statistics);
    }
}

/// Merges two lists, the largest value first.
fn merge(list: &mut Vec<Statistic>, more: Vec<Statistic>, join: impl Fn(u64, u64) -> u64) {
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for statistic in list.drain(..).chain(more) {
        let value = by_name.get(&statistic.name);
        let value = value.map_or(statistic.value, |value| join(*value, statistic.value));
        by_name.insert(statistic.name, value);
    }
    let merged = by_name.into_iter();
    list.extend(merged.map(|(name, value)| Statistic { name, value }));
    list.sort_by_key(|statistic| Reverse(statistic.value));
}

/// How much there is of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistic {
    /// Of what.
    pub name: String,
    /// How much.
    pub value: u64,
}

/// The statistics of databases by tenant; that of a Prometheus has the empty name.
pub type TenantStatistics = BTreeMap<String, TsdbStatistics>;

/// Answers with the statistics of databases.
#[async_trait]
pub trait StatusApi: fmt::Debug + Send + Sync + 'static {
    /// Returns the statistics of the databases whose external labels match.
    ///
    /// # Errors
    ///
    /// `Unavailable` as long as the databases are not ready, and whatever keeps the statistics from being read.
    async fn tsdb_statistics(&self, request: StatusRequest) -> Result<Answer<TenantStatistics>>;
}
