//! The blocks that are wanted, sync by sync: view, filters, counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::time::Timestamp;
use thanos_core::{Error, Result};

use super::filter::{BlockFilter, Selection, select};
use super::{BucketView, FetchOptions, Fetcher};
use crate::Bucket;
use crate::manifest::{Manifest, ManifestOutcome, ManifestPublisher, ManifestReader, Published};

/// Finds the blocks that a role wants.
#[derive(Debug)]
pub struct Discovery {
    fetcher: Fetcher,
    manifest: Option<ManifestReader>,
    publisher: Option<ManifestPublisher>,
    filters: Vec<Arc<dyn BlockFilter>>,
    seen: Mutex<Seen>,
}

/// What was seen of the bucket so far.
#[derive(Debug, Default)]
struct Seen {
    /// Of when the newest view is. An older manifest would bring back blocks that are gone, and hide those that came.
    newest: Option<Timestamp>,
    /// A view that others do not know yet, and when its listing began.
    unpublished: Option<(Arc<BucketView>, Timestamp)>,
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
            publisher: None,
            filters,
            seen: Mutex::default(),
        }
    }

    /// Returns the same, which uses the bucket's manifest when it has one that is good enough.
    #[must_use]
    pub fn with_manifest(mut self, manifest: ManifestReader) -> Self {
        self.manifest = Some(manifest);
        self
    }

    /// Returns the same, which lists the bucket at each sync so that [`Discovery::publish`] has something to say; only
    /// the first sync uses the manifest.
    #[must_use]
    pub fn with_publisher(mut self, publisher: ManifestPublisher) -> Self {
        self.publisher = Some(publisher);
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

    /// Publishes what the last sync has listed, if it was complete and there is a publisher; each view once.
    ///
    /// # Errors
    ///
    /// As for [`ManifestPublisher::publish`]. Nothing depends on it: the next sync makes another view.
    pub async fn publish(&self) -> Result<Option<Published>> {
        let Some(publisher) = &self.publisher else {
            return Ok(None);
        };
        let Some((view, made)) = self.seen.lock().unpublished.take() else {
            return Ok(None);
        };
        let counts = &self.fetcher.options().metrics.manifest;
        let outcome = publisher.publish(view, made).await;
        match &outcome {
            Ok(Published::Written) => {
                counts.written.inc();
            }
            Ok(Published::Unchanged | Published::Superseded) => {}
            Err(_) => {
                counts.write_failures.inc();
            }
        }
        outcome.map(Some)
    }

    async fn discover(&self) -> Result<Discovered> {
        if let Some(reader) = &self.manifest {
            if let Some(manifest) = self.read_manifest(reader).await {
                self.seen.lock().newest = Some(manifest.made);
                let mut found = self.selected(&manifest.view, ViewOrigin::Manifest).await?;
                found.partial = manifest.view.partial.clone();
                return Ok(found);
            }
            // What the last one said is still known: those blocks are not read again.
            let last = match self.publisher {
                Some(_) => reader.take_last().await,
                None => reader.last().await,
            };
            if let Some(last) = last {
                self.fetcher.learn(&last.view).await;
            }
        }
        let made = self.fetcher.options().clock.now();
        let view = Arc::new(self.fetcher.fetch().await?);
        let mut found = self.selected(&view, ViewOrigin::Listing).await?;
        found.partial = view.partial.clone();
        found.unread = view.unread.clone();
        let mut seen = self.seen.lock();
        seen.newest = Some(made);
        let is_complete = view.unread.is_empty();
        seen.unpublished = (self.publisher.is_some() && is_complete).then_some((view, made));
        Ok(found)
    }

    /// Returns the manifest if it is to be used for this sync.
    async fn read_manifest(&self, reader: &ManifestReader) -> Option<Arc<Manifest>> {
        let newest = self.seen.lock().newest;
        if self.publisher.is_some() && newest.is_some() {
            return None;
        }
        let counts = &self.fetcher.options().metrics.manifest;
        match reader.read().await {
            ManifestOutcome::Fresh(manifest) if newest.is_none_or(|seen| seen <= manifest.made) => {
                counts.used.inc();
                Some(manifest)
            }
            ManifestOutcome::Fresh(_) => {
                tracing::debug!("the manifest is older than what was listed before");
                counts.ignored.inc();
                None
            }
            ManifestOutcome::Ignored => {
                counts.ignored.inc();
                None
            }
            ManifestOutcome::Absent => None,
        }
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
