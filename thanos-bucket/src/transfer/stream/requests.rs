//! What a kernel asks for, and how it waits for the answer.

use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use bytes::Bytes;
use thanos_core::block::{BlockFile, BlockId};
use thanos_core::{Error, Result};

/// Where an answer goes; there is room for it.
pub(super) type Reply<T> = SyncSender<Result<T>>;

/// Bytes of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// Less than this may only come where the segment ends.
    pub(super) len_min: usize,
}

/// One thing that a kernel wants.
#[derive(Debug)]
pub(super) enum Request {
    Read {
        place: Place,
        reply: Reply<Bytes>,
    },
    Begin {
        block: BlockId,
        name: String,
        reply: Reply<()>,
    },
    Part {
        block: BlockId,
        part: Bytes,
        reply: Reply<()>,
    },
    End {
        block: BlockId,
        file: BlockFile,
        reply: Reply<()>,
    },
    Finish {
        block: BlockId,
        reply: Reply<()>,
    },
    /// The kernel has ended.
    Ended,
}

/// What kernels send their requests with.
#[derive(Debug, Clone)]
pub(super) struct Requests(Sender<Request>);

impl Requests {
    pub(super) fn new(sender: Sender<Request>) -> Self {
        Self(sender)
    }

    pub(super) fn sender(&self) -> Sender<Request> {
        self.0.clone()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// That of the answer; `Cancelled` when nobody carries requests out any more.
    pub(super) fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let gone = || Error::cancelled("nobody waits for the job any more");
        let (reply, coming) = sync_channel(1);
        self.0.send(request(reply)).map_err(|_| gone())?;
        coming.recv().map_err(|_| gone())?
    }
}

/// Answers a request; whoever has asked may be gone.
pub(super) fn answer<T>(reply: &Reply<T>, outcome: Result<T>) {
    let _ = reply.try_send(outcome);
}
