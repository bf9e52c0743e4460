//! Tombstones in a bucket: writing, listing and lifting them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::block::BlockId;
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::{
    AppliedRecord, RequestId, TOMBSTONE_BYTES_MAX, TOMBSTONES_DIR, TOMBSTONES_MAX, Tombstone,
};
use crate::Bucket;
use crate::bucket::{ObjectInfo, PutCondition, Version};

/// How many tombstones are read at once.
const READS_AT_ONCE: usize = 32;

fn active_dir() -> String {
    format!("{TOMBSTONES_DIR}/active")
}

fn active(id: &RequestId) -> String {
    format!("{TOMBSTONES_DIR}/active/{id}.json")
}

fn clean_dir() -> String {
    format!("{TOMBSTONES_DIR}/clean")
}

fn done(id: &RequestId) -> String {
    format!("{TOMBSTONES_DIR}/done/{id}.json")
}

/// The tombstones of a bucket.
#[derive(Debug, Clone)]
pub struct TombstoneStore {
    bucket: Bucket,
}

impl TombstoneStore {
    /// Returns the tombstones of `bucket`.
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    /// Writes a tombstone; `false` when the same one is there already.
    ///
    /// # Errors
    ///
    /// `Invalid` when [`Tombstone::check`] refuses it, or when another request has the same name, whether it is active
    /// or done.
    pub async fn add(&self, tombstone: &Tombstone) -> Result<bool> {
        tombstone.check()?;
        let id = &tombstone.request_id;
        if self.bucket.exists(&done(id)).await? {
            return Err(Error::invalid(format!(
                "request {id} was carried out already"
            )));
        }
        let text = tombstone.to_json();
        if text.len() as u64 > TOMBSTONE_BYTES_MAX {
            let message = format!("tombstone {id} has more than {TOMBSTONE_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        let object = active(id);
        let written = match self
            .bucket
            .put_if(&object, text.clone().into(), PutCondition::Absent)
            .await
        {
            Ok(version) => version.is_some(),
            // A store without conditional writes.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let is_absent = !self.bucket.exists(&object).await?;
                if is_absent {
                    self.bucket.put(&object, text.clone().into()).await?;
                }
                is_absent
            }
            Err(error) => return Err(error),
        };
        if !written && self.bucket.read(&object, TOMBSTONE_BYTES_MAX).await? != text {
            let message = format!("there is another request {id}");
            return Err(Error::invalid(message));
        }
        Ok(written)
    }

    /// Returns the active tombstones by their names.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read or is damaged, with its name.
    pub async fn list(&self) -> Result<Vec<Arc<Tombstone>>> {
        let known = TombstoneReader::new(self.bucket.clone());
        Ok(known.read().await?.to_vec())
    }

    /// Takes a tombstone back; `false` when there is none. Samples that no compaction has left out are seen again.
    pub async fn lift(&self, id: &RequestId) -> Result<bool> {
        let object = active(id);
        if !self.bucket.exists(&object).await? {
            return Ok(false);
        }
        self.bucket.delete(&object).await?;
        Ok(true)
    }

    /// Notes that block `block` has nothing that the request deletes.
    pub(crate) async fn note_clean(&self, id: &RequestId, block: BlockId) -> Result<()> {
        let object = format!("{}/{id}/{block}", clean_dir());
        self.bucket.put(&object, Bytes::new()).await
    }

    /// Returns what [`Self::note_clean`] has noted.
    pub(crate) async fn clean_blocks(&self) -> Result<BTreeMap<RequestId, BTreeSet<BlockId>>> {
        let dir = clean_dir();
        let mut clean: BTreeMap<RequestId, BTreeSet<BlockId>> = BTreeMap::new();
        for (object, _) in self.bucket.objects_under(&dir).await? {
            let name = object.strip_prefix(&dir).unwrap_or_default();
            let mut parts = name.trim_start_matches('/').splitn(2, '/');
            if let (Some(Ok(id)), Some(Ok(block))) =
                (parts.next().map(str::parse), parts.next().map(str::parse))
            {
                clean.entry(id).or_default().insert(block);
            }
        }
        Ok(clean)
    }

    /// Keeps `record` and takes its tombstone away: no block has samples of it any more.
    pub async fn finish(&self, record: &AppliedRecord) -> Result<()> {
        let id = &record.tombstone.request_id;
        // The record comes first: a crash between the two leaves a tombstone that is finished again.
        self.bucket.put(&done(id), record.to_json().into()).await?;
        self.bucket.delete(&active(id)).await?;
        let noted = format!("{}/{id}", clean_dir());
        for (object, _) in self.bucket.objects_under(&noted).await? {
            self.bucket.delete(&object).await?;
        }
        Ok(())
    }
}

/// Reads the tombstones of a bucket again and again; those that did not change cost no request.
#[derive(Debug)]
pub struct TombstoneReader {
    bucket: Bucket,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    size: u64,
    version: Version,
    tombstone: Arc<Tombstone>,
}

impl TombstoneReader {
    /// Returns the reader of the tombstones of `bucket`.
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            known: Mutex::default(),
        }
    }

    /// Returns the active tombstones by their names: one listing, and a read of each that is new.
    ///
    /// # Errors
    ///
    /// When there are too many, or one of them cannot be read or is damaged, with its name: to leave it out would show
    /// what was deleted.
    pub async fn read(&self) -> Result<Arc<[Arc<Tombstone>]>> {
        let mut known = self.known.lock().await;
        let listed = self.bucket.objects_in(&active_dir()).await?;
        let listed: Vec<ObjectInfo> = (listed.into_iter())
            .filter(|object| object.name.ends_with(".json"))
            .collect();
        if listed.len() > TOMBSTONES_MAX {
            return Err(Error::limit_exceeded(format!(
                "{} active tombstones, at most {TOMBSTONES_MAX} are allowed",
                listed.len()
            )));
        }
        let reads = listed.into_iter().map(|object| {
            let same = known.get(&object.name).filter(|known| {
                known.size == object.size
                    && known.version == object.version
                    && object.version.is_known()
            });
            self.one(object, same.cloned())
        });
        let read: Vec<Option<(String, Known)>> = futures::stream::iter(reads.collect::<Vec<_>>())
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        *known = read.into_iter().flatten().collect();
        let tombstones = known.values().map(|known| Arc::clone(&known.tombstone));
        Ok(tombstones.collect())
    }

    async fn one(
        &self,
        object: ObjectInfo,
        known: Option<Known>,
    ) -> Result<Option<(String, Known)>> {
        if let Some(known) = known {
            return Ok(Some((object.name, known)));
        }
        let text = match self.bucket.read(&object.name, TOMBSTONE_BYTES_MAX).await {
            Ok(text) => text,
            // Lifted since the listing.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let tombstone = Tombstone::parse(&text).map_err(|error| error.in_file(&object.name))?;
        if active(&tombstone.request_id) != object.name {
            let message = format!("this is tombstone {}", tombstone.request_id);
            return Err(Error::corrupt(message).in_file(&object.name));
        }
        let known = Known {
            size: object.size,
            version: object.version,
            tombstone: Arc::new(tombstone),
        };
        Ok(Some((object.name, known)))
    }
}
