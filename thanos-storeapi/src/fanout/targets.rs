//! Targets of many Prometheus servers.
//!
//! Source: Thanos' `pkg/targets/targets.go` and `pkg/targets/targetspb/custom.go`.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;

use super::Fanout;
use crate::apis::Answer;
use crate::apis::targets::{ActiveTarget, TargetHealth, Targets, TargetsApi, TargetsRequest};

#[async_trait]
impl TargetsApi for Fanout {
    async fn targets(&self, mut request: TargetsRequest) -> Result<Answer<Targets>> {
        request.budget = self.request_budget();
        let policy = request.partial_response;
        let tenant = request.tenant.clone();
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().targets.as_ref()?);
            let request = request.clone();
            let call = async move { api.targets(request).await };
            Some(Box::pin(call) as _)
        };
        let what = "fetching targets";
        let answer: Answer<Vec<Targets>> = self
            .ask(what, policy, |offers| offers.targets, call)
            .await?;
        Ok(answer.map(|answers| {
            let mut all = Targets::default();
            for targets in answers {
                let (active, dropped) = (targets.active.into_iter(), targets.dropped.into_iter());
                all.active
                    .extend(active.filter(|target| self.may_see(&tenant, &target.labels)));
                all.dropped.extend(
                    dropped.filter(|target| self.may_see(&tenant, &target.discovered_labels)),
                );
            }
            self.join_replicas(&mut all);
            all
        }))
    }
}

impl Fanout {
    fn join_replicas(&self, targets: &mut Targets) {
        for target in &mut targets.active {
            target.labels = self.without_replicas(&target.labels);
            target.discovered_labels = self.without_replicas(&target.discovered_labels);
        }
        let active = &mut targets.active;
        active.sort_by(|a, b| compare(a, b).then_with(|| prefer(a).cmp(&prefer(b))));
        active.dedup_by(|b, a| compare(a, b).is_eq());
        for target in &mut targets.dropped {
            target.discovered_labels = self.without_replicas(&target.discovered_labels);
        }
        let dropped = &mut targets.dropped;
        dropped.sort_by(|a, b| a.discovered_labels.cmp(&b.discovered_labels));
        dropped.dedup_by(|b, a| a.discovered_labels == b.discovered_labels);
    }
}

fn compare(a: &ActiveTarget, b: &ActiveTarget) -> Ordering {
    let key = |target: &ActiveTarget| {
        let url = target.scrape_url.clone();
        (url, target.scrape_pool.clone())
    };
    key(a)
        .cmp(&key(b))
        .then_with(|| a.discovered_labels.cmp(&b.discovered_labels))
        .then_with(|| a.labels.cmp(&b.labels))
}

/// The least of equal targets is kept: one that somebody cannot scrape, and then the one that was scraped last.
/// COMPAT: Thanos shows the unhealthy one, too.
fn prefer(target: &ActiveTarget) -> impl Ord + use<> {
    let health = match target.health {
        TargetHealth::Down => 0,
        TargetHealth::Up => 1,
        TargetHealth::Unknown => 2,
    };
    let said = (target.last_error.clone(), target.global_url.clone());
    (health, Reverse(target.last_scrape), said)
}
