//! The index-headers of blocks that are served before they have one, fetched a few at once in the background.
//!
//! A manifest says enough of a block to serve it. Fetching thousands of headers first would cost what the manifest
//! saves; fetching none would make the first request for each block slow. A request that comes before gets the header
//! itself: the two wait for each other.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::block::GatewayBlock;

/// How many headers are fetched at once. Little, because requests come first: at 20 ms each, ten thousand short ones
/// take a minute.
const AT_ONCE: usize = 4;

/// Fetches headers for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct HeadersLater {
    queue: Arc<Mutex<Queue>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    blocks: VecDeque<Weak<GatewayBlock>>,
    /// Whether a task takes what is in it. It ends under the lock, so that nothing is put in unseen.
    is_served: bool,
}

impl HeadersLater {
    /// Fetches the headers of `blocks` too, those of the latest data first. A block that is dropped meanwhile is left out.
    pub(super) fn fetch(&self, mut blocks: Vec<Arc<GatewayBlock>>) {
        if blocks.is_empty() {
            return;
        }
        blocks.sort_unstable_by_key(|block| std::cmp::Reverse(block.time_range().max));
        let mut queue = self.queue.lock();
        queue.blocks.extend(blocks.iter().map(Arc::downgrade));
        let mut task = self.task.lock();
        // The runtime of an earlier one may have ended before it.
        let is_gone = task.as_ref().is_none_or(JoinHandle::is_finished);
        if !queue.is_served || is_gone {
            queue.is_served = true;
            *task = Some(tokio::spawn(drain(Arc::clone(&self.queue))));
        }
    }

    /// Returns how many headers are still to be fetched.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().blocks.len()
    }
}

impl Drop for HeadersLater {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

async fn drain(queue: Arc<Mutex<Queue>>) {
    loop {
        let next = || queue.lock().blocks.pop_front();
        futures::stream::iter(std::iter::from_fn(next))
            .for_each_concurrent(AT_ONCE, prepare)
            .await;
        let mut queue = queue.lock();
        if queue.blocks.is_empty() {
            queue.is_served = false;
            return;
        }
    }
}

async fn prepare(block: Weak<GatewayBlock>) {
    let Some(block) = block.upgrade() else {
        return;
    };
    if let Err(error) = block.prepare().await {
        let id = block.id();
        tracing::warn!(block = %id, %error, "cannot fetch the index-header, the first request for the block will");
    }
}
