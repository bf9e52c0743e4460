//! Where the data of a request comes from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thanos_core::labels::Matcher;
use thanos_core::query::Queryable;
use thanos_storeapi::store::ShardInfo;
use thanos_storeapi::tenant::TenantId;

use super::params::MaxSourceResolution;
use crate::error::Result;
use crate::remote::Remotes;

/// What a request says about its data: Thanos' extra parameters, absent where the request leaves them out.
#[derive(Debug, Clone, Default)]
pub struct SourceParams {
    /// `dedup`: whether the series of replicas are joined.
    pub dedup: Option<bool>,
    /// `replicaLabels[]`: the labels that tell replicas apart.
    pub replica_labels: Option<Vec<String>>,
    /// `partial_response`: whether an answer may lack data.
    pub partial_response: Option<bool>,
    /// `max_source_resolution`: how coarse downsampled data may be.
    pub max_source_resolution: Option<MaxSourceResolution>,
    /// `storeMatch[]`: which stores are asked; one of the sets must match.
    pub store_matchers: Vec<Vec<Matcher>>,
    /// `shard_info`: the only shard of the series that is wanted.
    pub shard: Option<ShardInfo>,
    /// `engine`: the name of the engine, `prometheus` or `thanos`; both mean this one.
    pub engine: Option<String>,
    /// The step of a range query in milliseconds, for the automatic resolution.
    pub step_ms: Option<i64>,
    /// The time from the start to the end of a range query.
    pub span: Option<Duration>,
    /// On whose behalf the request asks, by its headers.
    pub tenant: TenantId,
}

/// Decides what data a request is evaluated over.
#[async_trait]
pub trait QueryableSource: fmt::Debug + Send + Sync + 'static {
    /// Returns the data for a request with `params`.
    ///
    /// # Errors
    ///
    /// `Invalid` for parameters that this source does not accept.
    async fn queryable(&self, params: &SourceParams) -> Result<Arc<dyn Queryable>>;

    /// Returns the engines that evaluate parts of a request with `params`; `None` evaluates all of it here.
    ///
    /// # Errors
    ///
    /// As [`QueryableSource::queryable`].
    async fn remotes(&self, params: &SourceParams) -> Result<Option<Remotes>> {
        let _ = params;
        Ok(None)
    }

    /// Returns how far back a query looks for the latest sample when its request does not say; `None` means as far as
    /// the engine does. Data that may be coarse has to be looked for further back.
    fn lookback(&self, params: &SourceParams) -> Option<Duration> {
        let _ = params;
        None
    }
}

/// The same data for every request.
#[derive(Debug, Clone)]
pub struct FixedSource(pub Arc<dyn Queryable>);

#[async_trait]
impl QueryableSource for FixedSource {
    async fn queryable(&self, _: &SourceParams) -> Result<Arc<dyn Queryable>> {
        Ok(Arc::clone(&self.0))
    }
}
