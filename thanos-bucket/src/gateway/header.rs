//! The index-headers of remote blocks: made from ranges of the index, kept as files, opened while they are used.
//!
//! ```text
//! prepared (at sync)      a file in <data-dir>/<block> is there: written by an earlier run, or made now
//! open (at first use)     mapped and checked, on the pool for computation
//! closed (idle)           unmapped; the file stays
//! ```
//!
//! Two files hold the same: `index-header`, which is the one that Thanos writes, so that the two can share a data
//! directory, and `sparse-index-header`, which opens without being read (see [`thanos_core::indexheader`]). A block
//! whose sparse header is published in the bucket has no other; otherwise both are made from the index. A data
//! directory that Thanos wrote gets the sparse file when the header is first opened.
//!
//! A sync looks at head and end of a file only: thousands of blocks that nobody asks for cost a few hundred bytes each,
//! and a restart reads no index. What is damaged in between shows when the file is opened or, in a sparse one, when the
//! damaged page is needed: that request fails, and the header is made anew for the next.
//!
//! Without a data directory a header is its bytes in memory. It stays there when it was fetched at sync; one that was
//! fetched at use is dropped when idle.
//!
//! A mapped header is read on the pool for computation, where a page fault holds up no other request's I/O. What a
//! reader may ask for elsewhere lies in memory: the label names and how many values they have.

mod build;
mod files;
mod metrics;
mod published;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use thanos_core::Result;
use thanos_core::block::BlockId;
use thanos_core::indexheader::IndexHeader;
use thanos_core::time::Clock;
use tokio::task::JoinHandle;

use self::build::READ_LENGTHS;
#[cfg(test)]
pub(super) use self::files::HEADER_FILE;
use self::files::{HeaderFiles, Opened, open_bytes, sparse_of};
pub use self::metrics::HeaderMetrics;
use self::published::Published;
use super::GatewayOptions;
use crate::Bucket;
use crate::compute::{Compute, in_task};
use crate::fetch::{BlockObjects, SPARSE_HEADER_FILE};

/// How often in one idle timeout headers are looked at.
const CHECKS_PER_TIMEOUT: u32 = 10;
/// The shortest time between two looks.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// When index-headers are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderDownload {
    /// When a sync finds the block (`--store.index-header-lazy-download-strategy=eager`).
    #[default]
    AtSync,
    /// When a request first needs it (`lazy`).
    AtUse,
}

/// What is done with sparse headers, our own layout of index-headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SparseHeaders {
    /// Nothing: only the file that Thanos writes is kept and opened.
    Off,
    /// Made and kept beside it and opened instead, and taken from the bucket where a block has one.
    #[default]
    Use,
    /// And put into the bucket when made, so that others that serve the block need not make it.
    Publish,
}

/// How index-headers are fetched and kept; the defaults are those of `thanos store`.
#[derive(Debug, Clone)]
pub struct HeaderOptions {
    /// When they are fetched.
    pub download: HeaderDownload,
    /// One that was not used for so long is closed (`--store.index-header-lazy-reader-idle-timeout`); zero keeps all
    /// open that were ever used.
    pub idle_timeout: Duration,
    /// The place of every so many label values is kept in memory while a header is open
    /// (`--store.index-header-posting-offsets-in-mem-sampling`).
    pub postings_sampling: NonZeroUsize,
    /// What is done with sparse headers.
    pub sparse: SparseHeaders,
    /// Where what happens is counted.
    pub metrics: HeaderMetrics,
}

impl Default for HeaderOptions {
    fn default() -> Self {
        Self {
            download: HeaderDownload::AtSync,
            idle_timeout: Duration::from_secs(5 * 60),
            postings_sampling: NonZeroUsize::MIN.saturating_add(thanos_core::index::SAMPLING - 1),
            sparse: SparseHeaders::default(),
            metrics: HeaderMetrics::default(),
        }
    }
}

/// Where index-headers come from and are kept.
pub(super) struct Headers {
    bucket: Bucket,
    /// Each block has a folder in it; `None` keeps headers in memory.
    data_dir: Option<PathBuf>,
    options: HeaderOptions,
    clock: Arc<dyn Clock>,
    compute: Compute,
    /// What may be open.
    open: Mutex<Vec<Weak<BlockHeader>>>,
    /// Closes what is idle.
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Headers {
    pub(super) fn new(bucket: &Bucket, options: &GatewayOptions) -> Arc<Self> {
        Arc::new(Self {
            bucket: bucket.clone(),
            data_dir: options.data_dir.clone(),
            options: options.headers.clone(),
            clock: Arc::clone(&options.clock),
            compute: options.compute.clone(),
            open: Mutex::default(),
            watch: Mutex::default(),
        })
    }

    /// Returns the header of block `id`, which has `objects`, not yet open. Asks nothing.
    pub(super) fn of_block(
        self: &Arc<Self>,
        id: BlockId,
        objects: &BlockObjects,
    ) -> Arc<BlockHeader> {
        Arc::new(BlockHeader {
            headers: Arc::clone(self),
            id,
            index_len: objects.index_bytes,
            published_len: objects.sparse_header_bytes,
            opened: RwLock::default(),
            used_at_ms: AtomicI64::new(0),
            loading: tokio::sync::Mutex::default(),
            folder: Arc::default(),
        })
    }

    /// Notes that `header` is open, and sees to it that somebody closes it.
    fn watch(self: &Arc<Self>, header: &Arc<BlockHeader>) {
        if !self.closes_idle() {
            return;
        }
        self.open.lock().push(Arc::downgrade(header));
        let mut watch = self.watch.lock();
        // The runtime of an earlier one may have ended.
        if watch.as_ref().is_none_or(JoinHandle::is_finished) {
            *watch = Some(tokio::spawn(close_idle(Arc::downgrade(self))));
        }
    }

    /// Reports whether idle headers are closed: not those that cannot be had again without the bucket although they
    /// were asked for at sync.
    fn closes_idle(&self) -> bool {
        let again_from_file = self.data_dir.is_some();
        let at_use = self.options.download == HeaderDownload::AtUse;
        !self.options.idle_timeout.is_zero() && (again_from_file || at_use)
    }

    /// Closes what was not used for the idle timeout.
    fn close_idle(&self) {
        let timeout_ms = i64::try_from(self.options.idle_timeout.as_millis()).unwrap_or(i64::MAX);
        let now_ms = self.clock.now().as_millis();
        self.open.lock().retain(|header| {
            let Some(header) = header.upgrade() else {
                return false;
            };
            let used_at_ms = header.used_at_ms.load(Ordering::Relaxed);
            if now_ms.saturating_sub(used_at_ms) < timeout_ms {
                return true;
            }
            let mut opened = header.opened.write();
            if opened.as_ref().is_some_and(|header| header.is_damaged()) {
                // Who needs it next makes it anew, and must know.
                return true;
            }
            if opened.take().is_some() {
                self.options.metrics.unloads.inc();
            }
            false
        });
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().take() {
            watch.abort();
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers")
            .field("data_dir", &self.data_dir)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Closes idle headers for as long as there is somebody to use them.
async fn close_idle(headers: Weak<Headers>) {
    loop {
        let Some(interval) = headers
            .upgrade()
            .map(|headers| headers.options.idle_timeout / CHECKS_PER_TIMEOUT)
        else {
            return;
        };
        tokio::time::sleep(interval.max(CHECK_INTERVAL_MIN)).await;
        if let Some(headers) = headers.upgrade() {
            headers.close_idle();
        }
    }
}

/// The index-header of one block, open or not. There are many that are not: names are made when they are needed.
pub(super) struct BlockHeader {
    headers: Arc<Headers>,
    id: BlockId,
    index_len: u64,
    /// The length of the sparse header in the bucket, if there is one.
    published_len: Option<u64>,
    opened: RwLock<Option<Arc<IndexHeader>>>,
    used_at_ms: AtomicI64,
    /// Held by the one that loads; the others wait for it and take what it opened.
    loading: tokio::sync::Mutex<()>,
    /// Held by whoever may still write into the block's folder.
    folder: Arc<FolderUse>,
}

/// Held by all that may write into a block's folder of the data directory: the header and the work that it has begun,
/// which goes on when a request that waits for it is dropped.
#[derive(Debug, Default)]
pub(super) struct FolderUse;

impl BlockHeader {
    /// Makes the header ready for use, unless it is to be fetched when it is used.
    ///
    /// # Errors
    ///
    /// When the index cannot be read or is damaged, or the file cannot be written.
    pub(super) async fn prepare(self: &Arc<Self>) -> Result<()> {
        match (self.headers.options.download, self.files()) {
            (HeaderDownload::AtUse, _) => Ok(()),
            (HeaderDownload::AtSync, None) => self.get().await.map(drop),
            (HeaderDownload::AtSync, Some(files)) => {
                let _loading = self.loading.lock().await;
                let kept = files.clone();
                let compute = &self.headers.compute;
                if compute.run(move || kept.is_kept()).await? {
                    return Ok(());
                }
                self.fetch_files(files).await.map(drop)
            }
        }
    }

    /// Returns the open header, which it opens, and makes, if it must. Requests that come meanwhile wait for the same.
    ///
    /// # Errors
    ///
    /// As for [`BlockHeader::prepare`]. The next call tries again.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<IndexHeader>> {
        if let Some(header) = self.opened() {
            return Ok(header);
        }
        let this = Arc::clone(self);
        in_task(async move { this.get_alone().await }).await?
    }

    async fn get_alone(self: &Arc<Self>) -> Result<Arc<IndexHeader>> {
        let _loading = self.loading.lock().await;
        if let Some(header) = self.opened() {
            return Ok(header);
        }
        self.forget_damaged().await?;
        let metrics = &self.headers.options.metrics;
        let start = Instant::now();
        metrics.loads.inc();
        let loaded = self.load().await;
        if loaded.is_err() {
            metrics.failed_loads.inc();
        }
        let header = Arc::new(loaded?);
        metrics
            .lazy_load_seconds
            .observe(start.elapsed().as_secs_f64());
        self.touch();
        *self.opened.write() = Some(Arc::clone(&header));
        self.headers.watch(self);
        Ok(header)
    }

    /// Returns the header if it is open and no damage was met in it.
    fn opened(&self) -> Option<Arc<IndexHeader>> {
        self.touch();
        let opened = self.opened.read().clone();
        opened.filter(|header| !header.is_damaged())
    }

    /// Closes a header in which damage was met, and removes its file.
    async fn forget_damaged(&self) -> Result<()> {
        let damaged = self.opened.write().take();
        if let (Some(_), Some(files)) = (damaged, self.files()) {
            let compute = &self.headers.compute;
            compute.run(move || files.remove_sparse()).await?;
        }
        Ok(())
    }

    /// Returns the files; `None` without a data directory.
    fn files(&self) -> Option<HeaderFiles> {
        let dir = self.headers.data_dir.as_ref()?.join(self.id.to_string());
        Some(HeaderFiles::new(
            &dir,
            self.index_len,
            &self.headers.options,
            &self.folder,
        ))
    }

    fn index_object(&self) -> String {
        format!("{}/index", self.id)
    }

    fn sparse_object(&self) -> String {
        format!("{}/{SPARSE_HEADER_FILE}", self.id)
    }

    /// Returns what is gone when nobody can write into the block's folder any more.
    pub(super) fn folder_use(&self) -> Weak<FolderUse> {
        Arc::downgrade(&self.folder)
    }

    fn touch(&self) {
        let now_ms = self.headers.clock.now().as_millis();
        self.used_at_ms.store(now_ms, Ordering::Relaxed);
    }

    async fn load(&self) -> Result<IndexHeader> {
        let Some(files) = self.files() else {
            return self.fetch_into_memory().await;
        };
        let kept = files.clone();
        match self.headers.compute.run(move || kept.open()).await? {
            Some(opened) => {
                self.publish(opened.made).await;
                Ok(opened.header)
            }
            None => self.fetch_files(files).await,
        }
    }

    /// Fetches the header, of a sound index only, into its files, and opens it.
    async fn fetch_files(&self, files: HeaderFiles) -> Result<IndexHeader> {
        let compute = &self.headers.compute;
        if let Some(bytes) = self.download_published().await {
            let opened = compute.run(move || files.write_sparse(&bytes)).await??;
            return Ok(opened.header);
        }
        let bytes = self.download().await?;
        let object = self.index_object();
        let opened = compute.run(move || files.write(&object, &bytes)).await??;
        self.publish(opened.made).await;
        Ok(opened.header)
    }

    async fn fetch_into_memory(&self) -> Result<IndexHeader> {
        let options = self.headers.options.clone();
        let compute = &self.headers.compute;
        if let Some(bytes) = self.download_published().await {
            let object = self.sparse_object();
            let open = move || open_bytes(&object, bytes, &options);
            return compute.run(open).await?;
        }
        let bytes = self.download().await?;
        let object = self.index_object();
        let open = move || {
            let header = open_bytes(&object, bytes, &options)?;
            let is_wanted = options.sparse != SparseHeaders::Off;
            // It takes fewer bytes than what it is made of.
            match is_wanted.then(|| sparse_of(&header)).flatten() {
                Some(made) => Ok(Opened {
                    header: open_bytes(&object, made.clone(), &options)?,
                    made: Some(made),
                }),
                None => Ok(Opened { header, made: None }),
            }
        };
        let opened: Result<Opened> = compute.run(open).await?;
        let Opened { header, made } = opened?;
        self.publish(made).await;
        Ok(header)
    }

    /// Downloads what makes Thanos' file.
    async fn download(&self) -> Result<Bytes> {
        let start = Instant::now();
        let bucket = &self.headers.bucket;
        let object = self.index_object();
        let bytes = build::build(bucket, &object, self.index_len, READ_LENGTHS).await?;
        self.downloaded_since(start);
        Ok(bytes.into())
    }

    /// Downloads the sparse header, if one is published and can be used.
    async fn download_published(&self) -> Option<Bytes> {
        let is_wanted = self.headers.options.sparse != SparseHeaders::Off;
        let len = self.published_len.filter(|_| is_wanted)?;
        let start = Instant::now();
        let published = Published {
            bucket: &self.headers.bucket,
            compute: &self.headers.compute,
            object: &self.sparse_object(),
            len,
            index_object: &self.index_object(),
            index_len: self.index_len,
            part_bytes: READ_LENGTHS.part,
        };
        match published.read().await {
            Ok(bytes) => {
                self.downloaded_since(start);
                Some(bytes)
            }
            Err(error) => {
                tracing::warn!(%error, "published index-header cannot be used, making it from the index");
                None
            }
        }
    }

    fn downloaded_since(&self, start: Instant) {
        let seconds = &self.headers.options.metrics.download_seconds;
        seconds.observe(start.elapsed().as_secs_f64());
    }

    /// Puts a sparse header that was made just now into the bucket, if that is wanted. Who cannot write goes without.
    async fn publish(&self, made: Option<Bytes>) {
        let is_wanted = self.headers.options.sparse == SparseHeaders::Publish;
        let Some(bytes) = made.filter(|_| is_wanted) else {
            return;
        };
        let object = self.sparse_object();
        if let Err(error) = self.headers.bucket.put(&object, bytes).await {
            tracing::warn!(%object, %error, "index-header cannot be published");
        }
    }
}

impl fmt::Debug for BlockHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHeader")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
