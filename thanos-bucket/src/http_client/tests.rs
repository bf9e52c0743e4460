use std::time::Duration;

use object_store::client::HttpRequestBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// Answers each connection with `answer` and then nothing more; tells when a connection has been closed by the client.
async fn server(answer: &'static [u8]) -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let (closed, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, closed.clone()));
        }
    });
    (url, seen)
}

async fn serve(mut stream: TcpStream, answer: &'static [u8], closed: mpsc::UnboundedSender<()>) {
    let mut request = [0; 1024];
    let read = stream.read(&mut request).await;
    if read.is_ok_and(|bytes| bytes > 0) {
        let _ = stream.write_all(answer).await;
        while matches!(stream.read(&mut request).await, Ok(1..)) {}
    }
    let _ = closed.send(());
}

fn get(url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().unwrap();
    request
}

fn service(config: &HttpConfig) -> Service {
    Connector::new(config).unwrap().service
}

fn impatient() -> HttpConfig {
    HttpConfig {
        response_header_timeout: SHORT,
        ..HttpConfig::default()
    }
}

/// an answer that does not begin is an error after `response_header_timeout`.
#[tokio::test]
async fn a_slow_header_is_an_error() {
    let (url, _closed) = server(b"").await;
    let started = Instant::now();
    let error = service(&impatient()).call(get(&url)).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Timeout, "{error}");
    assert!(started.elapsed() >= SHORT && started.elapsed() < 20 * SHORT);
}

/// A body that stops moving is an error too, after what came before.
#[tokio::test]
async fn a_body_that_stands_still_is_an_error() {
    let (url, _closed) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    let answer = service(&impatient()).call(get(&url)).await.unwrap();
    let error = answer.into_body().bytes().await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Timeout, "{error}");
    assert!(format!("{error:?}").contains("StandsStill"), "{error:?}");
}

/// A reader that takes its time is not the server's fault.
#[tokio::test]
async fn a_slow_reader_sees_the_whole_body() {
    use futures::StreamExt as _;
    let (url, _closed) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await;
    let answer = service(&impatient()).call(get(&url)).await.unwrap();
    let mut body = answer.into_body().bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "abc");
    tokio::time::sleep(2 * SHORT).await;
    assert!(body.next().await.is_none());
}

/// Dropping a read closes its connection, before and after the answer began.
#[tokio::test]
async fn a_dropped_read_closes_its_connection() {
    let (url, mut closed) = server(b"").await;
    let service = service(&HttpConfig::default());
    assert!(timeout(SHORT, service.call(get(&url))).await.is_err());
    timeout(Duration::from_secs(5), closed.recv())
        .await
        .unwrap()
        .unwrap();

    let (url, mut closed) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    drop(service.call(get(&url)).await.unwrap());
    timeout(Duration::from_secs(5), closed.recv())
        .await
        .unwrap()
        .unwrap();
}

/// `max_conns_per_host` bounds requests until their bodies end.
#[tokio::test]
async fn connections_are_bounded_until_their_bodies_end() {
    let (url, _closed) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    let config = HttpConfig {
        max_conns_per_host: 1,
        ..HttpConfig::default()
    };
    let service = service(&config);
    let first = service.call(get(&url)).await.unwrap();
    assert!(timeout(SHORT, service.call(get(&url))).await.is_err());
    drop(first);
    let second = timeout(Duration::from_secs(5), service.call(get(&url)));
    second.await.unwrap().unwrap();
}

/// A machine without keys of its own must hear so soon: these addresses have short limits, and no others.
#[test]
fn only_addresses_of_keys_are_given_up_quickly() {
    let quick = ClientOptions::default().with_connect_timeout(METADATA_CONNECT_TIMEOUT);
    assert!(are_for_metadata(&quick));
    assert!(!are_for_metadata(&ClientOptions::default()));
    assert!(!are_for_metadata(
        &ClientOptions::default().with_allow_http(true)
    ));
}

/// certificates that cannot be used are errors that name the file.
#[test]
fn unusable_certificates_are_refused() {
    let dir = thanos_core::testkit::TempDir::new("tls");
    let file = dir.path().join("file.pem");
    std::fs::write(&file, "not PEM").unwrap();
    let file = file.display().to_string();
    let with = |change: fn(&mut HttpConfig, String)| {
        let mut config = HttpConfig::default();
        change(&mut config, file.clone());
        Connector::new(&config).unwrap_err()
    };
    let error = with(|config, file| config.tls_config.ca_file = file);
    assert!(
        error.to_string().contains("file.pem: no certificates"),
        "{error}"
    );
    let error = with(|config, _| config.tls_config.ca_file = "/no/such/file".into());
    assert_eq!(error.kind(), thanos_core::ErrorKind::NotFound, "{error}");
    let error = with(|config, file| config.tls_config.key_file = file);
    assert!(error.to_string().contains("without cert_file"), "{error}");
    let error = with(|config, _| config.tls_config.server_name = "not a name".into());
    assert!(error.to_string().contains("server_name"), "{error}");
}

/// A TLS server of OpenSSL for the name `storage.test`; killed when dropped.
struct TlsServer {
    child: std::process::Child,
    url: String,
    dir: thanos_core::testkit::TempDir,
    /// Kept open, so that the server can go on writing to it.
    _log: std::io::BufReader<std::process::ChildStdout>,
}

/// Returns the address in the line `ACCEPT 127.0.0.1:3317`.
fn address_in(log: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
            return address.to_owned();
        }
        line.clear();
    }
    panic!("openssl s_server has ended");
}

impl TlsServer {
    /// Starts it, or returns `None` when there is no `openssl`.
    fn start(arguments: &[&str]) -> Option<Self> {
        use std::process::{Command, Stdio};
        let openssl = thanos_core::testkit::peer::program("openssl")?;
        let dir = thanos_core::testkit::TempDir::new("tls-server");
        let settings = "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=storage.test\n\
                        [ext]\nsubjectAltName=DNS:storage.test\nbasicConstraints=critical,CA:FALSE\n";
        std::fs::write(dir.path().join("settings"), settings).unwrap();
        let made = Command::new(&openssl)
            .current_dir(dir.path())
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-config", "settings"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let mut child = Command::new(&openssl)
            .current_dir(dir.path())
            .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
            .args(["-cert", "cert.pem", "-key", "key.pem"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = std::io::BufReader::new(child.stdout.take().unwrap());
        let address = address_in(&mut log);
        Some(Self {
            child,
            url: format!("https://{address}/"),
            dir,
            _log: log,
        })
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    async fn status(&self, change: impl FnOnce(&mut HttpConfig)) -> Result<u16, String> {
        let mut config = HttpConfig::default();
        change(&mut config);
        let answer = service(&config).call(get(&self.url)).await;
        let status = |answer: HttpResponse| answer.status().as_u16();
        answer.map(status).map_err(|error| format!("{error:?}"))
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// certificates are checked against `ca_file` and `server_name`, unless told not to.
#[tokio::test]
async fn certificates_are_checked_as_told() {
    let Some(server) = TlsServer::start(&[]) else {
        return;
    };
    let error = server.status(|_| {}).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let ca_file = server.file("cert.pem");
    let error = server
        .status(|config| config.tls_config.ca_file = ca_file.clone())
        .await;
    assert!(error.unwrap_err().contains("NotValidForName"));
    let named = server.status(|config| {
        config.tls_config.ca_file = ca_file.clone();
        config.tls_config.server_name = "storage.test".into();
    });
    assert_eq!(named.await, Ok(200));
    let lax = server.status(|config| config.tls_config.insecure_skip_verify = true);
    assert_eq!(lax.await, Ok(200));
    let lax = server.status(|config| config.insecure_skip_verify = true);
    assert_eq!(lax.await, Ok(200));
}

/// `cert_file` and `key_file` are shown to a server that asks for them.
#[tokio::test]
async fn the_client_certificate_is_shown() {
    let asks = [
        "-Verify",
        "1",
        "-verify_return_error",
        "-CAfile",
        "cert.pem",
    ];
    let Some(server) = TlsServer::start(&asks) else {
        return;
    };
    let without = server.status(|config| config.insecure_skip_verify = true);
    assert!(without.await.is_err());
    let with = server.status(|config| {
        config.insecure_skip_verify = true;
        config.tls_config.cert_file = server.file("cert.pem");
        config.tls_config.key_file = server.file("key.pem");
    });
    assert_eq!(with.await, Ok(200));
}
