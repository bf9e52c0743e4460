//! On whose behalf requests ask, as a label of what is counted (Go pkg/extprom/http/instrument_tenant_server.go).

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use thanos_core::{Error, Result};
use thanos_storeapi::net::tls::{PeerCertificate, SubjectField};
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

/// Lets the certificate of the client say for whom each request to the API of `router` is, and no header: what `header`
/// and `thanos-tenant` say is replaced. Without the field the request is refused.
///
/// Source: Thanos `pkg/tenancy/tenancy.go`.
pub fn tenants_by_certificate(router: Router, field: SubjectField, header: HeaderName) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        let named = match request.uri().path().starts_with("/api/") {
            true => name_tenant(&mut request, field, &header),
            false => Ok(()),
        };
        async move {
            match named {
                Ok(()) => next.run(request).await,
                Err(error) => refused(&error),
            }
        }
    }))
}

fn name_tenant(request: &mut Request, field: SubjectField, header: &HeaderName) -> Result<()> {
    let certificate = request.extensions().get::<PeerCertificate>();
    let Some(certificate) = certificate else {
        let name = field.as_str();
        let message = format!("could not get {name} field from client cert: there is none");
        return Err(Error::invalid(message));
    };
    let tenant = certificate.tenant(field)?;
    let value = HeaderValue::try_from(tenant.as_str())
        .map_err(|error| Error::invalid(format!("tenant name not valid: {error}")))?;
    let headers = request.headers_mut();
    headers.remove(header);
    headers.insert(HeaderName::from_static(TENANT_KEY), value);
    Ok(())
}

fn refused(error: &Error) -> Response {
    let body = serde_json::json!({
        "status": "error",
        "errorType": "bad_data",
        "error": error.to_string(),
    });
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
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
