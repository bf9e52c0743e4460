//! Blocks whose data a compacted block has: what a compactor that died left behind (row C-27 of the specification).

use std::collections::BTreeSet;
use std::time::Instant;

use thanos_core::Result;
use thanos_core::block::BlockId;

use super::marks::Marks;
use super::metrics::CompactMetrics;
use super::view::CompactView;

const DETAILS: &str = "outdated block";

/// Marks the garbage of `view` for deletion, but for blocks that were just `deleted`: a mark would make their
/// directories again.
///
/// # Errors
///
/// The first that the bucket reports; what was marked until then stays so.
pub(super) async fn collect(
    view: &CompactView,
    deleted: &BTreeSet<BlockId>,
    marks: &Marks,
    metrics: &CompactMetrics,
) -> Result<()> {
    let started = Instant::now();
    for id in view.garbage.iter().filter(|id| !deleted.contains(id)) {
        tracing::info!(block = %id, "marking outdated block for deletion");
        if let Err(error) = marks.delete(*id, DETAILS).await {
            metrics.garbage_failures.inc();
            return Err(error.context(format_args!("mark block {id} for deletion")));
        }
        metrics.garbage_blocks.inc();
    }
    metrics.garbage_collections.inc();
    metrics
        .garbage_seconds
        .observe(started.elapsed().as_secs_f64());
    Ok(())
}
