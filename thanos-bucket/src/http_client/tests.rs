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
