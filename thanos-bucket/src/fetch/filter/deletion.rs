//! Blocks that are going to be deleted.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::time::Clock;

use super::{BlockFilter, Candidates};
use crate::fetch::BlockState;

/// Takes out blocks that were marked for deletion more than a delay ago (`--ignore-deletion-marks-delay`).
///
/// Until then they stay, so that whatever replaces them can be found first.
#[derive(Debug, Clone)]
pub struct DeletionMarkFilter {
    delay_ms: i64,
    clock: Arc<dyn Clock>,
}

impl DeletionMarkFilter {
    /// Returns the filter with a delay of `delay_ms` milliseconds.
    pub fn new(delay_ms: i64, clock: Arc<dyn Clock>) -> Self {
        Self { delay_ms, clock }
    }
}

#[async_trait]
impl BlockFilter for DeletionMarkFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        let now = self.clock.now();
        candidates.exclude(BlockState::MarkedForDeletion, |_, entry| {
            entry
                .marks
                .deletion
                .is_some_and(|marked| now - marked > self.delay_ms)
        });
        Ok(())
    }
}
