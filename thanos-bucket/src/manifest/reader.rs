//! Reading the manifest of a bucket again and again, for little.

use std::sync::Arc;

use thanos_core::time::Clock;
use thanos_core::{ErrorKind, Result};
use tokio::sync::Mutex;

use super::{MANIFEST_BYTES_MAX, MANIFEST_OBJECT, Manifest, ManifestOptions, format};
use crate::Bucket;
use crate::bucket::{ReadOutcome, Version};
use crate::compute::Compute;

/// Reads the manifest of a bucket when it changed.
#[derive(Debug)]
pub struct ManifestReader {
    bucket: Bucket,
    options: ManifestOptions,
    clock: Arc<dyn Clock>,
    compute: Compute,
    known: Mutex<Option<(Version, Arc<Manifest>)>>,
}

impl ManifestReader {
    /// Returns the reader of the manifest of `bucket`.
    pub fn new(
        bucket: Bucket,
        options: ManifestOptions,
        clock: Arc<dyn Clock>,
        compute: Compute,
    ) -> Self {
        Self {
            bucket: bucket.expecting_missing(),
            options,
            clock,
            compute,
            known: Mutex::default(),
        }
    }

    /// Returns the manifest when there is one that is sound and not too old, by one conditional read.
    ///
    /// Whatever else there is costs a warning: the caller finds the blocks without a manifest.
    pub async fn read(&self) -> ManifestOutcome {
        let manifest = match self.current().await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return ManifestOutcome::Absent,
            Err(error) => {
                tracing::warn!(%error, "cannot use the manifest, looking through the bucket instead");
                return ManifestOutcome::Ignored;
            }
        };
        let age_ms = self.clock.now() - manifest.made;
        // One from the future was made by a clock that is wrong: nobody knows how old it is.
        if age_ms.saturating_abs() > self.options.age_ms_max {
            let made = manifest.made;
            tracing::warn!(age_ms, %made, "the manifest is too old, looking through the bucket instead");
            return ManifestOutcome::Ignored;
        }
        ManifestOutcome::Fresh(manifest)
    }

    /// Returns the manifest that was read last, however old it is.
    pub async fn last(&self) -> Option<Arc<Manifest>> {
        let known = self.known.lock().await;
        known.as_ref().map(|(_, manifest)| Arc::clone(manifest))
    }

    /// Returns the same and forgets it: the next read takes it anew.
    pub async fn take_last(&self) -> Option<Arc<Manifest>> {
        let known = self.known.lock().await.take();
        known.map(|(_, manifest)| manifest)
    }

    async fn current(&self) -> Result<Option<Arc<Manifest>>> {
        let mut known = self.known.lock().await;
        let version = known.as_ref().map(|(version, _)| version);
        let read = self
            .bucket
            .read_if_changed(MANIFEST_OBJECT, version, MANIFEST_BYTES_MAX)
            .await;
        let (bytes, version) = match read {
            Ok(ReadOutcome::Unchanged) => {
                return Ok(known.as_ref().map(|(_, manifest)| Arc::clone(manifest)));
            }
            Ok(ReadOutcome::Changed { bytes, version }) => (bytes, version),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *known = None;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let before = known.as_ref().map(|(_, manifest)| Arc::clone(manifest));
        let decode = move || {
            let mut manifest = Manifest::decode(&bytes)?;
            if let Some(before) = before {
                format::share(&mut manifest.view, &before.view.blocks);
            }
            Ok(Arc::new(manifest))
        };
        let decoded: Result<Arc<Manifest>> = self.compute.run(decode).await?;
        let manifest = decoded?;
        *known = Some((version, Arc::clone(&manifest)));
        Ok(Some(manifest))
    }
}

/// What a [`ManifestReader`] found.
#[derive(Debug, Clone)]
pub enum ManifestOutcome {
    /// A manifest that can be used.
    Fresh(Arc<Manifest>),
    /// None.
    Absent,
    /// One that cannot be used.
    Ignored,
}
