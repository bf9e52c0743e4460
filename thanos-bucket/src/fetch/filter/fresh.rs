//! Blocks that may not be whole yet in the eyes of an eventually consistent store.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::block::Meta;
use thanos_core::time::Clock;

use super::{BlockFilter, Candidates};
use crate::fetch::BlockState;

/// The sources whose blocks are taken at once: they replace blocks that would go missing meanwhile.
const TRUSTED_SOURCES: [&str; 3] = ["compactor", "compactor.repair", "bucket.repair"];

/// Takes out blocks that are younger than a delay (`--consistency-delay`).
#[derive(Debug, Clone)]
pub struct ConsistencyDelayFilter {
    delay_ms: i64,
    clock: Arc<dyn Clock>,
}

impl ConsistencyDelayFilter {
    /// Returns the filter with a delay of `delay_ms` milliseconds.
    pub fn new(delay_ms: i64, clock: Arc<dyn Clock>) -> Self {
        Self { delay_ms, clock }
    }
}

#[async_trait]
impl BlockFilter for ConsistencyDelayFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        let now = self.clock.now();
        candidates.exclude(BlockState::TooFresh, |id, entry| {
            let uploaded = entry
                .meta
                .thanos
                .as_ref()
                .and_then(|thanos| thanos.upload_time.timestamp());
            now - uploaded.unwrap_or(id.created()) < self.delay_ms && !is_trusted(&entry.meta)
        });
        Ok(())
    }
}

fn is_trusted(meta: &Meta) -> bool {
    meta.thanos
        .as_ref()
        .is_some_and(|thanos| TRUSTED_SOURCES.contains(&&*thanos.source))
}
