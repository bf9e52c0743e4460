//! The blocks that are wanted, sync by sync: view, filters, counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use super::filter::{BlockFilter, Selection, select};
use super::{BucketView, FetchOptions, Fetcher};
use crate::Bucket;
use crate::manifest::{ManifestOutcome, ManifestReader};

/// Finds the blocks that a role wants.
#[derive(Debug)]
pub struct Discovery {
    fetcher: Fetcher,
    manifest: Option<ManifestReader>,
    filters: Vec<Arc<dyn BlockFilter>>,
}

/// What a sync found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The directories that are no blocks, and why.
    pub partial: BTreeMap<BlockId, Arc<Error>>,
    /// What could not be read: see [`BucketView::unread`].
    pub unread: BTreeMap<BlockId, Arc<Error>>,
    /// The wanted blocks.
    pub selection: Selection,
    /// Where they were found.
    pub origin: ViewOrigin,
}

/// Where a view comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ViewOrigin {
    /// A listing of the bucket.
    #[default]
    Listing,
    /// The bucket's manifest.
    Manifest,
}

impl Discovery {
    /// Returns the blocks of `bucket` that all of `filters` want, each of which sees what the one before it leaves.
    pub fn new(bucket: Bucket, options: FetchOptions, filters: Vec<Arc<dyn BlockFilter>>) -> Self {
        Self {
            fetcher: Fetcher::new(bucket, options),
            manifest: None,
            filters,
        }
    }

    /// Returns the same, which uses the bucket's manifest when it has one that is good enough.
    #[must_use]
    pub fn with_manifest(mut self, manifest: ManifestReader) -> Self {
        self.manifest = Some(manifest);
        self
    }

    /// Returns what finds the blocks before the filters.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Looks at the bucket again.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed or a filter fails. A view that lacks something is no error of this call:
    /// see [`Discovered::incomplete`].
    pub async fn sync(&self) -> Result<Discovered> {
        let options = self.fetcher.options();
        let started = options.clock.now();
        options.metrics.syncs.inc();
        let outcome = self.discover().await;
        options
            .metrics
            .seconds
            .observe(seconds(options.clock.now() - started));
        match &outcome {
            Ok(found) => {
                let selection = &found.selection;
                options
                    .metrics
                    .set(&selection.states, selection.replica_labels_removed);
                if found.incomplete().is_some() {
                    options.metrics.failures.inc();
                }
            }
            Err(_) => {
                options.metrics.failures.inc();
            }
        }
        outcome
    }

    async fn discover(&self) -> Result<Discovered> {
        if let Some(reader) = &self.manifest {
            let counts = &self.fetcher.options().metrics.manifest;
            match reader.read().await {
                ManifestOutcome::Fresh(manifest) => {
                    counts.used.inc();
                    let mut found = self.selected(&manifest.view, ViewOrigin::Manifest).await?;
                    found.partial = manifest.view.partial.clone();
                    return Ok(found);
                }
                ManifestOutcome::Ignored => {
                    counts.ignored.inc();
                }
                ManifestOutcome::Absent => {}
            }
            // What the last one said is still known: those blocks are not read again.
            if let Some(last) = reader.last().await {
                self.fetcher.learn(&last.view).await;
            }
        }
        let view = self.fetcher.fetch().await?;
        let mut found = self.selected(&view, ViewOrigin::Listing).await?;
        found.partial = view.partial;
        found.unread = view.unread;
        Ok(found)
    }

    async fn selected(&self, view: &BucketView, origin: ViewOrigin) -> Result<Discovered> {
        let selection = select(view, &self.filters).await?;
        Ok(Discovered {
            selection,
            origin,
            ..Discovered::default()
        })
    }
}

impl Discovered {
    /// Returns the error that says that the view lacks something, if it does.
    pub fn incomplete(&self) -> Option<Error> {
        let (id, first) = self.unread.first_key_value()?;
        let count = self.unread.len();
        let message =
            format!("incomplete view: {count} blocks cannot be read, the first is {id}: {first}");
        Some(Error::new(first.kind(), message).with_source(Arc::clone(first)))
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}
