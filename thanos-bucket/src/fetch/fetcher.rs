//! Keeps a view of the blocks of a bucket: lists it, and reads what is new or changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use thanos_core::block::{
    BlockId, DeletionMark, META_FILE, Marker, Meta, NoCompactMark, NoDownsampleMark,
};
use thanos_core::time::Timestamp;
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::listing::{Listed, Listing};
use super::meta_cache::{CachedMeta, MetaCache};
use super::stamp::{Stamp, Stamps};
use super::{BlockEntry, BucketView, DiscoveryStrategy, FetchOptions, MetaDetail};
use crate::Bucket;

/// The largest `meta.json` that is read.
const META_BYTES_MAX: u64 = 64 << 20;
/// The largest marker that is read.
const MARK_BYTES_MAX: u64 = 1 << 20;
/// A `meta.json` from this length on is parsed where computing does not hold up requests.
const META_BYTES_INLINE: usize = 64 << 10;
/// How many `meta.json` are written to the data directory at once.
const KEPT_AT_ONCE: usize = 256;

/// Finds the blocks of a bucket and remembers them, so that those that did not change cost no request.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_bucket::Bucket;
/// use thanos_bucket::fetch::{FetchOptions, Fetcher};
///
/// # futures::executor::block_on(async {
/// let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()));
/// bucket.put("01M81JDC7R8JKP7SEW1VN2HAQ9/index", "no meta.json yet".into()).await?;
/// let view = Fetcher::new(bucket, FetchOptions::default()).fetch().await?;
/// assert_eq!((view.blocks.len(), view.partial.len()), (0, 1));
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Fetcher {
    bucket: Bucket,
    options: FetchOptions,
    cache: Option<MetaCache>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    blocks: HashMap<BlockId, KnownBlock>,
    /// The blocks whose `meta.json` lies in the data directory; `None` before anybody looked.
    kept: Option<BTreeSet<BlockId>>,
}

#[derive(Debug, Clone)]
enum KnownBlock {
    Good(Arc<BlockEntry>),
    /// A `meta.json` that is none, and which contents that was.
    Damaged(Option<Stamp>, Arc<Error>),
}

/// A block of which something has to be read.
#[derive(Debug)]
struct Job {
    id: BlockId,
    listed: Listed,
    /// What is known about it.
    base: Option<Arc<BlockEntry>>,
    /// Its `meta.json`, when that is known already.
    meta: Option<Meta>,
}

/// What came of a [`Job`].
#[derive(Debug)]
struct Done {
    id: BlockId,
    stamp: Option<Stamp>,
    base: Option<Arc<BlockEntry>>,
    entry: Result<BlockEntry>,
    /// A marker that could not be read.
    mark_error: Option<Error>,
    /// What is to be kept in the data directory.
    kept: Option<CachedMeta>,
}

impl Fetcher {
    /// Returns a fetcher that knows no block.
    pub fn new(bucket: Bucket, options: FetchOptions) -> Self {
        Self {
            cache: options.data_dir.as_deref().map(MetaCache::new),
            bucket,
            options,
            known: Mutex::default(),
        }
    }

    /// Returns how it works.
    pub fn options(&self) -> &FetchOptions {
        &self.options
    }

    /// Lists the bucket and reads what is new. Calls wait for each other.
    ///
    /// What cannot be read is in [`BucketView::unread`] and is tried again by the next call.
    ///
    /// # Errors
    ///
    /// When the bucket cannot be listed.
    pub async fn fetch(&self) -> Result<BucketView> {
        let mut known = self.known.lock().await;
        self.options.metrics.base_syncs.inc();
        let listed = self.list().await?.finish();
        known.blocks = {
            let mut before = std::mem::take(&mut known.blocks);
            before.retain(|id, _| listed.binary_search_by_key(id, |(id, _)| *id).is_ok());
            before
        };
        let mut view = BucketView::default();
        let mut jobs = Vec::new();
        let mut unchanged = Vec::with_capacity(listed.len());
        for (id, listed) in listed {
            self.plan(id, listed, &known, &mut view, &mut unchanged, &mut jobs);
        }
        view.blocks = unchanged.into_iter().collect();
        self.use_kept(&mut known, &mut jobs).await?;
        self.read_all(jobs, &mut known, &mut view).await?;
        self.forget_kept(&mut known, &view).await?;
        Ok(view)
    }

    /// Takes over what `view`, which somebody else has made, says about blocks that are not known here.
    pub async fn learn(&self, view: &BucketView) {
        let mut known = self.known.lock().await;
        for (id, entry) in &view.blocks {
            let entry = || KnownBlock::Good(Arc::clone(entry));
            known.blocks.entry(*id).or_insert_with(entry);
        }
    }

    /// Returns the whole `meta.json` of block `id`, whatever [`MetaDetail`] is kept in memory.
    ///
    /// # Errors
    ///
    /// When there is none, or none that can be read.
    pub async fn whole_meta(&self, id: BlockId) -> Result<Meta> {
        if let Some(cache) = self.cache.clone() {
            let kept = self
                .options
                .compute
                .run(move || cache.read(id, None))
                .await?;
            if let Ok(Some(meta)) = kept {
                return Ok(meta);
            }
        }
        let (meta, _) = self.read_sound_meta(id).await?;
        Ok(meta)
    }

    async fn list(&self) -> Result<Listing> {
        let shards = match self.options.strategy {
            DiscoveryStrategy::Recursive => 1,
            DiscoveryStrategy::Concurrent => self.options.listing_shards,
        };
        match shards {
            0 | 1 => Listing::flat(&self.bucket).await,
            shards => Listing::sharded(&self.bucket, shards).await,
        }
    }

    /// Decides what has to be read of a block.
    fn plan(
        &self,
        id: BlockId,
        mut listed: Listed,
        known: &Known,
        view: &mut BucketView,
        unchanged: &mut Vec<(BlockId, Arc<BlockEntry>)>,
        jobs: &mut Vec<Job>,
    ) {
        if listed.stamps.meta.is_none() {
            let error = Error::not_found("the block has no meta.json");
            let error = error.in_file(format!("{id}/{META_FILE}"));
            view.partial.insert(id, Arc::new(error));
            return;
        }
        let entry = match known.blocks.get(&id) {
            None => None,
            Some(KnownBlock::Damaged(stamp, error)) => {
                if *stamp == listed.stamps.meta {
                    view.partial.insert(id, Arc::clone(error));
                    return;
                }
                None
            }
            Some(KnownBlock::Good(entry)) => Some(entry),
        };
        let Some(entry) = entry else {
            jobs.push(Job::new(id, listed, None, None));
            return;
        };
        if self.options.strategy == DiscoveryStrategy::Concurrent {
            listed.stamps.meta = entry.stamps.meta;
        }
        if listed.stamps.meta != entry.stamps.meta {
            self.options.metrics.base_cache_busts.inc();
            jobs.push(Job::new(id, listed, Some(entry), None));
        } else if listed.stamps != entry.stamps {
            let meta = Some(entry.meta.clone());
            jobs.push(Job::new(id, listed, Some(entry), meta));
        } else {
            let objects = listed.objects.into_objects(id).ok();
            let entry = match objects == entry.objects {
                true => Arc::clone(entry),
                false => Arc::new(BlockEntry {
                    objects,
                    ..BlockEntry::clone(entry)
                }),
            };
            unchanged.push((id, entry));
        }
    }

    /// Takes the `meta.json` of jobs that need one from the data directory, where that is possible.
    async fn use_kept(&self, known: &mut Known, jobs: &mut [Job]) -> Result<()> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        if known.kept.is_none() {
            let cache = cache.clone();
            known.kept = Some(self.options.compute.run(move || cache.blocks()).await?);
        }
        let kept = known.kept.get_or_insert_default();
        let is_recursive = self.options.strategy == DiscoveryStrategy::Recursive;
        let wanted = jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.meta.is_none() && job.base.is_none() && kept.contains(&job.id));
        let wanted: Vec<(usize, BlockId, Option<Timestamp>)> = wanted
            .map(|(place, job)| {
                (
                    place,
                    job.id,
                    is_recursive.then_some(job.listed.meta_modified),
                )
            })
            .collect();
        let (cache, detail) = (cache.clone(), self.options.detail);
        let read = move || read_kept(&cache, wanted, detail);
        for (place, meta) in self.options.compute.run(read).await? {
            jobs[place].meta = Some(meta);
        }
        Ok(())
    }

    /// Does `jobs`, some at once, and notes what comes of each as soon as it is done.
    async fn read_all(
        &self,
        jobs: Vec<Job>,
        known: &mut Known,
        view: &mut BucketView,
    ) -> Result<()> {
        let mut work = Vec::with_capacity(jobs.len());
        for job in jobs {
            work.push(self.do_job(job));
        }
        let mut done =
            futures::stream::iter(work).buffer_unordered(self.options.concurrency.max(1));
        let mut to_keep = Vec::new();
        while let Some(mut done) = done.next().await {
            to_keep.extend(done.kept.take().map(|meta| (done.id, meta)));
            note(done, known, view);
            if to_keep.len() >= KEPT_AT_ONCE {
                self.keep(std::mem::take(&mut to_keep), known).await?;
            }
        }
        self.keep(to_keep, known).await
    }

    async fn do_job(&self, job: Job) -> Done {
        let Job {
            id,
            listed,
            base,
            meta,
        } = job;
        let mut done = Done {
            id,
            stamp: listed.stamps.meta,
            base: base.clone(),
            entry: Err(Error::internal("not read")),
            mark_error: None,
            kept: None,
        };
        let meta = match meta {
            Some(meta) => Ok(meta),
            None => {
                self.read_meta(id, listed.meta_modified, &mut done.kept)
                    .await
            }
        };
        let meta = match meta {
            Ok(meta) => meta,
            Err(error) => {
                done.entry = Err(error);
                return done;
            }
        };
        let mut entry = BlockEntry {
            meta,
            objects: listed.objects.into_objects(id).ok(),
            marks: base.as_ref().map(|base| base.marks).unwrap_or_default(),
            stamps: Stamps {
                meta: listed.stamps.meta,
                ..base.map(|base| base.stamps).unwrap_or_default()
            },
        };
        done.mark_error = self.read_marks(id, listed.stamps, &mut entry).await.err();
        done.entry = Ok(entry);
        done
    }

    /// Brings the markers of `entry` to those that have the stamps `listed`.
    async fn read_marks(&self, id: BlockId, listed: Stamps, entry: &mut BlockEntry) -> Result<()> {
        let (marks, stamps) = (&mut entry.marks, &mut entry.stamps);
        if listed.deletion != stamps.deletion {
            let time = |mark: DeletionMark| mark.deletion_time;
            marks.deletion = self.read_mark(id, listed.deletion, time).await?;
            stamps.deletion = listed.deletion;
        }
        if listed.no_compact != stamps.no_compact {
            let time = |mark: NoCompactMark| mark.no_compact_time;
            marks.no_compact = self.read_mark(id, listed.no_compact, time).await?;
            stamps.no_compact = listed.no_compact;
        }
        if listed.no_downsample != stamps.no_downsample {
            let time = |mark: NoDownsampleMark| mark.no_downsample_time;
            marks.no_downsample = self.read_mark(id, listed.no_downsample, time).await?;
            stamps.no_downsample = listed.no_downsample;
        }
        Ok(())
    }

    /// Returns the time of a marker. One that is damaged counts as none: its upload may have stopped in the middle
    /// (row ST-13 of the specification).
    async fn read_mark<M: Marker>(
        &self,
        id: BlockId,
        listed: Option<Stamp>,
        time: fn(M) -> Timestamp,
    ) -> Result<Option<Timestamp>> {
        if listed.is_none() {
            return Ok(None);
        }
        let object = format!("{id}/{}", M::FILE);
        let mark = match self.bucket.read(&object, MARK_BYTES_MAX).await {
            Ok(text) => M::parse(&text).map_err(|error| error.in_file(object.as_str())),
            Err(error) => Err(error),
        };
        match mark {
            Ok(mark) => Ok(Some(time(mark))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if is_damage(&error) => {
                tracing::warn!(block = %id, %error, "damaged marker, the block counts as not marked");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_meta(
        &self,
        id: BlockId,
        modified: Timestamp,
        kept: &mut Option<CachedMeta>,
    ) -> Result<Meta> {
        let (mut meta, text) = self.read_sound_meta(id).await?;
        self.options.detail.trim(&mut meta);
        if self.cache.is_some() {
            *kept = Some(CachedMeta { text, modified });
        }
        Ok(meta)
    }

    /// Returns the `meta.json` of a block and its text. A damaged one is read once more, past all caches: they would have
    /// the damage for a day.
    async fn read_sound_meta(&self, id: BlockId) -> Result<(Meta, Bytes)> {
        match self.read_meta_of(&self.bucket, id).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let bucket = self.bucket.clone().past_caches();
                self.read_meta_of(&bucket, id).await
            }
            outcome => outcome,
        }
    }

    async fn read_meta_of(&self, bucket: &Bucket, id: BlockId) -> Result<(Meta, Bytes)> {
        let object = format!("{id}/{META_FILE}");
        let text = bucket.read(&object, META_BYTES_MAX).await?;
        if text.len() < META_BYTES_INLINE {
            return Ok((parse_meta(id, &text)?, text));
        }
        let parse = move || Ok((parse_meta(id, &text)?, text));
        self.options.compute.run(parse).await?
    }

    /// Writes `metas` to the data directory.
    async fn keep(&self, metas: Vec<(BlockId, CachedMeta)>, known: &mut Known) -> Result<()> {
        let Some(cache) = self.cache.clone().filter(|_| !metas.is_empty()) else {
            return Ok(());
        };
        let kept = known.kept.get_or_insert_default();
        kept.extend(metas.iter().map(|(id, _)| *id));
        let write = move || metas.iter().for_each(|(id, meta)| cache.write(*id, meta));
        self.options.compute.run(write).await
    }

    /// Removes the files of blocks that are gone from the data directory. An incomplete view may lack blocks that are
    /// not gone.
    async fn forget_kept(&self, known: &mut Known, view: &BucketView) -> Result<()> {
        let (Some(cache), Some(kept)) = (self.cache.clone(), &mut known.kept) else {
            return Ok(());
        };
        if !view.unread.is_empty() {
            return Ok(());
        }
        let gone: Vec<BlockId> = kept
            .extract_if(.., |id| !view.blocks.contains_key(id))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let remove = move || gone.iter().for_each(|id| cache.remove(*id));
        self.options.compute.run(remove).await
    }
}

impl Job {
    fn new(
        id: BlockId,
        listed: Listed,
        base: Option<&Arc<BlockEntry>>,
        meta: Option<Meta>,
    ) -> Self {
        Self {
            id,
            listed,
            base: base.map(Arc::clone),
            meta,
        }
    }
}

/// Puts what came of a job where it belongs.
fn note(done: Done, known: &mut Known, view: &mut BucketView) {
    let id = done.id;
    match done.entry {
        Ok(entry) => {
            let entry = Arc::new(entry);
            known
                .blocks
                .insert(id, KnownBlock::Good(Arc::clone(&entry)));
            view.blocks.insert(id, entry);
            if let Some(error) = done.mark_error {
                view.unread.insert(id, Arc::new(error));
            }
        }
        Err(error) if is_damage(&error) => {
            let error = Arc::new(error);
            let damaged = KnownBlock::Damaged(done.stamp, Arc::clone(&error));
            known.blocks.insert(id, damaged);
            view.partial.insert(id, error);
        }
        // Removed since it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            known.blocks.remove(&id);
            view.partial.insert(id, Arc::new(error));
        }
        Err(error) => {
            view.unread.insert(id, Arc::new(error));
            if let Some(base) = done.base {
                view.blocks.insert(id, base);
            }
        }
    }
}

/// Reads those of `wanted` that the data directory has, each with its place. Damaged files are removed.
fn read_kept(
    cache: &MetaCache,
    wanted: Vec<(usize, BlockId, Option<Timestamp>)>,
    detail: MetaDetail,
) -> BTreeMap<usize, Meta> {
    let mut found = BTreeMap::new();
    for (place, id, written) in wanted {
        let read = cache.read(id, written);
        match read.and_then(|meta| meta.map(|meta| of_block(id, meta)).transpose()) {
            Ok(None) => {}
            Ok(Some(mut meta)) => {
                detail.trim(&mut meta);
                found.insert(place, meta);
            }
            Err(error) => {
                tracing::warn!(block = %id, %error, "damaged meta.json in the data directory, reading it anew");
                cache.remove(id);
            }
        }
    }
    found
}

fn parse_meta(id: BlockId, text: &[u8]) -> Result<Meta> {
    Meta::parse(text)
        .and_then(|meta| of_block(id, meta))
        .map_err(|error| error.in_file(format!("{id}/{META_FILE}")))
}

fn of_block(id: BlockId, meta: Meta) -> Result<Meta> {
    if meta.ulid == id {
        return Ok(meta);
    }
    let message = format!(
        "is of block {}, but lies in the directory of {id}",
        meta.ulid
    );
    Err(Error::corrupt(message))
}

/// Whether `error` means that an object is damaged, rather than that the bucket could not answer or that the object is
/// of a version that this program does not know.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::LimitExceeded)
}
