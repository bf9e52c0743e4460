//! Deleting: `meta.json` first, the deletion mark last.

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::block::{BlockId, DeletionMark, META_FILE, Marker};
use thanos_core::{Error, Result};

use crate::Bucket;

/// How many objects of one block are deleted at once.
const CONCURRENCY: usize = 8;

/// Deletes all objects of the block, and nothing when there is none.
///
/// What is cut off leaves a partial block with its deletion mark, which the next deletion finishes.
///
/// # Errors
///
/// What the bucket reports.
pub async fn delete_block(bucket: &Bucket, id: BlockId) -> Result<()> {
    let meta = format!("{id}/{META_FILE}");
    let mark = format!("{id}/{}", DeletionMark::FILE);
    delete(bucket, &meta).await?;
    let directory = id.to_string();
    let found = bucket.objects_under(&directory).await?;
    let names = found.into_iter().map(|(name, _)| name);
    let rest: Vec<String> = names
        .filter(|name| *name != meta && *name != mark)
        .collect();
    stream::iter(rest)
        .map(|name| async move { delete(bucket, &name).await })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    delete(bucket, &mark).await?;
    // Some stores and tools keep a directory as an empty object. Nothing is lost when it stays.
    for marker in [format!("{directory}/chunks"), directory] {
        if let Err(error) = bucket.delete(&marker).await {
            tracing::debug!(object = marker, %error, "failed to delete a directory marker");
        }
    }
    tracing::info!(block = %id, "deleted block");
    Ok(())
}

async fn delete(bucket: &Bucket, object: &str) -> Result<()> {
    let failed = |error: Error| error.context(format_args!("delete {object}"));
    bucket.delete(object).await.map_err(failed)
}
