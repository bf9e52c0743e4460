//! The page of a role and where it is: routes, prefixes of paths, and what browsers may do with it.
//!
//! Source: Go pkg/ui (ui.go) and cmd/thanos/query.go.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use thanos_core::{Error, Result};
use tower::Service;

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// The page loads its own files and asks its own server, and is in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'self'; form-action 'self'; frame-ancestors 'none'";
/// The paths that have the page.
const PATHS: [&str; 14] = [
    "/",
    "/alerts",
    "/blocks",
    "/config",
    "/flags",
    "/global",
    "/graph",
    "/loaded",
    "/rules",
    "/service-discovery",
    "/status",
    "/stores",
    "/targets",
    "/tsdb-status",
];

/// Where browsers find the API and the page.
#[derive(Debug, Clone, Default, Args)]
pub struct PrefixFlags {
    /// Prefix for API and UI endpoints. This allows thanos UI to be served on a sub-path. Defaults to the value of
    /// --web.external-prefix.
    #[arg(
        id = "web.route-prefix",
        long = "web.route-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    route_prefix: String,
    /// Static prefix for all HTML links and redirect URLs, for reverse proxies that strip a sub-path. Actual endpoints are
    /// still served on / or the web.route-prefix.
    #[arg(
        id = "web.external-prefix",
        long = "web.external-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    external_prefix: String,
    /// Name of HTTP request header used for dynamic prefixing of UI links and redirects; ignored with --web.external-prefix.
    /// Name one only if the proxy in front sets it anew, such as X-Forwarded-Prefix of Traefik.
    #[arg(
        id = "web.prefix-header",
        long = "web.prefix-header",
        value_name = "HEADER",
        default_value = ""
    )]
    prefix_header: String,
    /// The external Thanos Query URL that the page's links to queries lead to; the querier itself if empty.
    #[arg(
        id = "alert.query-url",
        long = "alert.query-url",
        value_name = "URL",
        default_value = ""
    )]
    query_url: String,
}

/// What a role answers over HTTP beside probes and metrics.
#[derive(Debug, Default)]
pub struct Site {
    /// Its paths, without the prefix.
    pub router: Router,
    /// What comes before them.
    pub prefixes: Prefixes,
}

impl From<Router> for Site {
    fn from(router: Router) -> Self {
        Self {
            router,
            prefixes: Prefixes::default(),
        }
    }
}

/// What comes before paths.
#[derive(Debug, Clone, Default)]
pub struct Prefixes {
    /// Before the paths that are served; no slash at the end.
    route: String,
    /// Before the paths of links.
    external: String,
    header: Option<HeaderName>,
    /// Where links to queries lead; empty for where the page is.
    query_url: String,
}

impl PrefixFlags {
    /// Returns the prefixes.
    ///
    /// # Errors
    ///
    /// `Invalid` for prefixes that are no paths and a header that is none.
    pub fn prefixes(&self) -> Result<Prefixes> {
        let prefix = |flag: &str, text: &str| {
            sanitized(text).ok_or_else(|| {
                Error::invalid(format!("--web.{flag}: {text:?} is no path for a prefix"))
            })
        };
        let external = prefix("external-prefix", &self.external_prefix)?;
        let route = match self.route_prefix.as_str() {
            "" => external.clone(),
            own => prefix("route-prefix", own)?,
        };
        if route != external {
            tracing::warn!(
                "different values for --web.route-prefix and --web.external-prefix detected, web UI may not work without \
                 a reverse-proxy."
            );
        }
        let header = Some(&self.prefix_header).filter(|name| !name.is_empty());
        let header = header.map(|name| {
            HeaderName::try_from(name.as_str())
                .map_err(|error| Error::invalid(format!("--web.prefix-header: {error}")))
        });
        let query_url = self.query_url.trim_end_matches('/');
        if !query_url.is_empty() && !is_url(query_url) {
            return Err(Error::invalid(format!(
                "--alert.query-url: {query_url:?} is no URL of a querier"
            )));
        }
        Ok(Prefixes {
            query_url: query_url.to_owned(),
            route,
            external,
            header: header.transpose()?,
        })
    }
}

impl Prefixes {
    /// Returns what comes before the links of the answer to a request with `headers`.
    fn of_links(&self, headers: &HeaderMap) -> String {
        if !self.external.is_empty() {
            return self.external.clone();
        }
        let given = self.header.as_ref().and_then(|name| headers.get(name));
        let given = given.and_then(|value| sanitized(value.to_str().ok()?));
        given.unwrap_or_else(|| self.route.clone())
    }

    /// Serves `router` under the prefix of routes, and sends those who ask for `/` there.
    pub fn serve(&self, router: Router) -> Router {
        if self.route.is_empty() {
            return router;
        }
        let prefixes = self.clone();
        Router::new().fallback(move |request: Request| {
            let (prefixes, mut router) = (prefixes.clone(), router.clone());
            async move {
                let path = request.uri().path();
                if path == "/" || path == prefixes.route {
                    let location = format!("{}/", prefixes.of_links(request.headers()));
                    return (StatusCode::FOUND, [(LOCATION, location)]).into_response();
                }
                match without(request, &prefixes.route) {
                    Some(request) => match router.call(request).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    },
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        })
    }

    /// Returns the page with its files. `fill` makes it from its text, which has a place for links already.
    pub fn page<F>(&self, fill: impl Fn(String) -> F + Clone + Send + Sync + 'static) -> Router
    where
        F: Future<Output = String> + Send + 'static,
    {
        let mut router = Router::new()
            .route("/static/page.css", file("text/css; charset=utf-8", STYLE))
            .route(
                "/static/page.js",
                file("text/javascript; charset=utf-8", SCRIPT),
            );
        for path in PATHS {
            let (prefixes, fill) = (self.clone(), fill.clone());
            let page = get(move |headers: HeaderMap| {
                let text = PAGE.replace("@PREFIX@", &prefixes.of_links(&headers));
                let text = text.replace("@QUERY_URL@", &prefixes.query_url);
                let filled = fill(text);
                async move { answer("text/html; charset=utf-8", filled.await) }
            });
            router = router.route(path, page);
        }
        router
    }
}

fn file(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter {
    get(move || std::future::ready(answer(kind, text.to_owned())))
}

fn answer(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Reports whether `text` is an address of the web that is safe in HTML.
fn is_url(text: &str) -> bool {
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    is_web
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !"\"'<>&`".contains(c))
}

/// Returns the path of `prefix` without slashes at its end, or twice anywhere; `None` when it is none that is safe in HTML
/// and in a header. Scheme and host are cut, so that nobody is sent to another site.
fn sanitized(prefix: &str) -> Option<String> {
    let path = match prefix.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => prefix,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%".contains(c);
    if !path.chars().all(is_plain) {
        return None;
    }
    let mut clean = String::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            return None;
        }
        clean.push('/');
        clean.push_str(part);
    }
    Some(clean)
}

/// Returns the request as if there were no prefix, unless it does not begin with it.
fn without(mut request: Request, prefix: &str) -> Option<Request> {
    let wanted = request.uri().path_and_query()?.as_str();
    let rest = wanted
        .strip_prefix(prefix)
        .filter(|rest| rest.starts_with('/'))?;
    *request.uri_mut() = rest.parse::<Uri>().ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// what a proxy says is a path, and nothing else.
    #[test]
    fn prefixes_are_paths() {
        for (given, expected) in [
            ("", Some("")),
            ("/", Some("")),
            ("thanos", Some("/thanos")),
            ("//a//b/", Some("/a/b")),
            ("https://evil.example/x", Some("/x")),
            ("//evil.example", Some("/evil.example")),
            ("/../x", None),
            ("/\"><script>", None),
            ("/a b", None),
        ] {
            assert_eq!(sanitized(given).as_deref(), expected, "{given}");
        }
    }
}
