use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thanos_core::ErrorKind;
use thanos_core::budget::MemoryBudget;
use thanos_core::testkit::TempDir;

use super::*;
use crate::net::tls::testkit::Authority;
use crate::testkit::http::{Asked, Ending, HttpFake, Reply};

fn client(yaml: &str) -> HttpClient {
    let config = HttpClientConfig::from_yaml(yaml).unwrap();
    HttpClient::new(&config, "test", HttpClientMetrics::default()).unwrap()
}

async fn asked_by(client: &HttpClient, fake: &HttpFake) -> Asked {
    let answer = client.send(HttpRequest::get(fake.url())).await.unwrap();
    assert_eq!(answer.status(), 200);
    let budget = MemoryBudget::unlimited();
    let (body, _lease) = answer.collect(&budget).await.unwrap();
    assert!(!body.is_empty());
    fake.asked().pop().unwrap()
}

/// SC-34: what credentials look like on the wire.
#[tokio::test]
async fn credentials_are_sent() {
    let fake = HttpFake::start(|_| Reply::data("1")).await;
    let dir = TempDir::new("credentials");
    let file = dir.path().join("secret");
    std::fs::write(&file, "from-file\n").unwrap();
    let path = file.display();
    for (yaml, sent) in [
        (String::new(), None),
        (
            "basic_auth: {username: ann, password: pw}".into(),
            Some("Basic YW5uOnB3"),
        ),
        (
            format!("basic_auth: {{username: ann, password_file: {path}}}"),
            Some("Basic YW5uOmZyb20tZmlsZQ=="),
        ),
        ("bearer_token: abc".into(), Some("Bearer abc")),
        (
            format!("bearer_token_file: {path}"),
            Some("Bearer from-file"),
        ),
        (
            "authorization: {credentials: abc}".into(),
            Some("Bearer abc"),
        ),
        (
            format!("authorization: {{type: Token, credentials_file: {path}}}"),
            Some("Token from-file"),
        ),
    ] {
        let asked = asked_by(&client(&yaml), &fake).await;
        assert_eq!(asked.header("authorization"), sent, "{yaml}");
    }
}

/// SC-34: a token that is rotated is used at once; one that is gone is an error that names the file.
#[tokio::test]
async fn files_of_secrets_are_read_for_each_request() {
    let fake = HttpFake::start(|_| Reply::data("1")).await;
    let dir = TempDir::new("credentials");
    let file = dir.path().join("token");
    let client = client(&format!("bearer_token_file: {}", file.display()));
    for token in ["one", "two"] {
        std::fs::write(&file, token).unwrap();
        let asked = asked_by(&client, &fake).await;
        assert_eq!(
            asked.header("authorization").unwrap(),
            format!("Bearer {token}")
        );
    }
    std::fs::remove_file(&file).unwrap();
    let error = client.send(HttpRequest::get(fake.url())).await.unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    assert!(fake.asked().is_empty(), "nothing is sent without the token");
}

/// X-55: who asks, unless the request says it.
#[tokio::test]
async fn clients_name_themselves() {
    let fake = HttpFake::start(|_| Reply::data("1")).await;
    let client = client("");
    let asked = asked_by(&client, &fake).await;
    assert_eq!(asked.header("user-agent"), Some(THANOS_USER_AGENT));
    let request = HttpRequest::get(fake.url()).header("User-Agent", "other");
    client.send(request).await.unwrap();
    assert_eq!(fake.asked()[0].header("user-agent"), Some("other"));
}

/// SC-34: both sides show certificates, and nothing is sent to whom the authority does not know.
#[tokio::test]
async fn encrypted_connections_are_made_as_configured() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut server = ours.server(&ours.issue("server"));
    server.client_authorities = Some(ours.pem.clone());
    let fake =
        HttpFake::start_with(server.config(&["http/1.1"]).unwrap(), |_| Reply::data("1")).await;
    let url = || format!("https://localhost:{}", fake.address.port());
    let files = ours.issue("client");
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let path = |authority: &Authority| match &authority.pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => panic!("the authority is not a file"),
    };
    let shown = format!("cert_file: {certificate}, key_file: {key}");
    for (tls, is_made) in [
        (format!("ca_file: {}, {shown}", path(&ours)), true),
        (format!("ca_file: {}, {shown}", path(&theirs)), false),
        (format!("ca_file: {}", path(&ours)), false),
        (format!("insecure_skip_verify: true, {shown}"), true),
        (
            format!("ca_file: {}, server_name: other, {shown}", path(&ours)),
            false,
        ),
    ] {
        let client = client(&format!("tls_config: {{{tls}}}"));
        let answer = client.send(HttpRequest::get(url())).await;
        assert_eq!(answer.is_ok(), is_made, "{tls}: {answer:?}");
        assert_eq!(fake.asked().len(), usize::from(is_made), "{tls}");
    }
}

#[tokio::test]
async fn redirects_are_followed_unless_told_otherwise() {
    let fake = HttpFake::start(|asked| match asked.path.as_str() {
        "/" => Reply {
            location: Some("/there"),
            ..Reply::status(307, "")
        },
        _ => Reply::data("1"),
    })
    .await;
    for (yaml, status) in [("", 200), ("follow_redirects: false", 307)] {
        let answer = client(yaml).send(HttpRequest::get(fake.url())).await;
        assert_eq!(answer.unwrap().status(), status, "{yaml}");
    }
}

/// SC-34: through a proxy, which sees the whole address.
#[tokio::test]
async fn a_proxy_is_asked_instead() {
    let proxy = HttpFake::start(|_| Reply::data("1")).await;
    let client = client(&format!("proxy_url: {}", proxy.url()));
    let request = HttpRequest::get("http://prometheus.invalid:9090/-/ready");
    assert_eq!(client.send(request).await.unwrap().status(), 200);
    assert_eq!(
        proxy.asked()[0].path,
        "http://prometheus.invalid:9090/-/ready"
    );
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:pw@{}", listener.local_addr().unwrap());
    let client = client("transport_config: {response_header_timeout: 50ms}");
    let error = client.send(HttpRequest::get(url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("no answer within 50ms"),
        "{error}"
    );
    assert!(!error.to_string().contains("pw"), "{error}");
}

/// SC-34: a request beyond the allowed number waits until the body of another has ended.
#[tokio::test]
async fn requests_wait_for_a_place() {
    let fake = HttpFake::start(|_| Reply {
        ending: Ending::Never,
        ..Reply::data("1")
    })
    .await;
    let client = client("transport_config: {max_conns_per_host: 1}");
    let first = client.send(HttpRequest::get(fake.url())).await.unwrap();
    let second = client.send(HttpRequest::get(fake.url()));
    let second = timeout(Duration::from_millis(100), second);
    assert!(second.await.is_err(), "there was a place");
    drop(first);
    client.send(HttpRequest::get(fake.url())).await.unwrap();
}

/// X-55: what is counted of requests.
#[tokio::test]
async fn requests_are_counted_by_client() {
    let fake = HttpFake::start(|_| Reply::status(404, "")).await;
    let metrics = HttpClientMetrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let client = HttpClient::new(&HttpClientConfig::default(), "abc", metrics).unwrap();
    let answer = client.send(HttpRequest::get(fake.url())).await.unwrap();
    assert!(!answer.is_success());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        r#"http_client_request_total{client="abc",code="404",method="get"} 1"#,
        r#"http_client_in_flight_requests{client="abc"} 0"#,
        r#"http_client_request_duration_seconds_count{client="abc",code="404",method="get"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn unusable_settings_are_refused() {
    for yaml in ["proxy_url: ':::'", "tls_config: {ca_file: /nowhere/ca.pem}"] {
        let config = HttpClientConfig::from_yaml(yaml).unwrap();
        let made = HttpClient::new(&config, "test", HttpClientMetrics::default());
        assert!(made.is_err(), "{yaml}");
    }
}

/// X-55: whatever a server sends, no more of it is kept than the budget allows; what nobody asked to be compressed stays
/// as it is.
#[cfg(feature = "compress")]
#[tokio::test]
async fn answers_that_are_too_much_end_at_the_budget() {
    const GZIP: &str = "application/json\r\nContent-Encoding: gzip";
    const ZSTD: &str = "application/json\r\nContent-Encoding: zstd";
    let bomb = |content_type: &'static str| {
        let plain = vec![0; 64 << 20];
        let body = match content_type {
            GZIP => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, &plain).unwrap();
                gzip.finish().unwrap()
            }
            _ => zstd::bulk::compress(&plain, 1).unwrap(),
        };
        (content_type, body)
    };
    let bodies = [bomb(GZIP), bomb(ZSTD), ("text/plain", vec![b'x'; 4 << 20])];
    let fake = HttpFake::start(move |asked| {
        let index: usize = asked.path.trim_start_matches('/').parse().unwrap();
        let (content_type, body) = bodies[index].clone();
        Reply {
            content_type,
            ..Reply::json(body)
        }
    })
    .await;
    let client = client("");
    let budget = MemoryBudget::new("answers", 2 << 20);
    for (index, fits) in [(0, true), (1, true), (2, false)] {
        let request = HttpRequest::get(format!("{}/{index}", fake.url()));
        let answer = client.send(request).await.unwrap().collect(&budget).await;
        match answer {
            Ok((bytes, lease)) => assert!(fits && bytes.len() as u64 == lease.bytes(), "{index}"),
            Err(error) => {
                assert!(
                    !fits && error.kind() == ErrorKind::LimitExceeded,
                    "{index}: {error}"
                );
            }
        }
        assert_eq!(budget.used_bytes(), 0);
    }
    assert!(budget.peak_bytes() <= 2 << 20);
    for asked in fake.asked() {
        assert_eq!(asked.header("accept-encoding"), None);
    }
}

/// X-55: a head without end is an error, and not memory without end.
#[tokio::test]
async fn a_head_that_is_too_long_is_an_error() {
    let long: &'static str = format!("text/plain\r\nX-Long: {}", "x".repeat(8 << 20)).leak();
    let many: &'static str = format!("text/plain{}", "\r\nX-Many: y".repeat(10_000)).leak();
    for content_type in [long, many] {
        let fake = HttpFake::start(move |_| Reply {
            content_type,
            ..Reply::json("{}")
        })
        .await;
        let request = HttpRequest::get(fake.url());
        let error = client("").send(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}
