//! Writing the manifest of a bucket, only when there is something to say.
//!
//! Several publishers may share a bucket. Each write depends on what the writer has seen there, so that none replaces a
//! newer view by an older one; the one that comes late reads what the other wrote, and most often has nothing to add.

use std::sync::Arc;

use bytes::Bytes;
use thanos_core::time::Timestamp;
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::format::{self, Summary};
use super::{MANIFEST_BYTES_MAX, MANIFEST_OBJECT, ManifestOptions};
use crate::Bucket;
use crate::bucket::{PutCondition, ReadOutcome, Version};
use crate::compute::Compute;
use crate::fetch::BucketView;

/// How often a publisher tries again when another was faster.
const ATTEMPTS: usize = 5;
/// A manifest that says the same is written again when this part of its lifetime is over: readers must not take a
/// bucket in which nothing happens for one that nobody looks at.
const RENEWED_IN_LIFETIME: i64 = 3;

/// Publishes views of a bucket as its manifest.
#[derive(Debug)]
pub struct ManifestPublisher {
    bucket: Bucket,
    options: ManifestOptions,
    compute: Compute,
    /// What the bucket had last.
    known: Mutex<Option<Known>>,
}

/// What became of an attempt to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The bucket has this manifest now.
    Written,
    /// The bucket has one that says the same and is young enough.
    Unchanged,
    /// The bucket has one that is newer.
    Superseded,
}

/// A manifest in the bucket.
#[derive(Debug)]
struct Known {
    version: Version,
    /// `None` when it is damaged.
    summary: Option<Summary>,
}

impl ManifestPublisher {
    /// Returns the publisher for `bucket`, whose manifests are used by readers that go by `options`.
    pub fn new(bucket: Bucket, options: ManifestOptions, compute: Compute) -> Self {
        Self {
            bucket: bucket.expecting_missing(),
            options,
            compute,
            known: Mutex::default(),
        }
    }

    /// Writes `view`, which was `made` at that time, unless the bucket has a newer manifest or one that says the same.
    ///
    /// Where nothing changed this costs one conditional read. A damaged manifest is replaced, and so is one of a time
    /// to come in which no reader believes.
    ///
    /// # Errors
    ///
    /// `Invalid` for a view that is not complete: readers would take what it lacks for absent. `LimitExceeded` when the
    /// manifest would be longer than readers take, `Unavailable` when others are faster again and again, and what the
    /// bucket reports.
    pub async fn publish(&self, view: Arc<BucketView>, made: Timestamp) -> Result<Published> {
        if let Some((id, error)) = view.unread.first_key_value() {
            let message = format!("an incomplete view is not published: block {id}: {error}");
            return Err(Error::invalid(message));
        }
        let mut known = self.known.lock().await;
        let encode = move || {
            let bytes = format::encode(&view, made)?;
            let summary = format::summary(&bytes)?;
            Ok((Bytes::from(bytes), summary))
        };
        let encoded: Result<(Bytes, Summary)> = self.compute.run(encode).await?;
        let (bytes, summary) = encoded?;
        for _ in 0..ATTEMPTS {
            self.look(&mut known).await?;
            if let Some(other) = known.as_ref().and_then(|known| known.summary)
                && let Some(outcome) = self.is_enough(other, summary)
            {
                return Ok(outcome);
            }
            if let Some(version) = self.write(&bytes, known.as_ref()).await? {
                *known = version.map(|version| Known {
                    version,
                    summary: Some(summary),
                });
                return Ok(Published::Written);
            }
        }
        let message = format!("others wrote it {ATTEMPTS} times meanwhile");
        Err(Error::unavailable(message).in_file(MANIFEST_OBJECT))
    }

    /// Reports whether the manifest `other` that is there makes `own` needless, and why.
    fn is_enough(&self, other: Summary, own: Summary) -> Option<Published> {
        let ahead_ms = other.made - own.made;
        if ahead_ms > self.options.age_ms_max {
            // Made by a clock that is wrong: readers ignore it, and it would stand in the way until then.
            return None;
        }
        if ahead_ms > 0 {
            return Some(Published::Superseded);
        }
        let is_young = ahead_ms.saturating_neg() < self.options.age_ms_max / RENEWED_IN_LIFETIME;
        (is_young && other.content == own.content).then_some(Published::Unchanged)
    }

    /// Brings `known` up to date with the bucket.
    async fn look(&self, known: &mut Option<Known>) -> Result<()> {
        let version = known.as_ref().map(|known| &known.version);
        let read = self
            .bucket
            .read_if_changed(MANIFEST_OBJECT, version, MANIFEST_BYTES_MAX)
            .await;
        *known = match read {
            Ok(ReadOutcome::Unchanged) => return Ok(()),
            Ok(ReadOutcome::Changed { bytes, version }) => {
                let summary = self.compute.run(move || format::summary(&bytes)).await?;
                if let Err(error) = &summary {
                    tracing::warn!(%error, "the manifest is damaged, replacing it");
                }
                Some(Known {
                    version,
                    summary: summary.ok(),
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Writes `bytes` over what is `known`. Returns `None` when something else was there, and else its version as far
    /// as that is known.
    async fn write(&self, bytes: &Bytes, known: Option<&Known>) -> Result<Option<Option<Version>>> {
        let condition = match known {
            None => PutCondition::Absent,
            Some(known) => PutCondition::Unchanged(known.version.clone()),
        };
        let put = self
            .bucket
            .put_if(MANIFEST_OBJECT, bytes.clone(), condition)
            .await;
        match put {
            // A store without conditional writes. Each manifest is whole, so the last writer does no harm.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.bucket.put(MANIFEST_OBJECT, bytes.clone()).await?;
                Ok(Some(None))
            }
            put => Ok(put?.map(Some)),
        }
    }
}
