//! Blocks of replicas that are to be merged: the labels in which they differ are taken away.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::Result;

use super::{BlockFilter, Candidates};
use crate::fetch::BlockEntry;

/// What the only label of a block says that had none but replica labels.
const DEDUPED: &str = "deduped";

/// Removes replica labels from the external labels of blocks (`--deduplication.replica-label`).
#[derive(Debug, Clone, Default)]
pub struct ReplicaLabelRemover {
    labels: Vec<String>,
}

impl ReplicaLabelRemover {
    /// Returns the filter that removes `labels`.
    pub fn new(labels: Vec<String>) -> Self {
        Self { labels }
    }

    /// Returns the entry without replica labels and how many it had.
    fn without_labels(&self, entry: &Arc<BlockEntry>) -> Option<(Arc<BlockEntry>, usize)> {
        let first = self.labels.first()?;
        let known = entry.meta.thanos.as_ref();
        let has = |name: &&String| known.is_some_and(|thanos| thanos.labels.contains_key(*name));
        let removed = self.labels.iter().filter(has).count();
        if removed == 0 && known.is_some_and(|thanos| !thanos.labels.is_empty()) {
            return None;
        }
        let mut changed = BlockEntry::clone(entry);
        let labels = &mut changed.meta.thanos.get_or_insert_default().labels;
        labels.retain(|name, _| !self.labels.contains(name));
        if labels.is_empty() {
            labels.insert(first.clone(), DEDUPED.to_owned());
        }
        Some((Arc::new(changed), removed))
    }
}

#[async_trait]
impl BlockFilter for ReplicaLabelRemover {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        candidates.replace(|entry| self.without_labels(entry));
        Ok(())
    }
}
