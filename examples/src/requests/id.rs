//! The id of a request: what its caller says, or a new one.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use thanos_core::time::{Clock, SystemClock};
use ulid::Ulid;

const REQUEST_ID: HeaderName = HeaderName::from_static(crate::traces::REQUEST_ID);
/// Names are short; a longer one is not worth a line of log, nor a header of each further request.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Gives a request without a name one that no other has, so that all lines of the log about it have the same; returns it.
pub(super) fn name(headers: &mut HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = given.filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())) {
        return id.to_owned();
    }
    let id = new();
    let value =
        HeaderValue::try_from(&id).expect("the characters of a ULID are allowed in a header");
    headers.insert(REQUEST_ID, value);
    id
}

/// Returns a new ULID: the time, and bits that differ by process and by request.
fn new() -> String {
    static PROCESS: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = PROCESS.get_or_init(RandomState::new).hash_one(count);
    let now_ms = u64::try_from(SystemClock.now().as_millis()).unwrap_or_default();
    let random = (u128::from(hash) << 16) | u128::from(count & 0xFFFF);
    Ulid::from_parts(now_ms, random).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn requests_keep_their_names_and_get_ulids() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
        assert_eq!(name(&mut headers), "mine");
        let ids: std::collections::HashSet<_> =
            (0..1000).map(|_| name(&mut HeaderMap::new())).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert!(Ulid::from_string(&id).is_ok(), "{id}");
        }
        let mut headers = HeaderMap::new();
        for bad in ["", &"x".repeat(1000)] {
            headers.insert(REQUEST_ID, HeaderValue::try_from(bad).unwrap());
            let id = name(&mut headers);
            assert_eq!(
                (id.len(), headers[REQUEST_ID].as_bytes()),
                (26, id.as_bytes())
            );
        }
    }
}
