//! The blocks that are wanted, sync by sync: view, filters, counts.

use std::sync::Arc;

use thanos_core::{Error, Result};

use super::filter::{BlockFilter, Selection, select};
use super::{BucketView, FetchOptions, Fetcher};
use crate::Bucket;

/// Finds the blocks that a role wants.
#[derive(Debug)]
pub struct Discovery {
    fetcher: Fetcher,
    filters: Vec<Arc<dyn BlockFilter>>,
}

/// What a sync found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// All blocks.
    pub view: BucketView,
    /// The wanted ones.
    pub selection: Selection,
}

impl Discovery {
    /// Returns the blocks of `bucket` that all of `filters` want, each of which sees what the one before it leaves.
    pub fn new(bucket: Bucket, options: FetchOptions, filters: Vec<Arc<dyn BlockFilter>>) -> Self {
        Self {
            fetcher: Fetcher::new(bucket, options),
            filters,
        }
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
        let view = self.fetcher.fetch().await?;
        let selection = select(&view, &self.filters).await?;
        Ok(Discovered { view, selection })
    }
}

impl Discovered {
    /// Returns the error that says that the view lacks something, if it does.
    pub fn incomplete(&self) -> Option<Error> {
        let (id, first) = self.view.unread.first_key_value()?;
        let count = self.view.unread.len();
        let message =
            format!("incomplete view: {count} blocks cannot be read, the first is {id}: {first}");
        Some(Error::new(first.kind(), message).with_source(Arc::clone(first)))
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}
