//! A collector of traces in the test: OTLP over gRPC and over HTTP, on one port.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;

/// What a span says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Got>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug, Default)]
struct Got {
    spans: Vec<Span>,
    paths: Vec<String>,
    headers: Vec<HeaderMap>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let got = Arc::<Mutex<Got>>::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&got);
        let router =
            Router::new().fallback(move |request: Request| answer(Arc::clone(&shared), request));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            got,
            _runtime: runtime,
        }
    }

    /// Waits until there are spans of which `wanted` finds what it looks for.
    pub(crate) fn wait_for<T>(&self, wanted: impl Fn(&[Span]) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            let spans = self.spans();
            if let Some(found) = wanted(&spans) {
                return found;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "not among {spans:#?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.got.lock().unwrap().spans.clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.got.lock().unwrap().paths.clone()
    }

    /// Reports whether an export came with this header.
    pub(crate) fn had_header(&self, name: &str, value: &str) -> bool {
        let got = self.got.lock().unwrap();
        let has = |headers: &HeaderMap| headers.get(name).is_some_and(|found| found == value);
        got.headers.iter().any(has)
    }
}

async fn answer(got: Arc<Mutex<Got>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_grpc = head.headers[header::CONTENT_TYPE] == "application/grpc";
    let message = match is_grpc {
        true => message_of_frame(&body),
        false if head.headers.contains_key(header::CONTENT_ENCODING) => inflated(&body),
        false => body.to_vec(),
    };
    {
        let mut got = got.lock().unwrap();
        got.spans.extend(spans_of(&message));
        got.paths.push(head.uri.path().to_owned());
        got.headers.push(head.headers);
    }
    if !is_grpc {
        return Response::new(Body::empty());
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let empty = http_body_util::Full::new(Bytes::from_static(&[0; 5]));
    let body = empty.with_trailers(async move { Some(Ok(trailers)) });
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(Body::new(body))
        .unwrap()
}

fn message_of_frame(frame: &[u8]) -> Vec<u8> {
    match frame[0] {
        0 => frame[5..].to_vec(),
        _ => inflated(&frame[5..]),
    }
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    decoder.read_to_end(&mut whole).unwrap();
    whole
}

/// Returns the fields of a protobuf message that have bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let len = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            5 => 4,
            _ => usize::try_from(varint(&mut message)).unwrap(),
        };
        let (field, rest) = message.split_at(len);
        found.push((key >> 3, field));
        message = rest;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn all(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    let fields = fields(message).into_iter();
    fields.filter_map(move |(number, bytes)| (number == field).then_some(bytes))
}

fn text(message: &[u8], field: u64) -> String {
    let bytes = all(message, field).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(message: &[u8], field: u64) -> String {
    let bytes = all(message, field).next().unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The attributes in `field`; those that are no text are empty.
fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let of = |pair: &[u8]| {
        let value = all(pair, 2).next().map(|value| text(value, 1));
        (text(pair, 1), value.unwrap_or_default())
    };
    all(message, field).map(of).collect()
}

/// Source: opentelemetry/proto/trace/v1/trace.proto.
fn spans_of(export: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for resource_spans in all(export, 1) {
        let resource = all(resource_spans, 1).next().unwrap_or_default();
        let resource = attributes(resource, 1);
        let scopes = all(resource_spans, 2);
        for span in scopes.flat_map(|scope| all(scope, 2).collect::<Vec<_>>()) {
            let mut attributes = attributes(span, 9);
            attributes.extend(resource.clone());
            found.push(Span {
                service: resource.get("service.name").cloned().unwrap_or_default(),
                name: text(span, 5),
                trace: hex(span, 1),
                id: hex(span, 2),
                parent: hex(span, 4),
                attributes,
            });
        }
    }
    found
}
