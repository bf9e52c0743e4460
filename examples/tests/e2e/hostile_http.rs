//! Requests that are too much for an HTTP server: refused, in little memory, while others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

use crate::programs::standalone;

/// The most memory that the process has ever had, in KiB.
fn peak_kib(peer: &Peer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", peer.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Sends `head` and `body` and returns the status of the answer, or nothing when the server hung up.
fn status(peer: &Peer, head: &str, body: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(peer.address()).unwrap();
    let timeout = Some(Duration::from_secs(60));
    stream.set_read_timeout(timeout).unwrap();
    stream.set_write_timeout(timeout).unwrap();
    let mut reader = stream.try_clone().unwrap();
    // The server may answer, and hang up, before it has got everything.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let mut start = [0; 12];
    reader.read_exact(&mut start).ok()?;
    let text = std::str::from_utf8(&start).unwrap();
    Some(text.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap())
}

fn post(path: &str, more: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{more}Content-Length: {length}\r\n\r\n"
    )
}

/// headers, forms and compressed forms that are too large are refused, and cost no more than they are.
#[test]
fn what_is_too_much_is_refused() {
    const PEAK_KIB_MAX: u64 = 400 << 10;
    let directory = TempDir::new("e2e-hostile");
    let peer = standalone(directory.path());
    let get = "GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";

    let long = format!("{get}X-Long: {}\r\n\r\n", "x".repeat(4 << 20));
    assert!(matches!(status(&peer, &long, b""), None | Some(431)));
    let many: String = (0..100_000).map(|i| format!("X-{i}: y\r\n")).collect();
    assert!(matches!(
        status(&peer, &format!("{get}{many}\r\n"), b""),
        None | Some(431)
    ));
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(4 << 20));
    assert!(matches!(
        status(&peer, &target, b""),
        None | Some(414 | 431)
    ));

    let form = format!("query=1&x={}", "y".repeat(64 << 20));
    let head = post("/api/v1/query", "", form.len());
    let refused = status(&peer, &head, form.as_bytes());
    assert!(matches!(refused, None | Some(400 | 413)), "{refused:?}");
    // Nobody asks for compressed forms, so that none is made whole: it is a form of nonsense.
    let mut part = GzEncoder::new(Vec::new(), Compression::fast());
    part.write_all(&vec![b'y'; 16 << 20]).unwrap();
    // A gigabyte in 64 members.
    let bomb = part.finish().unwrap().repeat(64);
    for coding in ["gzip", "zstd", "snappy", "deflate"] {
        let head = post(
            "/api/v1/query",
            &format!("Content-Encoding: {coding}\r\n"),
            bomb.len(),
        );
        let refused = status(&peer, &head, &bomb);
        assert!(
            matches!(refused, Some(400 | 413 | 415)),
            "{coding}: {refused:?}"
        );
    }

    assert_eq!(peer.get("/api/v1/query?query=1").status, 200);
    let peak = peak_kib(&peer);
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}
