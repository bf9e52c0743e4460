//! Chunks on their way from blocks in the bucket through a kernel into new blocks in the bucket, without a file.
//!
//! ```text
//! thread of the kernel                              the job's future
//!   SegmentSource::read  -- a window of a segment --> range reads, one window ahead for each block   (source)
//!   SegmentOutput::write -- a part of a segment   --> multipart uploads                              (output)
//! ```
//!
//! A kernel knows no runtime: it runs on a thread of its own and waits for the answer to one request at a time. The
//! future that has started it carries the requests out and so owns all of it: when it is dropped no request is answered
//! any more, which ends the kernel at its next one, and reads and uploads that are under way end at once. Nothing waits
//! in a circle: what carries requests out never waits for the kernel but for its next request, nor for `Compute`.
//!
//! Memory is leased from the budget of the job: three windows for each source and some parts for each new block.

mod output;
mod requests;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use thanos_core::block::segment::{SegmentFile, SegmentPlace, SegmentSource};
use thanos_core::block::{BlockFile, BlockId};
use thanos_core::budget::MemoryBudget;
use thanos_core::{Error, Result};

pub(crate) use self::output::OUTPUT_BYTES;
use self::output::{OutputPlace, Uploads};
use self::requests::{Request, Requests, answer};
pub(crate) use self::source::SOURCE_BYTES;
use self::source::{RemoteSegments, SourceReader};
use super::HashFunc;
use crate::Bucket;
use crate::compute::Compute;

/// Carries out what a kernel asks of a bucket.
#[derive(Debug)]
pub(crate) struct ChunkStream {
    bucket: Bucket,
    budget: MemoryBudget,
    requests: Requests,
    /// Not here while the next request is waited for.
    coming: Option<Receiver<Request>>,
    sources: Vec<SourceReader>,
    uploads: BTreeMap<BlockId, Uploads>,
}

impl ChunkStream {
    /// Returns what reads from and writes to `bucket`.
    pub(crate) fn new(bucket: Bucket, budget: MemoryBudget) -> Self {
        let (sender, coming) = channel();
        Self {
            bucket,
            budget,
            requests: Requests::new(sender),
            coming: Some(coming),
            sources: Vec::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// Returns the segments `objects`, in the order of their numbers, for kernels that [`ChunkStream::run`] runs; the
    /// names are those of the objects.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when there is no memory for the windows.
    pub(crate) fn source(&mut self, objects: Vec<SegmentFile>) -> Result<Arc<dyn SegmentSource>> {
        let segments: Arc<[SegmentFile]> = objects.into();
        let reader = SourceReader::new(self.bucket.clone(), Arc::clone(&segments));
        let lease = self.budget.lease(SOURCE_BYTES)?;
        self.sources.push(reader);
        let number = self.sources.len() - 1;
        let requests = self.requests.clone();
        let source = RemoteSegments::new(number, segments, requests, lease);
        Ok(Arc::new(source))
    }

    /// Returns what takes the segments of new blocks from kernels that [`ChunkStream::run`] runs.
    pub(crate) fn place(&self, hash: HashFunc) -> Arc<dyn SegmentPlace> {
        Arc::new(OutputPlace {
            requests: self.requests.clone(),
            budget: self.budget.clone(),
            hash,
        })
    }

    /// Returns the segments of the new block `id` that were uploaded, as its meta.json lists them.
    pub(crate) fn uploaded(&mut self, id: BlockId) -> Vec<BlockFile> {
        let uploads = self.uploads.remove(&id);
        uploads.map(Uploads::into_files).unwrap_or_default()
    }

    /// Gives up the uploads that have not ended, and returns the blocks of which something may be in the bucket.
    pub(crate) async fn give_up(&mut self) -> Vec<BlockId> {
        let uploads = std::mem::take(&mut self.uploads);
        let ids = uploads.keys().copied().collect();
        for uploads in uploads.into_values() {
            uploads.give_up().await;
        }
        ids
    }

    /// Runs `kernel` on a thread of its own, with a place of `compute`, and carries out what it asks for.
    ///
    /// # Errors
    ///
    /// `Cancelled` when the runtime shuts down, and what starting a thread says. What keeps a request from being carried
    /// out is an error of the request.
    ///
    /// # Panics
    ///
    /// When `kernel` panics, with its panic. Outside of a tokio runtime.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        compute: &Compute,
        kernel: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let place = compute.place().await?;
        let ended = TellEnd(self.requests.sender());
        let thread = std::thread::Builder::new().name("kernel".to_owned());
        let thread = thread.spawn(move || {
            let _ended = ended;
            let _place = place;
            kernel()
        })?;
        loop {
            match self.next_request().await? {
                Request::Ended => break,
                request => self.carry_out(request).await,
            }
        }
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Waits for the next request on a thread for blocking work: where time is simulated, it stands still meanwhile.
    async fn next_request(&mut self) -> Result<Request> {
        let gone = || Error::internal("requests of a kernel are carried out twice");
        let coming = self.coming.take().ok_or_else(gone)?;
        let waiting = tokio::task::spawn_blocking(move || (coming.recv(), coming));
        let (request, coming) = waiting
            .await
            .map_err(|_| Error::cancelled("the runtime shuts down"))?;
        self.coming = Some(coming);
        request.map_err(|_| Error::internal("a kernel has ended without a word"))
    }

    async fn carry_out(&mut self, request: Request) {
        match request {
            Request::Read { place, reply } => {
                let bytes = match self.sources.get_mut(place.source) {
                    Some(source) => source.read(&place).await,
                    None => Err(Error::internal("a source of another stream")),
                };
                answer(&reply, bytes);
            }
            Request::Begin { block, name, reply } => {
                let uploads = self.uploads.entry(block).or_default();
                let object = format!("{block}/chunks/{name}");
                answer(&reply, uploads.begin(&self.bucket, object).await);
            }
            Request::Part { block, part, reply } => {
                answer(&reply, self.uploads(block).part(part).await);
            }
            Request::End { block, file, reply } => {
                answer(&reply, self.uploads(block).end(file).await);
            }
            Request::Finish { block, reply } => {
                answer(&reply, self.uploads(block).finish().await);
            }
            Request::Ended => {}
        }
    }

    fn uploads(&mut self, block: BlockId) -> &mut Uploads {
        self.uploads.entry(block).or_default()
    }
}

/// Says that a kernel has ended, however it did.
struct TellEnd(Sender<Request>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody may listen any more.
        let _ = self.0.send(Request::Ended);
    }
}
