//! What of an answer beside series is a tenant's: that whose labels name it, external labels among them.
//!
//! COMPAT: Thanos enforces tenancy on statistics alone, and shows rules, targets, metadata and exemplars to everybody.

use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;

use super::Fanout;
use crate::proxy::EndpointInfo;
use crate::tenant::TenantId;

/// Whether what a component says without labels may be told to a tenant.
pub(super) enum Whose {
    /// All of its data is the tenant's.
    Own,
    /// None of it is.
    Foreign,
    /// Nobody can tell.
    Mixed,
}

impl Fanout {
    /// Reports whether `tenant` may see what has `labels`.
    pub(super) fn may_see(&self, tenant: &TenantId, labels: &Labels) -> bool {
        let label = self.options.enforced_label.as_ref();
        label.is_none_or(|label| is_of(labels, label, tenant))
    }

    /// Returns whose data a component has.
    pub(super) fn whose(&self, tenant: &TenantId, info: &EndpointInfo) -> Whose {
        let Some(label) = &self.options.enforced_label else {
            return Whose::Own;
        };
        let Some(info) = info.known() else {
            return Whose::Mixed;
        };
        let mut sets = info.tsdbs.iter().map(|tsdb| &tsdb.external_labels);
        let own = sets.clone().filter(|set| is_of(set, label, tenant)).count();
        match own {
            // What names no database may have any.
            0 if info.tsdbs.is_empty() => Whose::Mixed,
            0 if sets.all(|set| set.get(label).is_some()) => Whose::Foreign,
            own if own == info.tsdbs.len() => Whose::Own,
            _ => Whose::Mixed,
        }
    }
}

fn is_of(labels: &Labels, label: &str, tenant: &TenantId) -> bool {
    labels
        .get(label)
        .is_some_and(|value| value == tenant.as_str())
}

/// Returns the refusal of what nobody can tell the owner of.
pub(super) fn refusal(tenant: &TenantId) -> Result<()> {
    let text =
        format!("tenancy is enforced, and not all of this component's data is of tenant {tenant}");
    Err(Error::invalid(text))
}
