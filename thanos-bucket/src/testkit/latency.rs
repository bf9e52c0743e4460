//! An object store that takes its time and remembers what it was asked.
//!
//! The time is tokio's: under `start_paused` a test waits for nothing and still reads how long it would have taken.
//! Timers of tokio have milliseconds; shorter latencies are rounded up.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, coalesce_ranges,
};

use super::trace::{Outcome, Recorder, Recording, RequestKind, Trace};

/// How slow a [`LatencyStore`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyModel {
    /// The time from a question to the first byte of its answer.
    pub request: Duration,
    /// How fast the body of one request comes or goes; 0 means at once.
    pub bytes_per_sec: u64,
    /// The most objects on one page of a listing: each page is a request.
    pub list_page_objects: usize,
}

impl Default for LatencyModel {
    /// 20 ms and 100 MB/s for each request, listings in pages of 1000: a cloud seen from its own region.
    fn default() -> Self {
        Self {
            request: Duration::from_millis(20),
            bytes_per_sec: 100_000_000,
            list_page_objects: 1000,
        }
    }
}

impl LatencyModel {
    /// Returns the model of a store of which only the latency of a request counts.
    pub fn of_requests(request: Duration) -> Self {
        Self {
            request,
            bytes_per_sec: 0,
            ..Self::default()
        }
    }

    async fn transfer(&self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000;
        let Some(nanos) = nanos.checked_div(u128::from(self.bytes_per_sec)) else {
            return;
        };
        tokio::time::sleep(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
        .await;
    }
}

/// An [`ObjectStore`] in front of another one that delays and records every request.
///
/// Its place is right above the store that stands for the network: below retries, caches and counters. The parts of a
/// multipart upload are neither delayed nor recorded.
///
/// # Example
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use thanos_bucket::Bucket;
/// use thanos_bucket::testkit::{LatencyModel, LatencyStore};
///
/// let memory = Arc::new(object_store::memory::InMemory::new());
/// let store = Arc::new(LatencyStore::new(memory, LatencyModel::default()));
/// let bucket = Bucket::new(store.clone());
/// bucket.put("hello", "world".into()).await?;
/// bucket.read_range("hello", 1..3).await?;
/// let trace = store.take_trace();
/// assert_eq!((trace.dependent_round_trips(), trace.bytes_read()), (2, 2));
/// # Ok::<(), thanos_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct LatencyStore {
    inner: Arc<dyn ObjectStore>,
    model: LatencyModel,
    recorder: Recorder,
}

impl LatencyStore {
    /// Returns `inner`, as slow as `model` says.
    pub fn new(inner: Arc<dyn ObjectStore>, model: LatencyModel) -> Self {
        Self {
            inner,
            model,
            recorder: Recorder::new(),
        }
    }

    /// Returns the number of requests whose answers are neither complete nor dropped.
    pub fn in_flight(&self) -> usize {
        self.recorder.in_flight()
    }

    /// Returns the requests since the last [`LatencyStore::take_trace`].
    pub fn trace(&self) -> Trace {
        self.recorder.snapshot()
    }

    /// Returns the requests since the last call and forgets them.
    pub fn take_trace(&self) -> Trace {
        self.recorder.take()
    }

    async fn begin(&self, kind: RequestKind, object: &Path) -> Recording {
        let recording = self.recorder.begin(kind, object.as_ref(), None);
        tokio::time::sleep(self.model.request).await;
        recording
    }

    /// Delivers a listing in pages, each of which takes as long as a request.
    fn in_pages(
        &self,
        prefix: Option<&Path>,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map(Path::to_string).unwrap_or_default();
        let (model, recorder) = (self.model, self.recorder.clone());
        let pages = listing.chunks(model.list_page_objects.max(1)).peekable();
        let state = Some(Box::pin(pages));
        let pages = stream::unfold(state, move |pages| {
            let (recorder, prefix) = (recorder.clone(), prefix.clone());
            async move {
                let mut pages = pages?;
                let recording = recorder.begin(RequestKind::List, prefix, None);
                tokio::time::sleep(model.request).await;
                let page = pages.next().await.unwrap_or_default();
                // A store says on a page whether there is another one.
                let more = pages.as_mut().peek().await.is_some();
                let page: Result<Vec<_>> = recording.finish(page.into_iter().collect());
                Some((page, more.then_some(pages)))
            }
        });
        pages
            .flat_map(|page| match page {
                Ok(page) => stream::iter(page).map(Ok).left_stream(),
                Err(error) => stream::once(async { Err(error) }).right_stream(),
            })
            .boxed()
    }
}

impl fmt::Display for LatencyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LatencyStore({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LatencyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let mut recording = self.begin(RequestKind::Put, location).await;
        let bytes = payload.content_length() as u64;
        self.model.transfer(bytes).await;
        recording.add_bytes(bytes);
        recording.finish(self.inner.put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let recording = self.begin(RequestKind::Put, location).await;
        recording.finish(self.inner.put_multipart_opts(location, opts).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head {
            RequestKind::Head
        } else {
            RequestKind::Get
        };
        let range = options.range.as_ref().and_then(bounded);
        let mut recording = self.recorder.begin(kind, location.as_ref(), range);
        tokio::time::sleep(self.model.request).await;
        let answer = match self.inner.get_opts(location, options).await {
            Ok(answer) => answer,
            Err(error) => return recording.finish(Err(error)),
        };
        let (meta, range) = (answer.meta.clone(), answer.range.clone());
        let (attributes, extensions) = (answer.attributes.clone(), answer.extensions.clone());
        let body = if kind == RequestKind::Head {
            recording.set_outcome(Outcome::Done);
            stream::empty().boxed()
        } else {
            let wanted = range.end.saturating_sub(range.start);
            if wanted == 0 {
                recording.set_outcome(Outcome::Done);
            }
            timed(answer.into_stream(), wanted, self.model, recording)
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = |range| self.get_range(location, range);
        coalesce_ranges(ranges, read, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (inner, model) = (Arc::clone(&self.inner), self.model);
        let recorder = self.recorder.clone();
        let delete = move |location: Result<Path>| {
            let (inner, recorder) = (Arc::clone(&inner), recorder.clone());
            async move {
                let location = location?;
                let recording = recorder.begin(RequestKind::Delete, location.as_ref(), None);
                tokio::time::sleep(model.request).await;
                recording.finish(inner.delete(&location).await)?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.in_pages(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.in_pages(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let whole = Path::default();
        let place = prefix.unwrap_or(&whole);
        let first = self.begin(RequestKind::List, place).await;
        let listing = first.finish(self.inner.list_with_delimiter(prefix).await)?;
        let entries = listing.common_prefixes.len() + listing.objects.len();
        let pages = entries.div_ceil(self.model.list_page_objects.max(1));
        for _ in 1..pages {
            let page = self.begin(RequestKind::List, place).await;
            page.finish(Ok::<(), object_store::Error>(()))?;
        }
        Ok(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let recording = self.begin(RequestKind::Copy, from).await;
        recording.finish(self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let recording = self.begin(RequestKind::Copy, from).await;
        recording.finish(self.inner.rename_opts(from, to, options).await)
    }
}

fn bounded(range: &GetRange) -> Option<Range<u64>> {
    match range {
        GetRange::Bounded(range) => Some(range.clone()),
        GetRange::Offset(start) => Some(*start..u64::MAX),
        GetRange::Suffix(_) => None,
    }
}

/// Delivers `body` at the speed of `model`. The request ends with the last of its `wanted` bytes, with an error, or
/// when the body is dropped.
fn timed(
    body: BoxStream<'static, Result<Bytes>>,
    wanted: u64,
    model: LatencyModel,
    recording: Recording,
) -> BoxStream<'static, Result<Bytes>> {
    let state = (body, Some(recording), 0_u64);
    let pieces = stream::unfold(state, move |(mut body, mut recording, sent)| async move {
        let piece = match body.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                if let Some(recording) = recording.as_mut() {
                    recording.set_outcome(Outcome::Failed);
                }
                return Some((Err(error), (body, None, sent)));
            }
            None => {
                if let Some(recording) = recording.as_mut() {
                    recording.set_outcome(Outcome::Done);
                }
                return None;
            }
        };
        let bytes = piece.len() as u64;
        model.transfer(bytes).await;
        let sent = sent + bytes;
        if let Some(recording) = recording.as_mut() {
            recording.add_bytes(bytes);
            if sent >= wanted {
                recording.set_outcome(Outcome::Done);
            }
        }
        let recording = recording.filter(|_| sent < wanted);
        Some((Ok(piece), (body, recording, sent)))
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::Bucket;

    async fn store_of(objects: usize, model: LatencyModel) -> (Arc<LatencyStore>, Bucket) {
        let memory = Arc::new(InMemory::new());
        let bucket = Bucket::new(memory.clone());
        for number in 0..objects {
            let body = vec![7; 1000].into();
            bucket.put(&format!("dir/{number:04}"), body).await.unwrap();
        }
        let store = Arc::new(LatencyStore::new(memory, model));
        (Arc::clone(&store), Bucket::new(store))
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_takes_the_latency_and_the_time_of_its_bytes() {
        let model = LatencyModel {
            request: Duration::from_millis(20),
            bytes_per_sec: 10_000,
            list_page_objects: 2,
        };
        let (store, bucket) = store_of(1, model).await;
        bucket.read_range("dir/0000", 100..600).await.unwrap();
        assert!(bucket.read_range("dir/0001", 0..1).await.is_err());
        let trace = store.take_trace();
        let read = &trace.requests[0];
        assert_eq!((read.range.clone(), read.bytes), (Some(100..600), 500));
        assert_eq!(read.end.unwrap() - read.start, Duration::from_millis(70));
        assert_eq!(read.outcome, Outcome::Done);
        assert_eq!(trace.requests[1].outcome, Outcome::Failed);
        assert_eq!(trace.dependent_round_trips(), 2);
        assert_eq!(store.take_trace(), Trace::default());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_are_one_round_trip() {
        let model = LatencyModel::of_requests(Duration::from_millis(20));
        let (store, bucket) = store_of(8, model).await;
        let reads = (0..8).map(|number| {
            let bucket = bucket.clone();
            async move { bucket.read(&format!("dir/{number:04}"), 1000).await }
        });
        futures::future::try_join_all(reads).await.unwrap();
        let trace = store.take_trace();
        assert_eq!(
            (trace.count(RequestKind::Get), trace.dependent_round_trips()),
            (8, 1)
        );
        assert_eq!(trace.elapsed(), Duration::from_millis(20));
        assert_eq!(trace.bytes_read(), 8000);
    }

    #[tokio::test(start_paused = true)]
    async fn each_page_of_a_listing_is_a_request() {
        let model = LatencyModel {
            list_page_objects: 2,
            ..LatencyModel::default()
        };
        for (objects, pages) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)] {
            let (store, bucket) = store_of(objects, model).await;
            let listed = bucket.objects_under("dir").await.unwrap();
            assert_eq!(listed.len(), objects);
            let trace = store.take_trace();
            assert_eq!(trace.count(RequestKind::List), pages, "{objects} objects");
            assert_eq!(trace.dependent_round_trips(), pages);
            assert_eq!(store.in_flight(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_read_is_no_longer_in_flight() {
        let (store, bucket) = store_of(1, LatencyModel::default()).await;
        let mut read = Box::pin(bucket.read("dir/0000", 1000));
        assert!(futures::poll!(read.as_mut()).is_pending());
        assert_eq!(store.in_flight(), 1);
        drop(read);
        assert_eq!(store.in_flight(), 0);
        assert_eq!(store.trace().requests[0].outcome, Outcome::Dropped);
    }
}
