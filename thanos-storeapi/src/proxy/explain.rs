//! Whom a request would ask, and why not the others.

use futures::future::join_all;
use thanos_core::error::Result;
use thanos_core::query::SourcePlan;
use thanos_core::time::TimeRange;

use super::timeout::within;
use super::{Decision, Proxy, SkipReason, forwarded};
use crate::label_edit::strip_matchers;
use crate::store::SeriesRequest;

/// Returns the plans of all stores, and of what there should be and is not.
pub(super) async fn sources(proxy: &Proxy, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
    let gaps = proxy.gaps().into_iter();
    let mut plans: Vec<SourcePlan> = gaps
        .map(|gap| SourcePlan::skipped(gap.source, gap.reason))
        .collect();
    let selector = &proxy.options.selector_labels;
    let Some(matchers) = strip_matchers(&request.matchers, selector) else {
        let reason = "selector labels do not match request label matchers";
        let endpoints = proxy.endpoints.current();
        let all = endpoints.iter();
        plans.extend(all.map(|endpoint| SourcePlan::skipped(endpoint.name(), reason)));
        return Ok(plans);
    };
    let request = SeriesRequest {
        matchers,
        ..request.clone()
    };
    let decisions = proxy.plan(request.range, &request.matchers).await;
    let of_stores = decisions
        .iter()
        .map(|decision| of_store(proxy, decision, &request));
    for plan in join_all(of_stores).await {
        plans.push(plan?);
    }
    Ok(plans)
}

async fn of_store(
    proxy: &Proxy,
    decision: &Decision,
    request: &SeriesRequest,
) -> Result<SourcePlan> {
    let name = decision.endpoint.name();
    if let Some(reason) = decision.skipped {
        let reason = match &decision.missing {
            Some(missing) => missing.reason.clone(),
            None => detailed(reason, decision, request),
        };
        return Ok(SourcePlan::skipped(name, reason));
    }
    let mut parts = Vec::new();
    for matchers in decision.requests(request.range, &request.matchers) {
        let asked = forwarded(request, decision, matchers);
        let timeout = proxy.options.info_timeout;
        // Who takes too long to tell is asked all the same.
        if let Ok(plans) = within(timeout, decision.endpoint.store().sources(&asked)).await {
            parts.extend(plans?);
        }
    }
    Ok(SourcePlan::asked(name).with_parts(parts))
}

/// Returns the reason with what the store has and what the request wants.
fn detailed(reason: SkipReason, decision: &Decision, request: &SeriesRequest) -> String {
    let Some(info) = decision.info.known() else {
        return reason.to_string();
    };
    let times = |range: TimeRange| format!("[{},{}]", range.min, range.max);
    match reason {
        SkipReason::TimeRange => {
            let own = info.time_range().map(times).unwrap_or_default();
            format!(
                "{reason}: {}. Store time ranges: {own}",
                times(request.range)
            )
        }
        SkipReason::ExternalLabels
        | SkipReason::TimeRangeAndExternalLabels
        | SkipReason::NotSelected => {
            let mut sets: Vec<String> = info
                .tsdbs
                .iter()
                .map(|tsdb| tsdb.external_labels.to_string())
                .collect();
            sets.dedup();
            format!("{reason}: {}", sets.join(" "))
        }
        SkipReason::Address | SkipReason::NoStore | SkipReason::Unhealthy => reason.to_string(),
    }
}
