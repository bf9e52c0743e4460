//! Other engines that evaluate parts of a query where the data is.
//!
//! [`Remotes`] is what a distributed query knows of them: which data each has, and how it is asked. The plan decides what
//! each is asked for (`plan::distribute`): only what gives the same answer as reading all series here. An engine that
//! fails is an error of the query, or is named as missing; it is never passed over.

#[cfg(any(test, feature = "http", feature = "testkit"))]
pub(crate) mod answer;

use std::fmt;
use std::sync::Arc;

use thanos_core::labels::Matcher;
use thanos_core::query::Missing;
use thanos_storeapi::apis::query::QueryApi;
use thanos_storeapi::proxy::{Decision, EndpointInfo, SkipReason};
use thanos_storeapi::queryable::RESPONSE_BATCH_SIZE_DEFAULT;
use thanos_storeapi::store::{PartialResponse, ShardInfo, TsdbInfo};
use thanos_storeapi::tenant::TenantId;

/// Something that has data.
#[derive(Clone)]
pub struct RemoteEngine {
    /// Its address, for messages.
    pub name: Arc<str>,
    /// What evaluates queries over its data; `None` when that data can only be read here.
    pub api: Option<Arc<dyn QueryApi>>,
    /// Its databases.
    pub tsdbs: Vec<TsdbInfo>,
}

impl fmt::Debug for RemoteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEngine")
            .field("name", &self.name)
            .field("evaluates", &self.api.is_some())
            .field("tsdbs", &self.tsdbs.len())
            .finish_non_exhaustive()
    }
}

/// How engines are asked.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The labels by which the data is spread over the engines (`--query.partition-label`); none means all external
    /// labels but those of replicas.
    pub partition_labels: Vec<String>,
    /// The labels in which replicas differ; none means that replicas are not joined.
    pub replica_labels: Vec<String>,
    /// What an engine has between its first and its last sample.
    pub coverage: Coverage,
    /// What happens when an engine fails.
    pub partial_response: PartialResponse,
    /// The coarsest downsampling resolution that will do, in milliseconds.
    pub max_resolution_ms: i64,
    /// Which shard of the series is wanted.
    pub shard: Option<ShardInfo>,
    /// On whose behalf.
    pub tenant: TenantId,
    /// Matchers that every selector gets, in place of its own ones on the same labels.
    pub enforced_matchers: Vec<Matcher>,
    /// How many series a frame of an answer may carry.
    pub response_batch_size: u64,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            partition_labels: Vec::new(),
            replica_labels: Vec::new(),
            coverage: Coverage::default(),
            partial_response: PartialResponse::default(),
            max_resolution_ms: 0,
            shard: None,
            tenant: TenantId::default(),
            enforced_matchers: Vec::new(),
            response_batch_size: RESPONSE_BATCH_SIZE_DEFAULT,
        }
    }
}

/// What an engine has between its first and its last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// What its databases announce: where another engine has data that it has not, it is not asked.
    #[default]
    Announced,
    /// Everything of its partitions, whatever its databases announce
    /// (`--query.distributed-with-overlapping-interval`): gaps are held for gaps of the data, and replicas for equal.
    Whole,
}

/// The engines of a distributed query.
#[derive(Debug, Clone, Default)]
pub struct Remotes {
    /// All that have data, whether they evaluate queries or not.
    pub engines: Vec<RemoteEngine>,
    /// What has failed and may have had data.
    pub missing: Vec<Missing>,
    /// How they are asked.
    pub options: RemoteOptions,
}

impl Remotes {
    /// Returns the engines among the endpoints of a proxy.
    ///
    /// An endpoint whose info is not known may have anything: it is named as missing.
    pub fn of_endpoints(decisions: &[Decision], options: RemoteOptions) -> Self {
        let mut remotes = Self {
            options,
            ..Self::default()
        };
        for decision in decisions {
            // The request names the addresses to ask; and the selector says whose data there is.
            if let Some(SkipReason::Address | SkipReason::NotSelected) = decision.skipped {
                continue;
            }
            let name = decision.endpoint.name();
            match &decision.info {
                EndpointInfo::Known(info) => {
                    let api = decision.endpoint.apis().query.clone();
                    remotes.engines.push(RemoteEngine {
                        name: name.into(),
                        // It would evaluate what is not selected, too.
                        api: api.filter(|_| info.offers.query && !decision.has_unselected()),
                        tsdbs: info.tsdbs.clone(),
                    });
                }
                EndpointInfo::Failed { reason } => remotes.missing.push(Missing {
                    source: name.to_owned(),
                    reason: reason.clone(),
                }),
                EndpointInfo::Unknown => remotes.missing.push(Missing {
                    source: name.to_owned(),
                    reason: "its info is not known yet".to_owned(),
                }),
            }
        }
        remotes
    }
}
