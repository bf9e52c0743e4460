use std::time::Instant;

use axum::routing::get;
use thanos_core::testkit::TempDir;
use tower::ServiceExt as _;

use super::*;

/// The hash of `secret` that bcrypt's lowest cost makes.
fn hash() -> String {
    bcrypt::hash("secret", 4).unwrap()
}

fn web(dir: &TempDir, yaml: &str) -> Result<Web> {
    let path = dir.path().join("web.yml");
    std::fs::write(&path, yaml).unwrap();
    Web::open(&path.display().to_string())
}

fn guarded(web: &Web) -> Router {
    web.guard(Router::new().route("/", get(async || "in")))
}

async fn ask(router: &Router, authorization: Option<&str>) -> Response {
    let mut request = Request::get("/");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = format!("{name}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

/// only users with their password are let in, and everybody else is told how to ask.
#[tokio::test]
async fn users_are_let_in_with_their_password() {
    let dir = TempDir::new("web");
    let web = web(
        &dir,
        &format!("basic_auth_users:\n  alice: {0}\n  bob: {0}\n", hash()),
    )
    .unwrap();
    let router = guarded(&web);
    for (authorization, status) in [
        (Some(basic("alice", "secret")), 200),
        (Some(basic("alice", "secret")), 200),
        (Some(basic("bob", "secret").replace("Basic", "bAsIc")), 200),
        (Some(basic("alice", "Secret")), 401),
        (Some(basic("alice", "")), 401),
        (Some(basic("alice", &"secret".repeat(1000))), 401),
        (Some(basic("", "secret")), 401),
        (Some(basic("eve", "secret")), 401),
        (Some("Basic !".to_owned()), 401),
        (Some("Bearer secret".to_owned()), 401),
        (None, 401),
    ] {
        let answer = ask(&router, authorization.as_deref()).await;
        assert_eq!(answer.status().as_u16(), status, "{authorization:?}");
        let asks = answer.headers().get(header::WWW_AUTHENTICATE);
        assert_eq!(asks.is_some_and(|asks| asks == "Basic"), status == 401);
    }
    let shown = format!("{web:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("$2"),
        "{shown}"
    );
}

/// the hash is computed once for a right password, and as long for a user that there is not as for a wrong password.
#[tokio::test]
async fn a_known_password_is_fast_and_an_unknown_user_is_not() {
    let dir = TempDir::new("web");
    let hash = bcrypt::hash("secret", 8).unwrap();
    let web = web(&dir, &format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    let router = guarded(&web);
    let time = async |name: &str, password: &str, count: u32| {
        let started = Instant::now();
        for _ in 0..count {
            ask(&router, Some(&basic(name, password))).await;
        }
        started.elapsed() / count
    };
    let first = time("alice", "secret", 1).await;
    let known = time("alice", "secret", 20).await;
    let wrong = time("alice", "wrong", 5).await;
    let unknown = time("eve", "wrong", 5).await;
    assert!(known * 5 < first, "{known:?} {first:?}");
    assert!(
        unknown * 3 > wrong && wrong * 3 > unknown,
        "{unknown:?} {wrong:?}"
    );
}

/// what is written into the file counts from the next request on, and what is wrong in it lets nobody in.
#[tokio::test]
async fn a_changed_file_counts_at_once() {
    let dir = TempDir::new("web");
    let yaml = |name: &str| format!("basic_auth_users:\n  {name}: {}\n", hash());
    let opened = web(&dir, &yaml("alice")).unwrap();
    let router = guarded(&opened);
    let status = async |name: &str| {
        let answer = ask(&router, Some(&basic(name, "secret"))).await;
        answer.status().as_u16()
    };
    assert_eq!(status("alice").await, 200);
    let path = dir.path().join("web.yml");
    std::fs::write(&path, yaml("robert")).unwrap();
    assert_eq!((status("alice").await, status("robert").await), (401, 200));
    std::fs::write(&path, "basic_auth_user: {}\n").unwrap();
    assert_eq!(status("robert").await, 500);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(status("robert").await, 500);
    std::fs::write(&path, yaml("caroline")).unwrap();
    assert_eq!(status("caroline").await, 200);
}

#[tokio::test]
async fn configured_headers_are_on_every_answer() {
    let dir = TempDir::new("web");
    let yaml = format!(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=9\n\
         basic_auth_users:\n  alice: {}\n",
        hash()
    );
    let router = guarded(&web(&dir, &yaml).unwrap());
    for authorization in [None, Some(basic("alice", "secret"))] {
        let answer = ask(&router, authorization.as_deref()).await;
        assert_eq!(answer.headers()["x-frame-options"], "deny");
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=9");
    }
}

#[tokio::test]
async fn so_many_requests_pass_and_no_more() {
    let dir = TempDir::new("web");
    let router = guarded(&web(&dir, "rate_limit: {burst: 2, interval: 1h}\n").unwrap());
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&router, None).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
}

/// each mistake has its message at the start, and no secret is in it.
#[test]
fn mistakes_are_found_at_the_start() {
    let dir = TempDir::new("web");
    for (yaml, expected) in [
        (
            "tls_server_config: {cert_file: a.pem}",
            "missing one of key or key_file",
        ),
        (
            "tls_server_config: {key_file: a.pem}",
            "missing one of cert or cert_file",
        ),
        (
            "tls_server_config: {client_ca_file: a.pem}",
            "missing one of cert or cert_file",
        ),
        (
            "tls_server_config: {cert_file: a.pem, key_file: b.pem}",
            "a.pem",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: Maybe}",
            "invalid ClientAuth: Maybe",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
            "client CA's have been configured without a Client Auth Policy",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS14}",
            "invalid TLS version: TLS14",
        ),
        ("tls_server_config: {certs: a}", "certs"),
        (
            "http_server_config: {headers: {X-Other: a}}",
            "HTTP header \"X-Other\" can not be configured",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: maybe}}",
            "invalid value for X-Frame-Options",
        ),
        (
            "basic_auth_users: {alice: canary}",
            "basic_auth_users: alice: ",
        ),
        ("basic_auth_users: [canary]", "web configuration: "),
        ("rate_limit: {interval: often}", "rate_limit.interval"),
        ("- canary", "web configuration: "),
    ] {
        let error = web(&dir, yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    let missing = Web::open("/no/such/web.yml").unwrap_err();
    assert!(
        missing.to_string().contains("/no/such/web.yml"),
        "{missing}"
    );
    for fine in [
        "",
        "{}",
        "tls_server_config: {}",
        "http_server_config: {http2: false}",
    ] {
        web(&dir, fine).unwrap();
    }
}
