//! The bucket: an object store with a prefix, exact range reads, and counted requests.
//!
//! This is the only place that speaks `object_store`; errors leave it as [`thanos_core::Error`] with the object's
//! name. Any `Arc<dyn ObjectStore>` can be a bucket. Retries belong to the object store's client, below this.

mod object;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use thanos_core::{Error, ErrorKind, Result};

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
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    bytes_read: AtomicU64,
}

/// How many requests of each kind a bucket has made, and the bytes that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// Reads of objects or ranges.
    pub gets: u64,
    /// Questions for an object's size.
    pub heads: u64,
    /// Listings.
    pub lists: u64,
    /// Writes.
    pub puts: u64,
    /// Deletions.
    pub deletes: u64,
    /// Bytes received by reads.
    pub bytes_read: u64,
}

impl Bucket {
    /// Returns the bucket over all of `store`.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            prefix: Path::default(),
            counters: Arc::default(),
        }
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

    fn path(&self, object: &str) -> Result<Path> {
        let name = Path::parse(object).map_err(|error| {
            Error::invalid(format!("object name {object:?}")).with_source(error)
        })?;
        Ok(self.prefix.parts().chain(name.parts()).collect())
    }

    /// Returns the whole object.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when it is larger than `bytes_max`, before it is read.
    pub async fn read(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        let path = self.path(object)?;
        Counters::add(&self.counters.gets, 1);
        let answer = self
            .store
            .get(&path)
            .await
            .map_err(|error| from_store(object, error))?;
        self.collect_answer(object, answer, bytes_max).await
    }

    async fn collect_answer(
        &self,
        object: &str,
        answer: object_store::GetResult,
        bytes_max: u64,
    ) -> Result<Bytes> {
        if answer.meta.size > bytes_max {
            let message = format!(
                "object has {} bytes, at most {bytes_max} are read",
                answer.meta.size
            );
            return Err(Error::limit_exceeded(message).in_file(object));
        }
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| from_store(object, error))?;
        Counters::add(&self.counters.bytes_read, bytes.len() as u64);
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
        Counters::add(&self.counters.gets, 1);
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
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
        let bytes = collect(answer.into_stream(), wanted)
            .await
            .map_err(|error| from_store(object, error))?;
        Counters::add(&self.counters.bytes_read, bytes.len() as u64);
        Ok(bytes)
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
        Counters::add(&self.counters.heads, 1);
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
        Counters::add(&self.counters.heads, 1);
        Ok(self
            .store
            .head(&path)
            .await
            .map_err(|error| from_store(object, error))?
            .size)
    }

    /// Writes the object, replacing an older one.
    pub async fn put(&self, object: &str, data: Bytes) -> Result<()> {
        let path = self.path(object)?;
        Counters::add(&self.counters.puts, 1);
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
        Counters::add(&self.counters.puts, 1);
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
            Err(error) => Err(from_store(object, error)),
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
        Counters::add(&self.counters.gets, 1);
        let options = GetOptions {
            if_none_match: known.and_then(|version| version.e_tag().map(str::to_owned)),
            ..GetOptions::default()
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
        Counters::add(&self.counters.deletes, 1);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(from_store(object, error)),
        }
    }

    /// Returns all objects whose names come after `after` in byte order, in no promised order, at whatever depth; an
    /// empty `after` means all.
    pub fn objects_after(&self, after: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        Counters::add(&self.counters.lists, 1);
        let prefix = Some(&self.prefix).filter(|prefix| prefix.parts().next().is_some());
        let listing = match self.path(after) {
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
            Ok(_) if after.is_empty() => self.store.list(prefix),
            Ok(offset) => self.store.list_with_offset(prefix, &offset),
        };
        let depth = self.prefix.parts().count();
        let object = move |meta| Ok(ObjectInfo::new(meta, depth));
        listing
            .map_err(|error| from_store("listing", error))
            .and_then(move |meta| futures::future::ready(object(meta)))
            .boxed()
    }

    /// Returns the names of the directories at the top of the bucket.
    pub async fn top_directories(&self) -> Result<Vec<String>> {
        Counters::add(&self.counters.lists, 1);
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
        let path = self.path(directory)?;
        Counters::add(&self.counters.lists, 1);
        let found: Vec<_> = self
            .store
            .list(Some(&path))
            .try_collect()
            .await
            .map_err(|error| from_store(directory, error))?;
        let depth = self.prefix.parts().count();
        let name = |path: &Path| path.parts().skip(depth).collect::<Path>().to_string();
        let mut objects: Vec<_> = found
            .iter()
            .map(|meta| (name(&meta.location), meta.size))
            .collect();
        objects.sort_unstable();
        Ok(objects)
    }

    /// Returns how many requests were made so far, through this bucket and its clones.
    pub fn requests(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            gets: read(&self.counters.gets),
            heads: read(&self.counters.heads),
            lists: read(&self.counters.lists),
            puts: read(&self.counters.puts),
            deletes: read(&self.counters.deletes),
            bytes_read: read(&self.counters.bytes_read),
        }
    }
}

impl Counters {
    fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
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

fn from_store(object: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotFound { .. } => ErrorKind::NotFound,
        Store::InvalidPath { .. } | Store::NotSupported { .. } | Store::PermissionDenied { .. } => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
        .in_file(object)
        .with_source(error)
}
