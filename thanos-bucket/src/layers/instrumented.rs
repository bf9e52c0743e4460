//! Counts what is done with an object store: requests and bytes, and Thanos' metrics of a bucket.
//!
//! Place in the stack: right above the client, whose retries it does not see, and below hedging and caches, so that what
//! a cache answers is not counted. A request that its caller gives up is counted as attempted, and not as failed.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

use super::metrics::{BucketMetrics, OperationMetrics, UploadTime};

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

/// Put into the extensions of [`GetOptions`]: that there may be no such object is no failure.
#[derive(Debug, Clone, Copy)]
pub struct ExpectMissing;

/// Put into the extensions of [`GetOptions`] beside `head`: the caller asks whether the object exists.
#[derive(Debug, Clone, Copy)]
pub struct ExistsQuestion;

/// An object store whose use is counted.
#[derive(Debug)]
pub struct Instrumented {
    store: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct Meter {
    counters: Counters,
    iter: OperationMetrics,
    get: OperationMetrics,
    get_range: OperationMetrics,
    exists: OperationMetrics,
    upload: OperationMetrics,
    delete: OperationMetrics,
    attributes: OperationMetrics,
    upload_time: UploadTime,
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

/// The counts of an [`Instrumented`] store that lies under other layers.
#[derive(Debug, Clone)]
pub(crate) struct RequestCounter(Arc<Meter>);

impl RequestCounter {
    pub(crate) fn counts(&self) -> RequestCounts {
        let counters = &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            gets: read(&counters.gets),
            heads: read(&counters.heads),
            lists: read(&counters.lists),
            puts: read(&counters.puts),
            deletes: read(&counters.deletes),
            bytes_read: read(&counters.bytes_read),
        }
    }
}

impl Instrumented {
    /// Returns `store`, counted in `metrics` with `bucket` as the label.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: &BucketMetrics, bucket: &str) -> Self {
        let operation = |name| metrics.operation(bucket, name);
        let meter = Meter {
            counters: Counters::default(),
            iter: operation("iter"),
            get: operation("get"),
            get_range: operation("get_range"),
            exists: operation("exists"),
            upload: operation("upload"),
            delete: operation("delete"),
            attributes: operation("attributes"),
            upload_time: metrics.upload_time(bucket),
        };
        Self {
            store,
            meter: Arc::new(meter),
        }
    }

    /// Returns how many requests were made so far.
    pub fn requests(&self) -> RequestCounts {
        self.counter().counts()
    }

    pub(crate) fn counter(&self) -> RequestCounter {
        RequestCounter(Arc::clone(&self.meter))
    }

    fn listing(
        &self,
        inner: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.meter.counters.lists, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.iter);
        Observed {
            inner,
            operation,
            bytes: 0,
            size: |_| 0,
            ended: false,
        }
        .boxed()
    }

    /// Returns the answer to a read whose body, when it has one, is counted as it comes.
    fn observed(&self, mut answer: GetResult, operation: Operation) -> GetResult {
        answer.payload = match answer.payload {
            GetResultPayload::Stream(inner) => {
                let observed = Observed {
                    inner,
                    operation,
                    bytes: 0,
                    size: |piece: &Bytes| piece.len() as u64,
                    ended: false,
                };
                GetResultPayload::Stream(observed.boxed())
            }
            #[cfg(feature = "filesystem")]
            file @ GetResultPayload::File(..) => {
                let bytes = answer.range.end - answer.range.start;
                operation.fetch(bytes);
                operation.succeed(bytes);
                file
            }
        };
        answer
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// An operation that has begun.
#[derive(Debug, Clone)]
struct Operation {
    meter: Arc<Meter>,
    metrics: fn(&Meter) -> &OperationMetrics,
    started: Instant,
    missing_is_failure: bool,
}

impl Operation {
    fn begin(meter: &Arc<Meter>, metrics: fn(&Meter) -> &OperationMetrics) -> Self {
        metrics(meter).begin();
        Self {
            meter: Arc::clone(meter),
            metrics,
            started: Instant::now(),
            missing_is_failure: true,
        }
    }

    fn fetch(&self, bytes: u64) {
        (self.metrics)(&self.meter).fetch(bytes);
        add(&self.meter.counters.bytes_read, bytes);
    }

    fn succeed(&self, bytes: u64) {
        (self.metrics)(&self.meter).succeed(self.started.elapsed(), bytes);
    }

    fn fail(&self, error: &Error) {
        let is_failure = match error {
            Error::NotFound { .. } => self.missing_is_failure,
            // The answer to a condition that the caller made.
            Error::NotModified { .. }
            | Error::Precondition { .. }
            | Error::AlreadyExists { .. } => false,
            _ => true,
        };
        if is_failure {
            (self.metrics)(&self.meter).fail();
        }
    }

    /// Counts an operation that moved `bytes` and is over.
    fn end<T>(&self, result: &Result<T>, bytes: u64) {
        match result {
            Ok(_) => self.succeed(bytes),
            Err(error) => self.fail(error),
        }
    }
}

/// A stream whose end, or failure, is the end of an operation.
struct Observed<T> {
    inner: BoxStream<'static, Result<T>>,
    operation: Operation,
    bytes: u64,
    size: fn(&T) -> u64,
    ended: bool,
}

impl<T> Stream for Observed<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = futures::ready!(self.inner.as_mut().poll_next(cx));
        match &item {
            Some(Ok(piece)) => {
                let bytes = (self.size)(piece);
                self.bytes += bytes;
                if bytes > 0 {
                    self.operation.fetch(bytes);
                }
            }
            Some(Err(error)) if !self.ended => {
                self.operation.fail(error);
                self.ended = true;
            }
            None if !self.ended => {
                self.operation.succeed(self.bytes);
                self.ended = true;
            }
            Some(Err(_)) | None => {}
        }
        Poll::Ready(item)
    }
}

impl fmt::Display for Instrumented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instrumented({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Instrumented {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        add(&self.meter.counters.puts, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.upload);
        let bytes = payload.content_length() as u64;
        let result = self.store.put_opts(location, payload, options).await;
        operation.end(&result, bytes);
        if result.is_ok() {
            self.meter.upload_time.set_to_now();
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        add(&self.meter.counters.puts, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.upload);
        match self.store.put_multipart_opts(location, options).await {
            Ok(inner) => Ok(Box::new(ObservedUpload {
                inner,
                operation,
                bytes: 0,
            })),
            Err(error) => {
                operation.fail(&error);
                Err(error)
            }
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let metrics: fn(&Meter) -> &OperationMetrics =
            match (head, options.extensions.get::<ExistsQuestion>()) {
                (true, Some(_)) => |meter| &meter.exists,
                (true, None) => |meter| &meter.attributes,
                (false, _) if options.range.is_some() => |meter| &meter.get_range,
                (false, _) => |meter| &meter.get,
            };
        let counters = &self.meter.counters;
        add(
            if head {
                &counters.heads
            } else {
                &counters.gets
            },
            1,
        );
        let mut operation = Operation::begin(&self.meter, metrics);
        operation.missing_is_failure = options.extensions.get::<ExpectMissing>().is_none()
            && options.extensions.get::<ExistsQuestion>().is_none();
        match self.store.get_opts(location, options).await {
            Ok(answer) if head => {
                operation.succeed(0);
                Ok(answer)
            }
            Ok(answer) => Ok(self.observed(answer, operation)),
            Err(error) => {
                operation.fail(&error);
                Err(error)
            }
        }
    }

    /// Counts as one operation, however many requests the store makes of it.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        add(&self.meter.counters.gets, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.get_range);
        let result = self.store.get_ranges(location, ranges).await;
        let bytes = result.as_deref().unwrap_or_default();
        let bytes = bytes.iter().map(|piece| piece.len() as u64).sum();
        operation.fetch(bytes);
        operation.end(&result, bytes);
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let meter = Arc::clone(&self.meter);
        let started = Instant::now();
        self.store
            .delete_stream(locations)
            .inspect(move |deleted| {
                add(&meter.counters.deletes, 1);
                let mut operation = Operation::begin(&meter, |meter| &meter.delete);
                operation.started = started;
                operation.missing_is_failure = false;
                operation.end(deleted, 0);
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        add(&self.meter.counters.lists, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.iter);
        let result = self.store.list_with_delimiter(prefix).await;
        operation.end(&result, 0);
        result
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        add(&self.meter.counters.puts, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.upload);
        let result = self.store.copy_opts(from, to, options).await;
        operation.end(&result, 0);
        result
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        add(&self.meter.counters.puts, 1);
        let operation = Operation::begin(&self.meter, |meter| &meter.upload);
        let result = self.store.rename_opts(from, to, options).await;
        operation.end(&result, 0);
        result
    }
}

/// An upload in parts: one operation, a request for each part.
#[derive(Debug)]
struct ObservedUpload {
    inner: Box<dyn MultipartUpload>,
    operation: Operation,
    bytes: u64,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for ObservedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        add(&self.operation.meter.counters.puts, 1);
        self.bytes += data.content_length() as u64;
        let operation = self.operation.clone();
        let failed = move |result: &Result<()>| {
            if let Err(error) = result {
                operation.fail(error);
            }
        };
        self.inner.put_part(data).inspect(failed).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        add(&self.operation.meter.counters.puts, 1);
        let result = self.inner.complete().await;
        self.operation.end(&result, self.bytes);
        if result.is_ok() {
            self.operation.meter.upload_time.set_to_now();
        }
        result
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
