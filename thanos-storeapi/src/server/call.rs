//! Who calls, for logs: a span around everything that a call does.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use thanos_core::error::{Error, ErrorKind};
use tonic::Request;
use tracing::Span;
use tracing::field::Empty;

/// The metadata in which callers name their request (row 2.15 of the specification).
const REQUEST_ID_KEY: &str = "x-request-id";
/// Names are short; a longer one is not worth a line of log.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Returns the span of a call of the method at `path`, with the request id of its metadata or a new one.
///
/// What `otel` says is for those who collect traces: there the span has the name that it has with Thanos.
pub(super) fn span_of<T>(request: &Request<T>, path: &'static str) -> Span {
    let given = request.metadata().get(REQUEST_ID_KEY);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()));
    let request_id = given.map_or_else(new_request_id, str::to_owned);
    let name = path.rsplit('/').next().unwrap_or(path);
    tracing::info_span!(
        "grpc",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        call = name,
        request_id,
    )
}

/// Returns a name that no other request of this process has, and hardly one of another.
fn new_request_id() -> String {
    static PROCESS: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = PROCESS.get_or_init(RandomState::new).hash_one(count);
    format!("{hash:016x}{:08x}", count & 0xFFFF_FFFF)
}

/// Logs why a call failed: here its error leaves the process. What is the caller's fault is for those who look closer.
pub(super) fn log_failure(error: &Error) {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Internal => tracing::error!(%error, "call failed"),
        ErrorKind::LimitExceeded | ErrorKind::Unavailable => {
            tracing::warn!(%error, "call failed");
        }
        _ => tracing::debug!(%error, "call failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| new_request_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 24));
    }
}
