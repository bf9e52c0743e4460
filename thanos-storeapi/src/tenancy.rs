//! A store of which every tenant sees its own part: `--query.enforce-tenancy` for those who ask over gRPC.
//!
//! A series is a tenant's if its label says so. Whatever a request says of that label is replaced by the tenant in its
//! metadata, as Thanos does it in the expressions of HTTP requests. COMPAT: Thanos answers gRPC requests with the series of
//! all tenants; here nobody gets at more over one port than over the other.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Matcher;

use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, SourcePlan,
    Store, StoreInfo,
};
use crate::tenant::TenantId;

/// Returns `matchers` with the tenant in place of all that they say of `label`.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Matcher;
/// use thanos_storeapi::tenancy::enforced;
/// use thanos_storeapi::tenant::TenantId;
///
/// let asked = vec![Matcher::equal("a", "1"), Matcher::equal("tenant_id", "other")];
/// let me = TenantId::parse("me")?;
/// let mine = enforced(asked, "tenant_id", &me);
/// assert_eq!(mine, [Matcher::equal("a", "1"), Matcher::equal("tenant_id", "me")]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
pub fn enforced(mut matchers: Vec<Matcher>, label: &str, tenant: &TenantId) -> Vec<Matcher> {
    matchers.retain(|matcher| matcher.name() != label);
    matchers.push(Matcher::equal(label, tenant.as_str()));
    matchers
}

/// A store that answers each request with the series of its tenant.
#[derive(Debug)]
pub struct TenantStore {
    store: Arc<dyn Store>,
    label: String,
}

impl TenantStore {
    /// Returns `store`, whose series belong to the tenant that `label` names.
    pub fn new(store: Arc<dyn Store>, label: impl Into<String>) -> Self {
        let label = label.into();
        Self { store, label }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for TenantStore {
    async fn info(&self) -> Result<StoreInfo> {
        self.store.info().await
    }

    async fn series(&self, mut request: SeriesRequest) -> Result<SeriesStream> {
        if request.matchers.is_empty() {
            return Err(Error::invalid("no matchers specified"));
        }
        request.matchers = enforced(request.matchers, &self.label, &request.tenant);
        self.store.series(request).await
    }

    async fn sources(&self, request: &SeriesRequest) -> Result<Vec<SourcePlan>> {
        let matchers = enforced(request.matchers.clone(), &self.label, &request.tenant);
        let request = SeriesRequest {
            matchers,
            ..request.clone()
        };
        // Why others are not asked tells what they have.
        Ok(SourcePlan::asked_of(self.store.sources(&request).await?))
    }

    async fn label_names(&self, mut request: LabelNamesRequest) -> Result<LabelsResponse> {
        request.matchers = enforced(request.matchers, &self.label, &request.tenant);
        self.store.label_names(request).await
    }

    async fn label_values(&self, mut request: LabelValuesRequest) -> Result<LabelsResponse> {
        request.matchers = enforced(request.matchers, &self.label, &request.tenant);
        self.store.label_values(request).await
    }
}
