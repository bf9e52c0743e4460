//! The queue of values on their way to a server: whoever puts one does not wait.
//!
//! It is bounded in values and in bytes; what finds no room is dropped, which is a miss later and nothing worse.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many bytes may wait: values can be a megabyte each, and there may be ten thousand.
const QUEUED_BYTES_MAX: u64 = 64 << 20;

/// A value to be written.
#[derive(Debug)]
pub(in super::super) struct Write {
    pub(in super::super) key: String,
    pub(in super::super) value: Bytes,
    pub(in super::super) ttl: Duration,
}

/// How a queue is worked off.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct QueueOptions {
    /// Values that may wait.
    pub(in super::super) capacity: usize,
    /// Batches that are written at once.
    pub(in super::super) concurrency: usize,
    /// Values that are written together.
    pub(in super::super) batch: usize,
}

/// Values that wait, and the task that writes them; it ends with the queue.
pub(in super::super) struct WriteQueue {
    sender: mpsc::Sender<Write>,
    queued_bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl WriteQueue {
    /// Starts to write what is put in with `write`, which has an end, whatever the server does. In a tokio runtime only.
    pub(in super::super) fn start(
        options: QueueOptions,
        write: impl Fn(Vec<Write>) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel::<Write>(options.capacity.max(1));
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let batch_max = options.batch.max(1);
        let batches = stream::unfold(
            receiver,
            move |mut receiver: mpsc::Receiver<Write>| async move {
                let mut batch = Vec::new();
                let count = receiver.recv_many(&mut batch, batch_max).await;
                (count > 0).then_some((batch, receiver))
            },
        );
        let written = Arc::clone(&queued_bytes);
        let work = batches.for_each_concurrent(options.concurrency.max(1), move |batch| {
            let bytes: usize = batch.iter().map(|write| write.value.len()).sum();
            let (done, written) = (write(batch), Arc::clone(&written));
            async move {
                done.await;
                written.fetch_sub(bytes as u64, Ordering::AcqRel);
            }
        });
        Self {
            sender,
            queued_bytes,
            task: tokio::spawn(work),
        }
    }

    /// Puts a value in; reports whether there was room.
    pub(in super::super) fn put(&self, write: Write) -> bool {
        let bytes = write.value.len() as u64;
        let before = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        let has_room = before + bytes <= QUEUED_BYTES_MAX && self.sender.try_send(write).is_ok();
        if !has_room {
            self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        has_room
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued_bytes = self.queued_bytes.load(Ordering::Acquire);
        f.debug_struct("WriteQueue")
            .field("queued_bytes", &queued_bytes)
            .finish_non_exhaustive()
    }
}
