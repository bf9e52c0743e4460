//! Which blocks a bucket holds, by their `meta.json`.
//!
//! A top-level directory whose name is a ULID is a block when it has a readable `meta.json`. One without is
//! partial: still being uploaded, or left by a broken upload. Nothing here decides whether a block is wanted.

mod objects;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use thanos_core::block::{BlockId, META_FILE, Meta};
use thanos_core::{Error, ErrorKind, Result};

use crate::Bucket;

pub use objects::BlockObjects;

/// The largest `meta.json` that is read.
const META_BYTES_MAX: u64 = 64 << 20;

/// The blocks of a bucket at one time.
#[derive(Debug, Default)]
pub struct BucketView {
    /// Blocks with a readable `meta.json`.
    pub blocks: BTreeMap<BlockId, Arc<BlockEntry>>,
    /// Directories without one, or with a damaged one: not served, and why.
    pub partial: BTreeMap<BlockId, Error>,
}

/// A block, as far as its `meta.json` and a listing tell.
#[derive(Debug, Clone)]
pub struct BlockEntry {
    /// Its `meta.json`.
    pub meta: Meta,
    /// Its objects; `None` when the listing did not look into the block's directory.
    pub objects: Option<BlockObjects>,
}

/// How [`fetch`] works.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// How many `meta.json` are read at once (`--block-meta-fetch-concurrency`).
    pub concurrency: usize,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { concurrency: 32 }
    }
}

/// Lists the blocks of `bucket`; a `meta.json` known from `before` is not read again, because blocks are immutable.
///
/// # Errors
///
/// When the listing or the read of a `meta.json` fails for another reason than its absence or damage: the view
/// would be incomplete without anybody knowing. The caller keeps the view it has.
pub async fn fetch(
    bucket: &Bucket,
    before: &BucketView,
    options: &FetchOptions,
) -> Result<BucketView> {
    let directories = bucket.top_directories().await?;
    let ids: Vec<BlockId> = directories
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    let found: Vec<(BlockId, Result<Arc<BlockEntry>>)> = futures::stream::iter(ids)
        .map(|id| async move {
            if let Some(known) = before.blocks.get(&id) {
                return Ok((id, Ok(Arc::clone(known))));
            }
            match read_meta(bucket, id).await {
                Err(error) if !says_partial(&error) => Err(error),
                outcome => Ok((id, outcome.map(Arc::new))),
            }
        })
        .buffer_unordered(options.concurrency.max(1))
        .try_collect()
        .await?;

    let mut view = BucketView::default();
    for (id, outcome) in found {
        match outcome {
            Ok(meta) => {
                view.blocks.insert(id, meta);
            }
            Err(error) => {
                view.partial.insert(id, error);
            }
        }
    }
    Ok(view)
}

/// Whether `error` means that the block is not whole, rather than that the bucket could not answer.
fn says_partial(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::LimitExceeded
    )
}

async fn read_meta(bucket: &Bucket, id: BlockId) -> Result<BlockEntry> {
    let object = format!("{id}/{META_FILE}");
    let text = bucket.read(&object, META_BYTES_MAX).await?;
    let meta = Meta::parse(&text).map_err(|error| error.in_file(object.as_str()))?;
    if meta.ulid != id {
        let message = format!(
            "is of block {}, but lies in the directory of {id}",
            meta.ulid
        );
        return Err(Error::corrupt(message).in_file(object));
    }
    Ok(BlockEntry {
        meta,
        objects: None,
    })
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use object_store::memory::InMemory;

    use super::*;

    const FIRST: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    const SECOND: &str = "01M81M0FJ85NHPRPDAFDZ3PATT";

    async fn bucket_with(objects: &[(&str, String)]) -> Bucket {
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        for (name, text) in objects {
            bucket.put(name, text.clone().into()).await.unwrap();
        }
        bucket
    }

    fn meta_json(id: &str) -> String {
        format!(
            r#"{{"ulid":"{id}","minTime":0,"maxTime":10,"version":1,"compaction":{{"level":1}}}}"#
        )
    }

    #[test]
    fn only_directories_with_a_readable_meta_are_blocks() {
        block_on(async {
            let bucket = bucket_with(&[
                (&format!("{FIRST}/meta.json"), meta_json(FIRST)),
                (&format!("{SECOND}/index"), "no meta yet".into()),
                ("debug/metas/x.json", "ignored".into()),
                ("stray-file", "ignored".into()),
            ])
            .await;
            let view = fetch(&bucket, &BucketView::default(), &FetchOptions::default())
                .await
                .unwrap();
            assert_eq!(
                view.blocks
                    .keys()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
                [FIRST]
            );
            let partial: Vec<_> = view
                .partial
                .iter()
                .map(|(id, e)| (id.to_string(), e.kind()))
                .collect();
            assert_eq!(partial, [(SECOND.to_owned(), ErrorKind::NotFound)]);
        });
    }

    #[test]
    fn a_damaged_or_misplaced_meta_is_partial_and_names_the_object() {
        block_on(async {
            let bucket = bucket_with(&[
                (&format!("{FIRST}/meta.json"), "{\"ulid\":".into()),
                (&format!("{SECOND}/meta.json"), meta_json(FIRST)),
            ])
            .await;
            let view = fetch(&bucket, &BucketView::default(), &FetchOptions::default())
                .await
                .unwrap();
            assert!(view.blocks.is_empty());
            for (id, error) in &view.partial {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert_eq!(error.file(), Some(format!("{id}/meta.json").as_str()));
            }
            assert_eq!(view.partial.len(), 2);
        });
    }

    #[test]
    fn a_known_block_is_not_read_again() {
        block_on(async {
            let bucket = bucket_with(&[(&format!("{FIRST}/meta.json"), meta_json(FIRST))]).await;
            let view = fetch(&bucket, &BucketView::default(), &FetchOptions::default())
                .await
                .unwrap();
            let gets = bucket.requests().gets;
            let again = fetch(&bucket, &view, &FetchOptions::default())
                .await
                .unwrap();
            assert_eq!((bucket.requests().gets, again.blocks.len()), (gets, 1));
        });
    }
}
