//! Scrape targets.

use thanos_core::budget::MemoryBudget;
use thanos_core::error::{Error, Result};

use super::{labels, policy_from_pb, policy_to_pb, some_labels, some_time, streamed, time};
use crate::apis::targets::{
    ActiveTarget, DroppedTarget, TargetHealth, TargetStates, Targets, TargetsRequest,
};
use crate::pb::thanos as pb;
use crate::tenant::TenantId;
use pb::targets_request::State;

streamed!(TargetsResponse, targets_response::Targets(TargetDiscovery));

impl From<TargetsRequest> for pb::TargetsRequest {
    fn from(request: TargetsRequest) -> Self {
        let state = match request.state {
            TargetStates::Any => State::Any,
            TargetStates::Active => State::Active,
            TargetStates::Dropped => State::Dropped,
        };
        Self {
            state: state.into(),
            partial_response_strategy: policy_to_pb(request.partial_response),
        }
    }
}

impl TryFrom<pb::TargetsRequest> for TargetsRequest {
    type Error = Error;

    fn try_from(request: pb::TargetsRequest) -> Result<Self> {
        let state = State::try_from(request.state)
            .map_err(|_| Error::invalid(format!("unknown state of targets {}", request.state)))?;
        Ok(Self {
            state: match state {
                State::Any => TargetStates::Any,
                State::Active => TargetStates::Active,
                State::Dropped => TargetStates::Dropped,
            },
            partial_response: policy_from_pb(request.partial_response_strategy),
            tenant: TenantId::default(),
            budget: MemoryBudget::default(),
        })
    }
}

impl From<Targets> for pb::TargetDiscovery {
    fn from(targets: Targets) -> Self {
        let dropped = |target: DroppedTarget| pb::DroppedTarget {
            discovered_labels: some_labels(&target.discovered_labels),
        };
        Self {
            active_targets: targets.active.into_iter().map(Into::into).collect(),
            dropped_targets: targets.dropped.into_iter().map(dropped).collect(),
        }
    }
}

impl From<pb::TargetDiscovery> for Targets {
    fn from(targets: pb::TargetDiscovery) -> Self {
        let dropped = |target: pb::DroppedTarget| DroppedTarget {
            discovered_labels: labels(target.discovered_labels.as_ref()),
        };
        Self {
            active: targets.active_targets.into_iter().map(Into::into).collect(),
            dropped: targets.dropped_targets.into_iter().map(dropped).collect(),
        }
    }
}

impl From<ActiveTarget> for pb::ActiveTarget {
    fn from(target: ActiveTarget) -> Self {
        let health = match target.health {
            TargetHealth::Down => pb::TargetHealth::Down,
            TargetHealth::Up => pb::TargetHealth::Up,
            TargetHealth::Unknown => pb::TargetHealth::Unknown,
        };
        Self {
            discovered_labels: some_labels(&target.discovered_labels),
            labels: some_labels(&target.labels),
            scrape_pool: target.scrape_pool,
            scrape_url: target.scrape_url,
            global_url: target.global_url,
            last_error: target.last_error,
            last_scrape: some_time(target.last_scrape),
            last_scrape_duration: target.last_scrape_secs,
            health: health.into(),
        }
    }
}

impl From<pb::ActiveTarget> for ActiveTarget {
    fn from(target: pb::ActiveTarget) -> Self {
        Self {
            health: match target.health() {
                pb::TargetHealth::Down => TargetHealth::Down,
                pb::TargetHealth::Up => TargetHealth::Up,
                pb::TargetHealth::Unknown => TargetHealth::Unknown,
            },
            discovered_labels: labels(target.discovered_labels.as_ref()),
            labels: labels(target.labels.as_ref()),
            scrape_pool: target.scrape_pool,
            scrape_url: target.scrape_url,
            global_url: target.global_url,
            last_error: target.last_error,
            last_scrape: time(target.last_scrape.as_ref()),
            last_scrape_secs: target.last_scrape_duration,
        }
    }
}
