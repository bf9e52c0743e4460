//! Large objects in parts: `part_size`.
//!
//! Place in the stack: above the client and its metadata. A write with a condition is never split, because clouds know
//! no condition for the end of an upload in parts.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// How many parts of one object are on their way at once.
const CONCURRENT_PARTS: usize = 4;
/// More parts than this no cloud takes; larger objects get larger parts.
const PARTS_MAX: u64 = 10_000;

/// An object store that is given large objects in parts.
#[derive(Debug)]
pub struct Uploads {
    store: Arc<dyn ObjectStore>,
    part_bytes: u64,
}

impl Uploads {
    /// Returns `store`, splitting objects that are larger than `part_bytes`.
    pub fn new(store: Arc<dyn ObjectStore>, part_bytes: u64) -> Self {
        Self {
            store,
            part_bytes: part_bytes.max(1),
        }
    }

    async fn put_in_parts(
        &self,
        location: &Path,
        data: Bytes,
        options: PutOptions,
    ) -> Result<PutResult> {
        let options = PutMultipartOptions {
            tags: options.tags,
            attributes: options.attributes,
            extensions: options.extensions,
        };
        let mut upload = self.store.put_multipart_opts(location, options).await?;
        let part_bytes = self.part_bytes.max((data.len() as u64).div_ceil(PARTS_MAX));
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let mut parts = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            let part = rest.split_to(part_bytes.min(rest.len()));
            parts.push(upload.put_part(part.into()));
        }
        let sent: Result<()> = futures::stream::iter(parts)
            .buffer_unordered(CONCURRENT_PARTS)
            .try_collect()
            .await;
        let result = match sent {
            Ok(()) => upload.complete().await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            // What stays behind after this costs money until a rule of the bucket removes it; the error is the news.
            if let Err(error) = upload.abort().await {
                tracing::warn!(object = %location, %error, "parts of a failed upload may stay in the bucket");
            }
        }
        result
    }
}

impl fmt::Display for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uploads({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Uploads {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let is_large = payload.content_length() as u64 > self.part_bytes;
        if is_large && matches!(options.mode, PutMode::Overwrite) {
            return self.put_in_parts(location, payload.into(), options).await;
        }
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}
