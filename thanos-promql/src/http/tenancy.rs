//! On whose behalf a request asks: the tenant in its headers.

use axum::http::HeaderMap;
use thanos_storeapi::tenant::{TENANT_KEY, TenantId};

use super::answer::Failure;

/// How a request says on whose behalf it asks (Go pkg/tenancy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenancy {
    /// The header with the name of the tenant (`--query.tenant-header`). Without it `thanos-tenant` counts, which Thanos'
    /// own components send.
    pub header: String,
    /// The tenant of requests that name none (`--query.default-tenant-id`).
    pub default_tenant: TenantId,
}

impl Default for Tenancy {
    fn default() -> Self {
        Self {
            header: TENANT_KEY.to_owned(),
            default_tenant: TenantId::default(),
        }
    }
}

impl Tenancy {
    /// Returns the tenant that `headers` name.
    ///
    /// An empty name is none. A name that no tenant may have is an error and not the default tenant, whose data the
    /// request must not see.
    pub(super) fn tenant_of(&self, headers: &HeaderMap) -> Result<TenantId, Failure> {
        let given = [self.header.as_str(), TENANT_KEY]
            .into_iter()
            .find_map(|name| {
                let mut values = headers
                    .get_all(name)
                    .iter()
                    .filter(|value| !value.is_empty());
                values.next().map(|first| (first, values))
            });
        let Some((value, mut others)) = given else {
            return Ok(self.default_tenant.clone());
        };
        if others.any(|other| other != value) {
            // Whoever stands in front of us may have added a second one; nobody can tell which is the sender's own.
            return Err(Failure::bad_data(
                "tenant name not valid: the request names several tenants",
            ));
        }
        let not_valid = |what: &dyn std::fmt::Display| {
            Failure::bad_data(format!("tenant name not valid: {what}"))
        };
        let name = value.to_str().map_err(|error| not_valid(&error))?;
        TenantId::parse(name).map_err(|error| not_valid(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(header: &str, given: &[(&'static str, &'static str)]) -> Option<String> {
        let tenancy = Tenancy {
            header: header.to_owned(),
            default_tenant: TenantId::parse("nobody").unwrap(),
        };
        let headers = given
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name;
            all.append(name, value);
        }
        let headers = all;
        let tenant = tenancy.tenant_of(&headers).ok()?;
        Some(tenant.as_str().to_owned())
    }

    #[test]
    fn the_own_header_counts_before_that_of_thanos_and_the_default() {
        for (header, given, expected) in [
            ("X-Scope", &[][..], Some("nobody")),
            (
                "X-Scope",
                &[("x-scope", "a"), ("thanos-tenant", "b")],
                Some("a"),
            ),
            (
                "X-Scope",
                &[("x-scope", ""), ("thanos-tenant", "b")],
                Some("b"),
            ),
            ("X-Scope", &[("thanos-tenant", "b")], Some("b")),
            ("THANOS-TENANT", &[("thanos-tenant", "b")], Some("b")),
            ("X-Scope", &[("x-scope", "../a")], None),
            ("X-Scope", &[("x-scope", "a"), ("x-scope", "b")], None),
            ("X-Scope", &[("x-scope", "a"), ("x-scope", "a")], Some("a")),
            ("X-Scope", &[("x-scope", ""), ("x-scope", "a")], Some("a")),
        ] {
            assert_eq!(
                tenant(header, given).as_deref(),
                expected,
                "{header} {given:?}"
            );
        }
    }
}
