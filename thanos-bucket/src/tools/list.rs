//! The blocks of a bucket with everything that their `meta.json` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::{Error, Result};

use crate::Bucket;
use crate::fetch::filter::{BlockFilter, select};
use crate::fetch::{BlockEntry, FetchOptions, Fetcher, MetaDetail};

/// The blocks that were found.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Those that the filters leave.
    pub blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    /// Directories without a readable `meta.json`, and why.
    pub partial: BTreeMap<BlockId, Arc<Error>>,
}

/// Returns the blocks of `bucket` that `filters`, asked one after the other, leave.
///
/// # Errors
///
/// When the bucket cannot be listed, or something that is there cannot be read: a part of the blocks is no answer.
pub async fn list_blocks(
    bucket: &Bucket,
    fetch: FetchOptions,
    filters: &[Arc<dyn BlockFilter>],
) -> Result<Listing> {
    let fetch = FetchOptions {
        detail: MetaDetail::Whole,
        ..fetch
    };
    let view = Fetcher::new(bucket.clone(), fetch).fetch().await?;
    if let Some((id, error)) = view.unread.first_key_value() {
        let message = format!(
            "incomplete view: {} blocks could not be read, the first is {id}: {error}",
            view.unread.len()
        );
        return Err(Error::unavailable(message));
    }
    Ok(Listing {
        blocks: select(&view, filters).await?.blocks,
        partial: view.partial,
    })
}
