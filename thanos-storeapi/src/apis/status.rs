//! The state of databases: how many series they have, and which names and labels have the most.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::labels::Matcher;
use thanos_core::time::TimeRange;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
