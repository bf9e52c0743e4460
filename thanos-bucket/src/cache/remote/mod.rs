//! What caches in servers have in common: a queue of writes, a breaker, counts, addresses.

#[cfg(feature = "memcached")]
pub(super) mod addresses;
pub(super) mod breaker;
mod metrics;
pub(super) mod queue;
#[cfg(feature = "redis")]
pub(super) mod tls;

pub use metrics::RemoteMetrics;
pub(super) use metrics::{Failure, Operation, Skip};

/// Returns the permit to do one of at most so many things at once; `None` where there is no limit.
pub(super) async fn enter(
    gate: Option<&tokio::sync::Semaphore>,
) -> Option<tokio::sync::SemaphorePermit<'_>> {
    // The gate is never closed.
    gate?.acquire().await.ok()
}

/// Returns a gate for `count` at once; 0 means any number.
pub(super) fn gate(count: usize) -> Option<tokio::sync::Semaphore> {
    let permits = count.min(tokio::sync::Semaphore::MAX_PERMITS);
    (count > 0).then(|| tokio::sync::Semaphore::new(permits))
}
