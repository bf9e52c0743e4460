//! Waiting with a limit.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use thanos_core::error::Error;
use thanos_core::time::SignedDuration;
use tokio::runtime::Handle;

/// A store did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elapsed(pub(super) Duration);

impl Elapsed {
    pub(super) fn error(self) -> Error {
        Error::unavailable(format!("no answer within {self}"))
    }
}

/// Formats as Go prints a duration.
impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX);
        SignedDuration::from_nanos(nanos).go().fmt(f)
    }
}

/// Waits for `future`, at most `limit`; outside of a tokio runtime there are no timers and no limit.
pub(super) async fn within<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> Result<F::Output, Elapsed> {
    match limit.filter(|_| Handle::try_current().is_ok()) {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future)
            .await
            .map_err(|_| Elapsed(limit)),
    }
}
