//! When a store gateway says that it is ready.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::metrics;
use crate::programs::thanos;

/// An S3 server of one empty bucket that answers nothing before it is told to.
struct HeldServer {
    address: String,
    is_released: Arc<AtomicBool>,
}

const EMPTY_LISTING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>blocks</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"#;

impl HeldServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_released = Arc::new(AtomicBool::new(false));
        let released = Arc::clone(&is_released);
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::io::Result::ok) {
                let released = Arc::clone(&released);
                std::thread::spawn(move || Self::answer(stream, &released));
            }
        });
        Self {
            address,
            is_released,
        }
    }

    /// Answers every request with the empty listing, which also makes the object that was asked for.
    fn answer(mut stream: TcpStream, released: &AtomicBool) {
        let mut request = [0; 16 << 10];
        if stream.read(&mut request).is_err() {
            return;
        }
        while !released.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let len = EMPTY_LISTING.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{EMPTY_LISTING}"
        );
    }
}

/// ST-03: healthy at once; ready, and reachable over gRPC, only after the first sync.
#[test]
fn a_store_is_ready_after_its_first_sync() {
    let server = HeldServer::start();
    let yaml = format!(
        "type: S3\nconfig:\n  bucket: blocks\n  endpoint: {}\n  region: us-east-1\n  insecure: true\n  access_key: a\n  secret_key: b\n",
        server.address
    );
    let data_dir = TempDir::new("e2e-readiness");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let grpc_address = free.local_addr().unwrap().to_string();
    drop(free);
    let store = Peer::start(
        |address| {
            let mut command = thanos(&["store", "--objstore.config", &yaml, "--data-dir"]);
            command
                .arg(data_dir.path())
                .args(["--http-address", address]);
            command.args(["--grpc-address", &grpc_address]);
            command
        },
        "/-/healthy",
    );
    assert_eq!(store.get("/-/ready").status, 503);
    assert!(TcpStream::connect(&grpc_address).is_err());
    let ready = ["check=\"ready\""];
    assert_eq!(metrics::sum(&store, "thanos_status", &ready), 0.0);

    server.is_released.store(true, Ordering::Release);
    metrics::wait_for(&store, "thanos_status", &ready, 1.0);
    assert_eq!(store.get("/-/ready").status, 200);
    assert!(TcpStream::connect(&grpc_address).is_ok());
}

/// X-13: a signal ends also a store that is not ready yet.
#[test]
fn sigterm_ends_a_store_during_its_first_sync() {
    let server = HeldServer::start();
    let yaml = format!(
        "type: S3\nconfig: {{bucket: blocks, endpoint: \"{}\", region: us-east-1, insecure: true, access_key: a, secret_key: b}}\n",
        server.address
    );
    let data_dir = TempDir::new("e2e-signal");
    let mut store = Peer::start(
        |address| {
            let mut command = thanos(&["store", "--objstore.config", &yaml, "--data-dir"]);
            command
                .arg(data_dir.path())
                .args(["--http-address", address]);
            command.args(["--grpc-address", "127.0.0.1:0"]);
            command
        },
        "/-/healthy",
    );
    let status = store.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", store.log());
}
