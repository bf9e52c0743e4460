//! The index-headers of remote blocks: built from ranges of the index, kept as files, opened while they are used.
//!
//! ```text
//! prepared (at sync)      the file <data-dir>/<block>/index-header is there: written by an earlier run, or built now
//! open (at first use)     mapped and checked, on the pool for computation
//! closed (idle)           unmapped; the file stays
//! ```
//!
//! The file is the one that Thanos writes, so that the two can share a data directory. A sync looks at head and end of
//! a file only: thousands of blocks that nobody asks for cost a few hundred bytes each, and a restart reads no index.
//! What is damaged in between shows when the file is opened, and it is built anew then.
//!
//! Without a data directory a header is its bytes in memory. It stays there when it was fetched at sync; one that was
//! fetched at use is dropped when idle.

mod build;
mod metrics;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use thanos_core::block::{BlockId, write_file_atomic};
use thanos_core::indexheader::IndexHeader;
use thanos_core::time::Clock;
use thanos_core::{Error, ErrorKind, Result, mmap};
use tokio::task::JoinHandle;

use self::build::READ_LENGTHS;
pub use self::metrics::HeaderMetrics;
use super::GatewayOptions;
use crate::Bucket;
use crate::compute::{Compute, in_task};

/// The name of the file in the block's folder of the data directory.
pub(super) const HEADER_FILE: &str = "index-header";
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
    /// Where what happens is counted.
    pub metrics: HeaderMetrics,
}

impl Default for HeaderOptions {
    fn default() -> Self {
        Self {
            download: HeaderDownload::AtSync,
            idle_timeout: Duration::from_secs(5 * 60),
            postings_sampling: NonZeroUsize::MIN.saturating_add(thanos_core::index::SAMPLING - 1),
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

    /// Returns the header of block `id`, whose index has `index_len` bytes, not yet open. Asks nothing.
    pub(super) fn of_block(self: &Arc<Self>, id: BlockId, index_len: u64) -> Arc<BlockHeader> {
        let dir = self.data_dir.as_ref().map(|dir| dir.join(id.to_string()));
        Arc::new(BlockHeader {
            headers: Arc::clone(self),
            index_object: format!("{id}/index"),
            index_len,
            file: dir.map(|dir| dir.join(HEADER_FILE)),
            opened: RwLock::default(),
            used_at_ms: AtomicI64::new(0),
            loading: tokio::sync::Mutex::default(),
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
            if header.opened.write().take().is_some() {
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

/// The index-header of one block, open or not.
pub(super) struct BlockHeader {
    headers: Arc<Headers>,
    index_object: String,
    index_len: u64,
    /// `None` without a data directory.
    file: Option<PathBuf>,
    opened: RwLock<Option<Arc<IndexHeader>>>,
    used_at_ms: AtomicI64,
    /// Held by the one that loads; the others wait for it and take what it opened.
    loading: tokio::sync::Mutex<()>,
}

impl BlockHeader {
    /// Makes the header ready for use, unless it is to be fetched when it is used.
    ///
    /// # Errors
    ///
    /// When the index cannot be read or is damaged, or the file cannot be written.
    pub(super) async fn prepare(self: &Arc<Self>) -> Result<()> {
        match (self.headers.options.download, &self.file) {
            (HeaderDownload::AtUse, _) => Ok(()),
            (HeaderDownload::AtSync, None) => self.get().await.map(drop),
            (HeaderDownload::AtSync, Some(file)) => {
                let _loading = self.loading.lock().await;
                let (path, index_len) = (file.clone(), self.index_len);
                let compute = &self.headers.compute;
                if compute.run(move || is_kept(&path, index_len)).await? {
                    return Ok(());
                }
                self.build_file(file.clone()).await
            }
        }
    }

    /// Returns the open header, which it opens, and builds, if it must. Requests that come meanwhile wait for the same.
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

    fn opened(&self) -> Option<Arc<IndexHeader>> {
        self.touch();
        self.opened.read().clone()
    }

    fn touch(&self) {
        let now_ms = self.headers.clock.now().as_millis();
        self.used_at_ms.store(now_ms, Ordering::Relaxed);
    }

    async fn load(&self) -> Result<IndexHeader> {
        let Some(file) = &self.file else {
            let bytes = self.download().await?;
            return self.open_in_memory(bytes).await;
        };
        if let Some(header) = self.open_file(file.clone()).await? {
            return Ok(header);
        }
        self.build_file(file.clone()).await?;
        let opened = self.open_file(file.clone()).await?;
        opened.ok_or_else(|| {
            let message = format!("index-header of {} cannot be kept", self.index_object);
            Error::unavailable(message).in_file(file.display().to_string())
        })
    }

    async fn download(&self) -> Result<Bytes> {
        let start = Instant::now();
        let bucket = &self.headers.bucket;
        let bytes = build::build(bucket, &self.index_object, self.index_len, READ_LENGTHS).await?;
        let seconds = &self.headers.options.metrics.download_seconds;
        seconds.observe(start.elapsed().as_secs_f64());
        Ok(bytes.into())
    }

    async fn open_in_memory(&self, bytes: Bytes) -> Result<IndexHeader> {
        let (object, options) = (self.index_object.clone(), self.headers.options.clone());
        let open = move || open(&object, bytes, &options);
        self.headers.compute.run(open).await?
    }

    /// Builds the file, of a sound index only.
    async fn build_file(&self, file: PathBuf) -> Result<()> {
        let bytes = self.download().await?;
        let (object, options) = (self.index_object.clone(), self.headers.options.clone());
        let write = move || {
            open(&object, bytes.clone(), &options)?;
            write_file(&file, &bytes)
        };
        self.headers.compute.run(write).await?
    }

    /// Opens the file; `None` when it has to be built.
    async fn open_file(&self, file: PathBuf) -> Result<Option<IndexHeader>> {
        let (index_len, options) = (self.index_len, self.headers.options.clone());
        let open = move || {
            let name = file.display().to_string();
            let opened = mmap::open_bytes(&file).and_then(|bytes| open(&name, bytes, &options));
            let opened = opened.and_then(|header| {
                is_of_index(&name, header.source().index_len, index_len).map(|()| header)
            });
            opened.map_err(|error| warn_unusable(&error)).ok()
        };
        self.headers.compute.run(open).await
    }
}

impl fmt::Debug for BlockHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHeader")
            .field("index_object", &self.index_object)
            .finish_non_exhaustive()
    }
}

fn open(name: &str, bytes: Bytes, options: &HeaderOptions) -> Result<IndexHeader> {
    let start = Instant::now();
    let header = IndexHeader::open_sampled(name, bytes, options.postings_sampling)?;
    let seconds = &options.metrics.load_seconds;
    seconds.observe(start.elapsed().as_secs_f64());
    Ok(header)
}

fn write_file(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = file.parent() {
        let created = std::fs::create_dir_all(dir);
        created.map_err(|error| Error::from(error).in_file(dir.display().to_string()))?;
    }
    write_file_atomic(file, bytes)
}

/// Reports whether `file` is, by its head and its end, the header of an index of `index_len` bytes.
fn is_kept(file: &Path, index_len: u64) -> bool {
    let name = file.display().to_string();
    let found = mmap::open_bytes(file)
        .and_then(|bytes| IndexHeader::peek(&name, &bytes))
        .and_then(|source| is_of_index(&name, source.index_len, index_len));
    found.map_err(|error| warn_unusable(&error)).is_ok()
}

fn is_of_index(name: &str, found: u64, index_len: u64) -> Result<()> {
    if found == index_len {
        return Ok(());
    }
    let message =
        format!("index-header is of an index of {found} bytes, that of the block has {index_len}");
    Err(Error::corrupt(message).in_file(name))
}

fn warn_unusable(error: &Error) {
    if error.kind() != ErrorKind::NotFound {
        tracing::warn!(%error, "index-header cannot be used, building it anew");
    }
}
