//! The statistics of many databases.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;

use super::Fanout;
use crate::apis::Answer;
use crate::apis::status::{StatusApi, StatusRequest, TenantStatistics, add_tenants};
use crate::tenancy::enforced;

#[async_trait]
impl StatusApi for Fanout {
    async fn tsdb_statistics(
        &self,
        mut request: StatusRequest,
    ) -> Result<Answer<TenantStatistics>> {
        request.budget = self.request_budget();
        let policy = request.partial_response;
        let tenant = request.tenant.clone();
        if let Some(label) = &self.options.enforced_label {
            request.matchers = enforced(request.matchers, label, &tenant);
        }
        let call = |endpoint: &crate::proxy::Endpoint| {
            let api = Arc::clone(endpoint.apis().status.as_ref()?);
            let request = request.clone();
            let call = async move { api.tsdb_statistics(request).await };
            Some(Box::pin(call) as _)
        };
        let what = "fetching tsdb statistics";
        let answer: Answer<Vec<TenantStatistics>> =
            self.ask(what, policy, |offers| offers.status, call).await?;
        Ok(answer.map(|answers| {
            let mut all = TenantStatistics::new();
            let is_enforced = self.options.enforced_label.is_some();
            for statistics in answers {
                add_tenants(&mut all, statistics);
            }
            if is_enforced {
                // Those of a Prometheus have no name; its external labels match.
                all.retain(|name, _| name.is_empty() || name == tenant.as_str());
            }
            all
        }))
    }
}
