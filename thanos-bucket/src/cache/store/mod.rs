//! The caching bucket: an object store that keeps chunks, attributes, block metadata and listings in a cache.
//!
//! Its place is right under [`Bucket`](crate::Bucket), above what counts, retries and delays requests. Keys and values
//! are those of Thanos ([`keys`]), so that gateways of both kinds can share servers.
//!
//! | what | how |
//! |---|---|
//! | ranges of `<block>/chunks/<number>` | cut into aligned subranges; missing neighbours are fetched together; short ones exactly |
//! | attributes of the same | the object's size and time |
//! | `meta.json`, `deletion-mark.json` | whether they exist, and their content |
//! | listings of the root | names; with sizes where the listing is recursive |
//!
//! Everything else, and every read with a condition, goes through. Blocks never change; of what does change, a reader
//! may see the state of a time to live ago. Writes go through and change nothing in the cache: whoever writes and then
//! reads uses the bucket below.

pub mod keys;
mod listing;
mod metrics;
mod options;
mod short;
mod subranges;
mod sums;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};

use self::keys::Kind;
pub use self::metrics::CachingStoreMetrics;
use self::metrics::Operation;
pub use self::options::{CachingStoreOptions, Unsummed};
use self::short::ShortReadBytes;
pub use self::short::ShortReads;
use super::Backend;

/// In the extensions of a read: what is cached is not to be believed, and to be replaced by what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastCaches;

/// An [`ObjectStore`] that keeps in a [`Backend`] what it reads of another one.
///
/// # Example
///
/// ```
/// # futures::executor::block_on(async {
/// use std::sync::Arc;
/// use thanos_bucket::Bucket;
/// use thanos_bucket::cache::{CachingStore, CachingStoreOptions, InMemoryCache};
///
/// let memory = Arc::new(object_store::memory::InMemory::new());
/// let backend = Arc::new(InMemoryCache::new(Default::default(), Default::default())?);
/// let bucket = Bucket::new(memory).layered(|store| {
///     Arc::new(CachingStore::new(store, backend, CachingStoreOptions::default(), Default::default()))
/// });
/// # let _ = bucket;
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct CachingStore {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn ObjectStore>,
    backend: Arc<dyn Backend>,
    options: CachingStoreOptions,
    metrics: CachingStoreMetrics,
    short_reads: ShortReadBytes,
}

impl CachingStore {
    /// Returns `inner` with what `options` say kept in `backend`.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        backend: Arc<dyn Backend>,
        options: CachingStoreOptions,
        metrics: CachingStoreMetrics,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner,
                backend,
                options,
                metrics,
                short_reads: ShortReadBytes::default(),
            }),
        }
    }
}

impl Shared {
    /// Returns the object's name as keys have it: without the prefix of the bucket.
    fn name(&self, location: &Path) -> Option<String> {
        let rest = location.prefix_match(&self.options.prefix)?;
        Some(rest.collect::<Path>().to_string())
    }

    /// Keeps `value` for what is left of `ttl` since `read_at`.
    fn keep(&self, key: String, value: Bytes, ttl: Duration, read_at: Instant) {
        let left = ttl.saturating_sub(read_at.elapsed());
        if !left.is_zero() {
            self.put_value(key, value, left);
        }
    }

    fn keep_existence(&self, name: &str, exists: bool, read_at: Instant) {
        let (value, ttl) = if exists {
            ("true", self.options.exists_ttl)
        } else {
            ("false", self.options.absent_ttl)
        };
        let value = Bytes::from_static(value.as_bytes());
        self.keep(keys::exists(name), value, ttl, read_at);
    }

    /// Reads a small object of a block as a whole.
    async fn read_meta(
        &self,
        location: &Path,
        name: &str,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let operation = if options.head {
            Operation::Exists
        } else {
            Operation::Get
        };
        self.metrics.requested(operation);
        let (mut content, mut exists) = (None, None);
        if !is_past_caches(&options) {
            let wanted = vec![keys::content(name), keys::exists(name)];
            let mut values = self.values(wanted).await.into_iter();
            (content, exists) = (values.next().flatten(), values.next().flatten());
        }
        // What is no JSON cannot be what the object holds, or is not worth keeping.
        if let Some(content) = content.filter(|content| is_json(content)) {
            self.metrics.hit(operation);
            return Ok(whole(location, content));
        }
        if exists.is_some_and(|exists| exists == "false") {
            self.metrics.hit(operation);
            return Err(not_found(location));
        }
        let (read_at, is_head) = (Instant::now(), options.head);
        let answer = match self.inner.get_opts(location, options).await {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, object_store::Error::NotFound { .. }) {
                    self.keep_existence(name, false, read_at);
                }
                return Err(error);
            }
        };
        self.keep_existence(name, true, read_at);
        if is_head || answer.meta.size > self.options.content_bytes_max {
            return Ok(answer);
        }
        let (meta, attributes) = (answer.meta.clone(), answer.attributes.clone());
        let content = answer.bytes().await?;
        if content.len() as u64 == meta.size {
            let (key, ttl) = (keys::content(name), self.options.content_ttl);
            self.keep(key, content.clone(), ttl, read_at);
        }
        Ok(GetResult {
            meta,
            attributes,
            ..whole(location, content)
        })
    }

    /// Returns size and time of an object of chunks.
    async fn attributes(
        &self,
        location: &Path,
        name: &str,
        options: GetOptions,
    ) -> object_store::Result<ObjectMeta> {
        self.metrics.requested(Operation::Attributes);
        let mut value = None;
        if !is_past_caches(&options) {
            value = self
                .values(vec![keys::attributes(name)])
                .await
                .pop()
                .flatten();
        }
        if let Some(meta) = value.and_then(|value| keys::decode_attributes(location, &value)) {
            self.metrics.hit(Operation::Attributes);
            return Ok(meta);
        }
        let meta = self.inner.get_opts(location, options).await?.meta;
        self.keep_attributes(name, &meta);
        Ok(meta)
    }

    fn keep_attributes(&self, name: &str, meta: &ObjectMeta) {
        let value = keys::encode_attributes(meta);
        let ttl = self.options.attributes_ttl;
        self.put_value(keys::attributes(name), value, ttl);
    }
}

/// Returns the answer to a read of an object that is `content`. When it was written nobody knows.
fn whole(location: &Path, content: Bytes) -> GetResult {
    let size = content.len() as u64;
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: Default::default(),
        size,
        e_tag: None,
        version: None,
    };
    answer(meta, 0..size, vec![content])
}

/// Returns the answer to a read that found `pieces`, which are the bytes `range` of the object.
fn answer(meta: ObjectMeta, range: Range<u64>, pieces: Vec<Bytes>) -> GetResult {
    let pieces = stream::iter(pieces.into_iter().map(Ok)).boxed();
    GetResult {
        payload: GetResultPayload::Stream(pieces),
        meta,
        range,
        attributes: Default::default(),
        extensions: Default::default(),
    }
}

/// Reports whether a read wants to know what the store below says.
fn is_past_caches(options: &GetOptions) -> bool {
    options.extensions.get::<PastCaches>().is_some()
}

fn is_json(content: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(content).is_ok()
}

fn not_found(location: &Path) -> object_store::Error {
    object_store::Error::NotFound {
        path: location.to_string(),
        source: "the cache knows that there is none".into(),
    }
}

fn has_conditions(options: &GetOptions) -> bool {
    let GetOptions {
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
        version,
        range: _,
        head: _,
        extensions: _,
    } = options;
    if_match.is_some()
        || if_none_match.is_some()
        || if_modified_since.is_some()
        || if_unmodified_since.is_some()
        || version.is_some()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CachingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.shared.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.shared
            .inner
            .put_multipart_opts(location, options)
            .await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let shared = &self.shared;
        let through = |options| shared.inner.get_opts(location, options);
        let Some(name) = shared.name(location).filter(|_| !has_conditions(&options)) else {
            return through(options).await;
        };
        match (keys::kind_of(&name), &options.range) {
            (Kind::Meta, None) => shared.read_meta(location, &name, options).await,
            (Kind::Chunks, None) if options.head => {
                let meta = shared.attributes(location, &name, options).await?;
                let range = 0..meta.size;
                Ok(answer(meta, range, Vec::new()))
            }
            (Kind::Chunks, Some(GetRange::Bounded(range)))
                if !options.head && range.start < range.end =>
            {
                let range = range.clone();
                shared.read_subranges(location, &name, range, options).await
            }
            (Kind::Chunks | Kind::Meta | Kind::Other, _) => through(options).await,
        }
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        let name = self.shared.name(location);
        if name.is_none_or(|name| keys::kind_of(&name) != Kind::Chunks) {
            return self.shared.inner.get_ranges(location, ranges).await;
        }
        let read = |range: Range<u64>| async move {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range)),
                ..GetOptions::default()
            };
            self.get_opts(location, options).await?.bytes().await
        };
        let reads = ranges.iter().cloned().map(read);
        stream::iter(reads).buffered(8).try_collect().await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.shared.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let root = prefix.cloned().unwrap_or_default();
        if root != self.shared.options.prefix {
            return self.shared.inner.list(prefix);
        }
        let shared = Arc::clone(&self.shared);
        async move { shared.list_root().await }
            .into_stream()
            .flatten()
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.shared.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        if root != self.shared.options.prefix {
            return self.shared.inner.list_with_delimiter(prefix).await;
        }
        self.shared.list_root_names(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.shared.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> object_store::Result<()> {
        self.shared.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Display for CachingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "caching: {}", self.shared.inner)
    }
}

impl fmt::Debug for CachingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachingStore")
            .field("inner", &self.shared.inner)
            .field("backend", &self.shared.backend)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
