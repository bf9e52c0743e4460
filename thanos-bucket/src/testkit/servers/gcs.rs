//! A stub of the XML API of Google Cloud Storage: as much of it as a client of blocks uses.
//!
//! Objects have generations, writes and reads have conditions, listings have pages, uploads have parts. Tokens are not
//! checked. All objects were written at the same moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use parking_lot::Mutex;

/// How many objects one page of a listing has: few, so that tests see pages.
const PAGE: usize = 50;
const MODIFIED_HTTP: &str = "Sun, 01 Nov 2026 00:00:00 GMT";
const MODIFIED_XML: &str = "2026-11-01T00:00:00.000Z";

#[derive(Debug, Default)]
struct Stub {
    objects: BTreeMap<String, Object>,
    /// The parts of unfinished uploads by upload and number.
    parts: BTreeMap<(String, u32), Bytes>,
    last_generation: u64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    generation: u64,
}

type Shared = Arc<Mutex<Stub>>;
type Parameters = Query<HashMap<String, String>>;

pub(super) fn router() -> Router {
    Router::new()
        .route("/{bucket}", any(bucket))
        .route("/{bucket}/{*object}", any(object))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Shared::default())
}

async fn bucket(
    State(stub): State<Shared>,
    Path(bucket): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let text = |name: &str| parameters.get(name).map_or("", String::as_str);
    let page = stub.lock().list(
        &format!("{bucket}/"),
        text("prefix"),
        text("delimiter"),
        text("start-after").max(text("continuation-token")),
    );
    respond(StatusCode::OK, &[], page.into())
}

async fn object(
    State(stub): State<Shared>,
    method: Method,
    Path((bucket, name)): Path<(String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = format!("{bucket}/{name}");
    let mut stub = stub.lock();
    let upload = parameters.get("uploadId");
    match (method.as_str(), upload) {
        ("PUT", Some(upload)) => stub.put_part(upload, &parameters, body),
        ("PUT", None) => stub.put(key, body, &headers),
        ("POST", Some(upload)) => stub.complete(key, upload, &headers),
        ("POST", None) => start_upload(&key),
        ("GET" | "HEAD", _) => stub.get(&key, &method, &headers),
        ("DELETE", Some(upload)) => stub.abort(upload),
        ("DELETE", None) => match stub.objects.remove(&key) {
            Some(_) => respond(StatusCode::NO_CONTENT, &[], Body::empty()),
            None => not_found(),
        },
        _ => respond(StatusCode::METHOD_NOT_ALLOWED, &[], Body::empty()),
    }
}

impl Stub {
    fn list(&self, bucket: &str, prefix: &str, delimiter: &str, after: &str) -> String {
        let start = format!("{bucket}{}", prefix.max(after));
        let mut page = String::from("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>");
        let mut directories = BTreeSet::new();
        let mut found = 0;
        for (key, object) in self.objects.range(start..) {
            let Some(name) = key.strip_prefix(bucket).filter(|n| n.starts_with(prefix)) else {
                break;
            };
            if name <= after {
                continue;
            }
            if found == PAGE {
                let last = self.last_before(key);
                let token = escape(last.strip_prefix(bucket).unwrap_or_default());
                let _ = write!(
                    page,
                    "<NextContinuationToken>{token}</NextContinuationToken>"
                );
                break;
            }
            found += 1;
            match directory(name, prefix, delimiter) {
                Some(directory) => drop(directories.insert(directory)),
                None => write_entry(&mut page, name, object),
            }
        }
        for directory in directories {
            let directory = escape(&directory);
            let _ = write!(
                page,
                "<CommonPrefixes><Prefix>{directory}</Prefix></CommonPrefixes>"
            );
        }
        page + "</ListBucketResult>"
    }

    fn last_before(&self, key: &str) -> &str {
        let before = self.objects.range(..key.to_owned()).next_back();
        before.map_or("", |(key, _)| key)
    }

    fn put(&mut self, key: String, bytes: Bytes, headers: &HeaderMap) -> Response {
        let generation = self.objects.get(&key).map_or(0, |object| object.generation);
        if let Some(wanted) = header(headers, "x-goog-if-generation-match")
            && wanted != generation.to_string()
        {
            return respond(StatusCode::PRECONDITION_FAILED, &[], Body::empty());
        }
        self.last_generation += 1;
        let object = Object {
            bytes,
            generation: self.last_generation,
        };
        let answer = respond(StatusCode::OK, &version_headers(&object), Body::empty());
        self.objects.insert(key, object);
        answer
    }

    fn get(&self, key: &str, method: &Method, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else {
            return not_found();
        };
        let mut out = version_headers(object);
        let tag = format!("\"{}\"", object.generation);
        if header(headers, "if-none-match") == Some(&tag) {
            return respond(StatusCode::NOT_MODIFIED, &out, Body::empty());
        }
        if header(headers, "if-match").is_some_and(|wanted| wanted != tag) {
            return respond(StatusCode::PRECONDITION_FAILED, &out, Body::empty());
        }
        let len = object.bytes.len();
        if method == Method::HEAD {
            out.push(("content-length", len.to_string()));
            return respond(StatusCode::OK, &out, Body::empty());
        }
        let Some(range) = header(headers, "range") else {
            return respond(StatusCode::OK, &out, object.bytes.clone().into());
        };
        let Some((start, end)) = parse_range(range, len) else {
            return respond(StatusCode::RANGE_NOT_SATISFIABLE, &[], Body::empty());
        };
        out.push(("content-range", format!("bytes {start}-{}/{len}", end - 1)));
        let bytes = object.bytes.slice(start..end);
        respond(StatusCode::PARTIAL_CONTENT, &out, bytes.into())
    }

    fn put_part(
        &mut self,
        upload: &str,
        parameters: &HashMap<String, String>,
        bytes: Bytes,
    ) -> Response {
        let number = parameters.get("partNumber").and_then(|n| n.parse().ok());
        let Some(number) = number else {
            return respond(StatusCode::BAD_REQUEST, &[], Body::empty());
        };
        self.parts.insert((upload.to_owned(), number), bytes);
        respond(
            StatusCode::OK,
            &[("etag", format!("\"part-{number}\""))],
            Body::empty(),
        )
    }

    fn complete(&mut self, key: String, upload: &str, headers: &HeaderMap) -> Response {
        let mut whole = Vec::new();
        for ((of, _), part) in &self.parts {
            if of == upload {
                whole.extend_from_slice(part);
            }
        }
        self.parts.retain(|(of, _), _| of != upload);
        let answer = self.put(key, whole.into(), headers);
        let tag = header(answer.headers(), "etag").map(escape);
        let body = format!(
            "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
            tag.unwrap_or_default()
        );
        answer.map(|_| body.into())
    }

    fn abort(&mut self, upload: &str) -> Response {
        self.parts.retain(|(of, _), _| of != upload);
        respond(StatusCode::NO_CONTENT, &[], Body::empty())
    }
}

fn start_upload(key: &str) -> Response {
    let id = escape(key);
    let body = format!(
        "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
    );
    respond(StatusCode::OK, &[], body.into())
}

/// Returns the directory that stands for `name` in a listing of `prefix`.
fn directory(name: &str, prefix: &str, delimiter: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let end = name.get(prefix.len()..)?.find(delimiter)? + delimiter.len();
    Some(name[..prefix.len() + end].to_owned())
}

fn write_entry(page: &mut String, name: &str, object: &Object) {
    let _ = write!(
        page,
        "<Contents><Key>{}</Key><LastModified>{MODIFIED_XML}</LastModified><ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
        escape(name),
        object.generation,
        object.bytes.len()
    );
}

fn version_headers(object: &Object) -> Vec<(&'static str, String)> {
    vec![
        ("etag", format!("\"{}\"", object.generation)),
        ("x-goog-generation", object.generation.to_string()),
        ("last-modified", MODIFIED_HTTP.to_owned()),
    ]
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the start and the end (exclusive) of `bytes=3-9`, `bytes=3-` or `bytes=-7` in an object of `len` bytes.
fn parse_range(range: &str, len: usize) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (start.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(last)) => (start, last.checked_add(1)?.min(len)),
        (Ok(start), Err(_)) => (start, len),
        (Err(_), Ok(tail)) => (len.saturating_sub(tail), len),
        (Err(_), Err(_)) => return None,
    };
    (start < end).then_some((start, end))
}

fn respond(status: StatusCode, headers: &[(&'static str, String)], body: Body) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response
        .body(body)
        .expect("the headers are made of digits and letters")
}

fn not_found() -> Response {
    respond(
        StatusCode::NOT_FOUND,
        &[],
        "<Error><Code>NoSuchKey</Code></Error>".into(),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
