//! Marking blocks, in full even when the program is told to stop (row C-35 of the specification).

use std::sync::Arc;
use std::time::Duration;

use thanos_core::block::{BlockId, DeletionMark, Marker, NoCompactMark};
use thanos_core::time::Clock;
use thanos_core::{Error, Result};
use tokio::sync::RwLock;

use super::metrics::CompactMetrics;
use super::planner::PlannedMark;
use crate::Bucket;
use crate::transfer::mark_block;

/// How long the end of the program waits for marks that are being written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Writes marks. Each is a task of its own, which goes on when nobody waits for it any more.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    bucket: Bucket,
    metrics: CompactMetrics,
    clock: Arc<dyn Clock>,
    /// Shared by all marks that are being written.
    writing: Arc<RwLock<()>>,
}

impl Marks {
    pub(super) fn new(bucket: Bucket, metrics: CompactMetrics, clock: Arc<dyn Clock>) -> Self {
        Self {
            bucket,
            metrics,
            clock,
            writing: Arc::default(),
        }
    }

    /// Marks block `id` for deletion; returns whether it was not marked before.
    pub(super) async fn delete(&self, id: BlockId, details: &str) -> Result<bool> {
        let mark = DeletionMark::new(id, self.clock.now(), details);
        self.write(mark, "".to_owned()).await
    }

    /// Marks a block so that compaction leaves it alone; returns whether it was not marked before.
    pub(super) async fn no_compact(&self, planned: &PlannedMark) -> Result<bool> {
        let (reason, details) = (planned.reason, planned.details.as_str());
        let mark = NoCompactMark::new(planned.id, self.clock.now(), reason, details);
        self.write(mark, reason.to_owned()).await
    }

    async fn write<M: Marker + Send + Sync + 'static>(
        &self,
        mark: M,
        reason: String,
    ) -> Result<bool> {
        let place = Arc::clone(&self.writing).read_owned().await;
        let (bucket, metrics) = (self.bucket.clone(), self.metrics.clone());
        let written = tokio::spawn(async move {
            let _place = place;
            let is_new = mark_block(&bucket, &mark).await?;
            if is_new {
                metrics.marked(M::FILE, &reason, 1);
            }
            Ok(is_new)
        });
        let ended = |error| Error::cancelled(format!("marking a block: {error}"));
        written.await.map_err(ended)?
    }

    /// Waits for all marks that are being written.
    pub(super) async fn finish(&self) {
        if tokio::time::timeout(FINISH_TIMEOUT, self.writing.write())
            .await
            .is_err()
        {
            tracing::error!("marks are still being written, the program ends without them");
        }
    }
}
