//! Removing a block that lies in the backup bucket.

use std::path::Path;
use std::sync::Arc;

use thanos_core::block::{BlockId, DeletionMark};
use thanos_core::{Error, Result};

use super::{RepairInto, VerifyOptions};
use crate::Bucket;
use crate::transfer::{UploadOptions, delete_block, mark_block, upload_block};

/// What a deletion mark of a verifier says.
const DETAILS: &str = "manual verify-repair";

/// Uploads the block in `dir` to the backup bucket, and then removes it from `bucket`, or marks it.
pub(super) async fn back_up_and_remove(
    bucket: &Bucket,
    id: BlockId,
    dir: &Path,
    into: &RepairInto,
    options: &VerifyOptions,
) -> Result<()> {
    check_absent(&into.backup, id).await?;
    let uploads = UploadOptions {
        clock: Arc::clone(&options.clock),
        compute: options.compute.clone(),
        ..UploadOptions::default()
    };
    let uploaded = upload_block(&into.backup, dir, &uploads).await;
    uploaded.map_err(|error| error.context("upload to backup"))?;
    if into.delete_delay_ms == 0 {
        let deleted = delete_block(bucket, id).await;
        return deleted.map_err(|error| error.context("delete from source"));
    }
    let mark = DeletionMark::new(id, options.clock.now(), DETAILS);
    let marked = mark_block(bucket, &mark).await;
    if marked.map_err(|error| error.context("marking delete from source"))? {
        options.metrics.marked_for_deletion.inc();
    }
    Ok(())
}

/// Checks that there is nothing of the block in the backup bucket.
pub(super) async fn check_absent(backup: &Bucket, id: BlockId) -> Result<()> {
    if backup.objects_under(&id.to_string()).await?.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{id} dir seems to exists in backup bucket. Remove this block manually if you are sure it is safe to do"
    )))
}
