//! Flags of distributed execution.

use clap::{ArgAction, Args};
use thanos_core::query::Missing;
use thanos_promql::remote::{Coverage, RemoteOptions, Remotes};
use thanos_storeapi::proxy::Proxy;

/// Whether and how other queriers evaluate parts of a query.
#[derive(Debug, Clone, Args)]
pub struct DistributedFlags {
    /// PromQL query mode. One of: local, distributed.
    #[arg(
        id = "query.mode",
        long = "query.mode",
        value_name = "MODE",
        default_value = "local",
        value_parser = ["local", "distributed"]
    )]
    mode: String,
    /// Labels that partition the leaf queriers. This is used to scope down the labelsets of leaf queriers when using the
    /// distributed query mode. If set, these labels must form a partition of the leaf queriers. Partition labels must not
    /// intersect with replica labels. Every TSDB of a leaf querier must have these labels. If this is empty then all
    /// labels are used as partition labels.
    #[arg(id = "query.partition-label", long = "query.partition-label", value_name = "LABEL", action = ArgAction::Append)]
    partition_labels: Vec<String>,
    /// Take the times of a leaf querier for one range without gaps, and its replicas for equal to those elsewhere.
    #[arg(id = "query.distributed-with-overlapping-interval", long = "query.distributed-with-overlapping-interval", action = ArgAction::SetTrue, hide = true)]
    overlapping_interval: bool,
}

impl DistributedFlags {
    /// Reports whether queries are distributed.
    pub fn is_on(&self) -> bool {
        self.mode == "distributed"
    }

    /// Returns the queriers among the endpoints of `proxy`, asked as `options` say, if queries are distributed.
    pub async fn remotes(&self, proxy: &Proxy, options: RemoteOptions) -> Option<Remotes> {
        if !self.is_on() {
            return None;
        }
        let options = RemoteOptions {
            partition_labels: self.partition_labels.clone(),
            coverage: if self.overlapping_interval {
                Coverage::Whole
            } else {
                Coverage::Announced
            },
            ..options
        };
        let decisions = proxy.plan(thanos_core::time::TimeRange::ALL, &[]).await;
        let remotes = Remotes::of_endpoints(&decisions, options);
        for Missing { source, reason } in &remotes.missing {
            tracing::debug!(
                endpoint = source,
                reason,
                "querier takes no part in the query"
            );
        }
        Some(remotes)
    }
}
