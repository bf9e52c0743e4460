//! Marker files beside a block's `meta.json`.
//!
//! Nobody asks whether there is such a block: one whose upload broke has no `meta.json` and must be markable, too.

use thanos_core::block::{BlockId, Marker};
use thanos_core::{Error, ErrorKind, Result};

use crate::Bucket;
use crate::bucket::PutCondition;

/// Writes `mark` beside the block; returns whether it is new. A marker that exists stays as it is.
///
/// # Errors
///
/// What the bucket reports.
pub async fn mark_block<M: Marker>(bucket: &Bucket, mark: &M) -> Result<bool> {
    let id = mark.block();
    let object = object_of::<M>(id);
    let stays = || {
        tracing::warn!(block = %id, object, "asked to mark a block that is marked, the old marker stays");
        Ok(false)
    };
    if exists(bucket, &object, "check exists").await? {
        return stays();
    }
    let text = bytes::Bytes::from(mark.to_json());
    let written = match bucket
        .put_if(&object, text.clone(), PutCondition::Absent)
        .await
    {
        // The store knows no conditions.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            bucket.put(&object, text).await.map(|()| true)
        }
        written => written.map(|version| version.is_some()),
    };
    let failed = |error: Error| error.context(format_args!("upload file {object}"));
    if !written.map_err(failed)? {
        return stays();
    }
    tracing::info!(block = %id, object, "block has been marked");
    Ok(true)
}

/// Removes the marker of the kind `M` from the block; returns whether there was one.
///
/// # Errors
///
/// What the bucket reports.
pub async fn remove_mark<M: Marker>(bucket: &Bucket, id: BlockId) -> Result<bool> {
    let object = object_of::<M>(id);
    if !exists(bucket, &object, "check if file exists").await? {
        tracing::warn!(block = %id, object, "asked to remove a marker that does not exist");
        return Ok(false);
    }
    let failed = |error: Error| error.context(format_args!("delete file {object}"));
    bucket.delete(&object).await.map_err(failed)?;
    tracing::info!(block = %id, object, "mark has been removed from the block");
    Ok(true)
}

fn object_of<M: Marker>(id: BlockId) -> String {
    format!("{id}/{}", M::FILE)
}

async fn exists(bucket: &Bucket, object: &str, what: &str) -> Result<bool> {
    let failed = |error: Error| error.context(format_args!("{what} {object}"));
    bucket.exists(object).await.map_err(failed)
}
