//! The bucket: an object store with a prefix, exact range reads, and counted requests.
//!
//! This is the only place that speaks `object_store`; errors leave it as [`thanos_core::Error`] with the object's
//! name. Any `Arc<dyn ObjectStore>` can be a bucket. Retries belong to the object store's client, below this.

mod object;
mod stream;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};
use thanos_core::{Error, ErrorKind, Result};

use crate::cache::store::PastCaches;
use crate::layers::{BucketMetrics, ExistsQuestion, ExpectMissing, Instrumented, RequestCounter};

pub use crate::layers::RequestCounts;
pub use object::{ObjectInfo, PutCondition, ReadOutcome, Version};

/// A place in an object store that holds blocks.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_bucket::Bucket;
///
/// # futures::executor::block_on(async {
/// let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()));
/// bucket.put("hello", "world".into()).await?;
/// assert_eq!(bucket.read_range("hello", 1..3).await?, "or");
/// assert_eq!(bucket.requests().gets, 1);
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    counter: RequestCounter,
    missing: Missing,
    caches: Caches,
}

/// Whether a caching layer may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caches {
    Believed,
    Passed,
}

/// What a missing object means for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Failure,
    Expected,
}

impl Bucket {
    /// Returns the bucket over all of `store`.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self::with_metrics(store, BucketMetrics::default(), "")
    }

    /// Returns the bucket over all of `store`, counted in `metrics` with `name` as the label `bucket`.
    pub fn with_metrics(store: Arc<dyn ObjectStore>, metrics: BucketMetrics, name: &str) -> Self {
        let store = Instrumented::new(store, &metrics, name);
        Self {
            counter: store.counter(),
            store: Arc::new(store),
            prefix: Path::default(),
            missing: Missing::Failure,
            caches: Caches::Believed,
        }
    }

    /// Returns the same bucket for reads of objects that may well be missing: that they are is no failure in the metrics.
    #[must_use]
    pub fn expecting_missing(mut self) -> Self {
        self.missing = Missing::Expected;
        self
    }

    /// Returns the same bucket for reads that no cache answers: what a
    /// [`CachingStore`](crate::cache::CachingStore) has is replaced by what is read.
    #[must_use]
    pub fn past_caches(mut self) -> Self {
        self.caches = Caches::Passed;
        self
    }

    /// Returns the same bucket with every name put under `prefix`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a prefix that is no object path, such as one with `..` in it.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| {
            Error::invalid(format!("bucket prefix {prefix:?}")).with_source(error)
        })?;
        Ok(self)
    }

    /// Returns the same bucket with `wrap` around its object store, outside of what counts requests: a cache, say.
    #[must_use]
    pub fn layered(
        mut self,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Self {
        self.store = wrap(self.store);
        self
    }

    /// Returns what is put before every name.
    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    fn path(&self, object: &str) -> Result<Path> {
        let name = Path::parse(object).map_err(|error| {
            Error::invalid(format!("object name {object:?}")).with_source(error)
        })?;
        Ok(self.prefix.parts().chain(name.parts()).collect())
    }

    fn get_options(&self) -> GetOptions {
        let mut options = GetOptions::default();
        if self.missing == Missing::Expected {
            options.extensions.insert(ExpectMissing);
        }
        if self.caches == Caches::Passed {
            options.extensions.insert(PastCaches);
        }
        options
    }

    /// Returns the whole object.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when it is larger than `bytes_max`, before it is read.
    pub async fn read(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        let path = self.path(object)?;
        let answer = self
            .store
            .get_opts(&path, self.get_options())
            .await
            .map_err(|error| from_store(object, error))?;
        self.collect_answer(object, answer, bytes_max).await
    }

    async fn collect_answer(
        &self,
        object: &str,
        answer: GetResult,
        bytes_max: u64,
    ) -> Result<Bytes> {
        if answer.meta.size > bytes_max {
            let message = format!(
                "object has {} bytes, at most {bytes_max} are read",
                answer.meta.size
            );
            return Err(Error::limit_exceeded(message).in_file(object));
        }
        let size = answer.meta.size;
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| from_store(object, error))?;
        // Not every client compares a body with its announced length, and half an object may look like a damaged one.
        if bytes.len() as u64 != size {
            let message = format!("{} of {size} bytes came", bytes.len());
            return Err(Error::unavailable(message).in_file(object));
        }
        Ok(bytes)
    }

    /// Returns exactly the bytes of `range`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the object ends before the range does.
    pub async fn read_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.read_range_up_to(object, range.clone()).await?;
        let wanted = range.end.saturating_sub(range.start);
        if bytes.len() as u64 != wanted {
            let message = format!("object ends after {} of {wanted} wanted bytes", bytes.len());
            return Err(Error::corrupt(message).at(range.start).in_file(object));
        }
        Ok(bytes)
    }

    /// Returns the bytes of `range`, fewer when the object ends inside it.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the object ends before the range starts.
    pub async fn read_range_up_to(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let path = self.path(object)?;
        let wanted = range.end - range.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..self.get_options()
        };
        let answer = match self.store.get_opts(&path, options).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.range_error(object, &path, range.start, error).await),
        };
        if answer.range.start != range.start || answer.range.end > range.end {
            let message = format!(
                "asked for bytes {range:?}, the store sent {:?}",
                answer.range
            );
            return Err(Error::unavailable(message).in_file(object));
        }
        body(answer, wanted)
            .await
            .map_err(|error| from_store(object, error))
    }

    /// Returns the error of a range read. Stores say in many ways that a range starts past the end of the object, which
    /// is no trouble of the store but a damaged object.
    async fn range_error(
        &self,
        object: &str,
        path: &Path,
        start: u64,
        error: object_store::Error,
    ) -> Error {
        let error = from_store(object, error);
        if error.kind() != ErrorKind::Unavailable {
            return error;
        }
        match self.store.head(path).await {
            Ok(meta) if start >= meta.size => {
                let message = format!("object ends after {} bytes", meta.size);
                Error::corrupt(message).at(start).in_file(object)
            }
            _ => error,
        }
    }

    /// Returns the size of the object in bytes.
    pub async fn size(&self, object: &str) -> Result<u64> {
        let path = self.path(object)?;
        let options = GetOptions {
            head: true,
            ..self.get_options()
        };
        let answer = self.store.get_opts(&path, options).await;
        Ok(answer.map_err(|error| from_store(object, error))?.meta.size)
    }

    /// Reports whether there is such an object.
    pub async fn exists(&self, object: &str) -> Result<bool> {
        let path = self.path(object)?;
        let mut options = GetOptions {
            head: true,
            ..self.get_options()
        };
        options.extensions.insert(ExistsQuestion);
        match self.store.get_opts(&path, options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(from_store(object, error)),
        }
    }

    /// Writes the object, replacing an older one.
    pub async fn put(&self, object: &str, data: Bytes) -> Result<()> {
        let path = self.path(object)?;
        self.store
            .put(&path, data.into())
            .await
            .map_err(|error| from_store(object, error))?;
        Ok(())
    }

    /// Writes the object if `condition` holds; returns its new version, or `None` when the condition does not hold.
    ///
    /// # Errors
    ///
    /// `Invalid` from a store that knows no conditional writes.
    pub async fn put_if(
        &self,
        object: &str,
        data: Bytes,
        condition: PutCondition,
    ) -> Result<Option<Version>> {
        let path = self.path(object)?;
        let mode = match condition {
            PutCondition::Absent => PutMode::Create,
            PutCondition::Unchanged(version) => PutMode::Update(version.into()),
        };
        let options = PutOptions::from(mode);
        match self.store.put_opts(&path, data.into(), options).await {
            Ok(put) => Ok(Some(Version::from_put(put))),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(None),
            Err(error) => Err(without_conditions(from_store(object, error))),
        }
    }

    /// Returns the object unless it still is of version `known`.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when it is larger than `bytes_max`, before it is read.
    pub async fn read_if_changed(
        &self,
        object: &str,
        known: Option<&Version>,
        bytes_max: u64,
    ) -> Result<ReadOutcome> {
        let path = self.path(object)?;
        let options = GetOptions {
            if_none_match: known.and_then(|version| version.e_tag().map(str::to_owned)),
            ..self.get_options()
        };
        let answer = match self.store.get_opts(&path, options).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotModified { .. }) => return Ok(ReadOutcome::Unchanged),
            Err(error) => return Err(from_store(object, error)),
        };
        let version = Version::from_meta(&answer.meta);
        let bytes = self.collect_answer(object, answer, bytes_max).await?;
        Ok(ReadOutcome::Changed { bytes, version })
    }

    /// Removes the object; one that does not exist is no error.
    pub async fn delete(&self, object: &str) -> Result<()> {
        let path = self.path(object)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(from_store(object, error)),
        }
    }

    /// Returns all objects whose names come after `after` in byte order, in no promised order, at whatever depth; an
    /// empty `after` means all.
    pub fn objects_after(&self, after: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        let prefix = Some(&self.prefix).filter(|prefix| prefix.parts().next().is_some());
        let offset = match self.path(after) {
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
            Ok(_) if after.is_empty() => None,
            Ok(offset) => Some(offset),
        };
        let listing = match &offset {
            None => self.store.list(prefix),
            Some(offset) => self.store.list_with_offset(prefix, offset),
        };
        // Some servers do not know the parameter and list everything, and others begin with the offset itself.
        let is_after =
            move |meta: &ObjectMeta| offset.as_ref().is_none_or(|offset| meta.location > *offset);
        let depth = self.prefix.parts().count();
        listing
            .try_filter(move |meta| futures::future::ready(is_after(meta)))
            .map_ok(move |meta| ObjectInfo::new(meta, depth))
            .map_err(|error| from_store("listing", error))
            .boxed()
    }

    /// Returns the names of the directories at the top of the bucket.
    pub async fn top_directories(&self) -> Result<Vec<String>> {
        let prefix = Some(&self.prefix).filter(|prefix| prefix.parts().next().is_some());
        let listing = self
            .store
            .list_with_delimiter(prefix)
            .await
            .map_err(|error| from_store("listing", error))?;
        let names = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned));
        Ok(names.collect())
    }

    /// Returns the objects under `directory` with their sizes, sorted by name.
    pub async fn objects_under(&self, directory: &str) -> Result<Vec<(String, u64)>> {
        let objects = self.objects_in(directory).await?.into_iter();
        Ok(objects.map(|object| (object.name, object.size)).collect())
    }

    /// Returns the objects under `directory`, at whatever depth, sorted by name.
    pub async fn objects_in(&self, directory: &str) -> Result<Vec<ObjectInfo>> {
        let path = self.path(directory)?;
        let depth = self.prefix.parts().count();
        let mut objects: Vec<ObjectInfo> = (self.store.list(Some(&path)))
            .map_ok(|meta| ObjectInfo::new(meta, depth))
            .try_collect()
            .await
            .map_err(|error| from_store(directory, error))?;
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// Returns the objects under `directory` with what the listing says of them, in no promised order.
    pub async fn infos_under(&self, directory: &str) -> Result<Vec<ObjectInfo>> {
        let path = self.path(directory)?;
        let depth = self.prefix.parts().count();
        let listing = self.store.list(Some(&path));
        let infos = listing.map_ok(|meta| ObjectInfo::new(meta, depth));
        let infos = infos.try_collect().await;
        infos.map_err(|error| from_store(directory, error))
    }

    /// Returns how many requests were made so far, through this bucket and its clones.
    pub fn requests(&self) -> RequestCounts {
        self.counter.counts()
    }
}

/// Returns the body of an answer for at most `wanted` bytes.
async fn body(answer: GetResult, wanted: u64) -> object_store::Result<Bytes> {
    // As a stream a file comes in pieces of 8 KiB, for each of which a thread is woken.
    #[cfg(feature = "filesystem")]
    if let object_store::GetResultPayload::File(file, _) = answer.payload {
        return stream::file_range(file, answer.range).await;
    }
    collect(answer.into_stream(), wanted).await
}

/// Joins the pieces of a body; stops at the first byte over `wanted`, so that a store that sends too much costs nothing.
async fn collect(
    mut body: BoxStream<'static, object_store::Result<Bytes>>,
    wanted: u64,
) -> object_store::Result<Bytes> {
    let Some(first) = body.try_next().await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = body.try_next().await? else {
        return Ok(first);
    };
    let mut joined = BytesMut::with_capacity(
        usize::try_from(wanted)
            .unwrap_or(0)
            .max(first.len() + second.len()),
    );
    joined.extend_from_slice(&first);
    joined.extend_from_slice(&second);
    while let Some(piece) = body.try_next().await? {
        if joined.len() as u64 > wanted {
            break;
        }
        joined.extend_from_slice(&piece);
    }
    Ok(joined.freeze())
}

/// Gives the error of a conditional write its kind: servers that know no conditions answer 501, which the clients of the
/// clouds take for trouble of the server.
fn without_conditions(error: Error) -> Error {
    let is_unknown = ["NotImplemented", "501 Not Implemented"]
        .iter()
        .any(|words| error.message().contains(words));
    if !is_unknown || error.kind() != ErrorKind::Unavailable {
        return error;
    }
    let file = error.file().unwrap_or_default().to_owned();
    let message = error.message().to_owned();
    Error::invalid(message).in_file(file).with_source(error)
}

fn from_store(object: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotFound { .. } => ErrorKind::NotFound,
        Store::InvalidPath { .. }
        | Store::NotImplemented { .. }
        | Store::NotSupported { .. }
        | Store::PermissionDenied { .. }
        | Store::Unauthenticated { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
        .in_file(object)
        .with_source(error)
}
