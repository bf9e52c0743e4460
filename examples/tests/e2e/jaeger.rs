//! Traces in Jaeger's own formats, from a real process. What is in the messages is the business of the exporter's tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use thanos_core::testkit::peer::Peer;

use crate::programs::thanos;

fn querier(config: &str) -> Peer {
    let tracing = format!("type: JAEGER\nconfig: {{service_name: of-jaeger, {config}}}\n");
    let start = |address: &str| {
        let mut command = thanos(&["query", "--grpc-address=127.0.0.1:0"]);
        command.args(["--http-address", address, "--tracing.config", &tracing]);
        command
    };
    Peer::start(start, "/-/ready")
}

fn holds(message: &[u8], text: &str) -> bool {
    let mut windows = message.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

const ALL: &str = "sampler_type: const, sampler_param: 1, reporter_flush_interval: 100ms";

/// X-20: spans arrive in packets of UDP.
#[test]
fn an_agent_of_jaeger_gets_spans() {
    let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
    agent
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let port = agent.local_addr().unwrap().port();
    let querier = querier(&format!("{ALL}, agent_host: 127.0.0.1, agent_port: {port}"));
    assert_eq!(querier.get("/api/v1/query?query=1").status, 200);
    let mut packet = vec![0; 1 << 16];
    loop {
        let len = agent.recv(&mut packet).expect("a packet comes");
        let message = &packet[..len];
        assert!(
            message.starts_with(b"\x82\x21\x01\x09emitBatch"),
            "{message:?}"
        );
        assert!(holds(message, "of-jaeger"));
        if holds(message, "/query HTTP[server]") {
            break;
        }
    }
}

/// Takes one request; returns its head and its body.
fn request(listener: &TcpListener) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    (head, body)
}

/// X-20: spans arrive over HTTP, with a password.
#[test]
fn a_collector_of_jaeger_gets_spans() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    let endpoint = format!("'http://{address}/api/traces?format=jaeger.thrift'");
    let querier = querier(&format!(
        "{ALL}, endpoint: {endpoint}, user: u, password: p"
    ));
    assert_eq!(querier.get("/api/v1/query?query=1").status, 200);
    loop {
        let (head, body) = request(&collector);
        assert!(
            head.starts_with("post /api/traces?format=jaeger.thrift http/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.contains("content-type: application/x-thrift\r\n"),
            "{head}"
        );
        assert!(head.contains("authorization: basic dtpw\r\n"), "{head}");
        assert!(holds(&body, "of-jaeger"));
        if holds(&body, "/query HTTP[server]") {
            break;
        }
    }
}

/// X-20: a server says which traces are kept.
#[test]
fn a_server_decides_about_samples() {
    let strategies = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = strategies.local_addr().unwrap();
    let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
    agent
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let port = agent.local_addr().unwrap().port();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = strategies.accept().unwrap();
        let mut first = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut first)
            .unwrap();
        let body = r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1}}"#;
        let len = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
        (first, stream)
    });
    let querier = querier(&format!(
        "sampler_type: remote, sampling_server_url: 'http://{address}/sampling', reporter_flush_interval: 100ms, \
         initial_sampler_rate: 0.000001, agent_host: 127.0.0.1, agent_port: {port}"
    ));
    let (first, _stream) = asked.join().unwrap();
    assert!(
        first.starts_with("GET /sampling?service=of-jaeger "),
        "{first}"
    );
    // The answer is taken in soon after it was sent.
    let mut packet = vec![0; 1 << 16];
    agent
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let is_kept = (0..60).any(|_| {
        assert_eq!(querier.get("/api/v1/query?query=1").status, 200);
        let got = agent.recv(&mut packet);
        got.is_ok_and(|len| holds(&packet[..len], "/query HTTP[server]"))
    });
    assert!(is_kept, "{}", querier.log());
}
