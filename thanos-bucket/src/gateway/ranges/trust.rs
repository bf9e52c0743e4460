//! Reading again what was damaged: from the bucket, and not out of a cache.
//!
//! A cache may have got its bytes damaged: from a body with a wrong bit, whose checksum was looked at only later, or from
//! a server. Its own checksums do not show that. So whoever finds the bytes of a read corrupt reads once more, past all
//! caches, and what comes then takes the place of what they had. Else the damage would stay for as long as they keep it.

use thanos_core::{ErrorKind, Result};
use tracing::warn;

use super::super::query::{Item, QueryContext};

/// Who may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Trust {
    /// Any cache, and a read that is under way.
    Caches,
    /// The bucket alone; what it says replaces what caches have.
    Bucket,
}

/// Does `attempt`, and when it found damage once more with what the bucket says now.
///
/// # Errors
///
/// Those of the attempt; `Corrupt` when the bucket itself has the damage.
pub(in super::super) async fn look_twice<T, Attempt>(
    query: &QueryContext,
    item: Item,
    attempt: impl Fn(Trust) -> Attempt,
) -> Result<T>
where
    Attempt: Future<Output = Result<T>>,
{
    let error = match attempt(Trust::Caches).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => error,
        outcome => return outcome,
    };
    let again = attempt(Trust::Bucket).await;
    query.metrics().read_again(item, again.is_ok());
    if again.is_ok() {
        warn!(%error, "what was read was damaged, the bucket has it whole");
    }
    again
}
