//! On whose behalf requests ask, as a label of what is counted (Go pkg/extprom/http/instrument_tenant_server.go).

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn};
use thanos_storeapi::tenant::{TENANT_KEY, TenantId};

/// The tenant of a request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TenantOf(pub(super) String);

/// Says of each answer of `router` for which tenant it is: the one that `header`, or `thanos-tenant`, names, else `default`.
pub fn label_tenants(router: Router, header: HeaderName, default: TenantId) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let tenant = tenant_of(request.headers(), &header, &default);
        async move {
            let mut response = next.run(request).await;
            response.extensions_mut().insert(TenantOf(tenant));
            response
        }
    }))
}

/// A name that no tenant may have counts for the default: it is none, and anybody can send it.
fn tenant_of(headers: &HeaderMap, header: &HeaderName, default: &TenantId) -> String {
    let names = [header.as_str(), TENANT_KEY];
    let mut given = names.into_iter().filter_map(|name| headers.get(name));
    let given = given.find(|value| !value.is_empty());
    let given = given.and_then(|value| TenantId::parse(value.to_str().ok()?).ok());
    given.as_ref().unwrap_or(default).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E-55.
    #[test]
    fn the_header_names_the_tenant() {
        let own = HeaderName::from_static("x-scope");
        let default = TenantId::parse("nobody").unwrap();
        for (name, value, expected) in [
            ("x-scope", "a", "a"),
            ("thanos-tenant", "b", "b"),
            ("x-other", "c", "nobody"),
            ("x-scope", "../d", "nobody"),
        ] {
            let headers = [(name.parse().unwrap(), value.parse().unwrap())];
            let headers = headers.into_iter().collect();
            assert_eq!(tenant_of(&headers, &own, &default), expected);
        }
    }
}
