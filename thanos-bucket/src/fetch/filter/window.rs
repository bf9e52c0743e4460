//! Blocks of a window of time (`--min-time`, `--max-time`).

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;
use thanos_core::time::{Clock, TimeWindow};

use super::{BlockFilter, Candidates};
use crate::fetch::BlockState;

/// Takes out blocks that end before a window or begin after it.
#[derive(Debug, Clone)]
pub struct TimeWindowFilter {
    window: TimeWindow,
    clock: Arc<dyn Clock>,
}

impl TimeWindowFilter {
    /// Returns the filter.
    pub fn new(window: TimeWindow, clock: Arc<dyn Clock>) -> Self {
        Self { window, clock }
    }
}

#[async_trait]
impl BlockFilter for TimeWindowFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        let window = self.window.at(self.clock.now());
        // COMPAT: the end of a block is compared as if it belonged to it (row 2.4 of the specification).
        candidates.exclude(BlockState::TimeExcluded, |_, entry| {
            entry.meta.max_time < window.min || window.max < entry.meta.min_time
        });
        Ok(())
    }
}
