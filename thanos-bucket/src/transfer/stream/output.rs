//! Segments of new blocks, uploaded while they are written.

use bytes::Bytes;
use futures::stream::unfold;
use sha2::{Digest, Sha256};
use thanos_core::block::segment::{SegmentOutput, SegmentPlace};
use thanos_core::block::{BlockFile, BlockId, FileHash};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::{Error, Result};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::requests::{Request, Requests};
use crate::Bucket;
use crate::compute::Task;
use crate::transfer::HashFunc;
use crate::transfer::files::hexadecimal;

/// The length of a part: the shortest that clouds take.
const PART_BYTES: usize = 5 << 20;
/// What a new block holds: the part that is filled, one that waits, those that [`Bucket::put_parts`] sends at once, and
/// as much of the segment before, of which the end is on its way.
pub(crate) const OUTPUT_BYTES: u64 = 8 * PART_BYTES as u64;

/// Makes outputs for kernels.
#[derive(Debug)]
pub(super) struct OutputPlace {
    pub(super) requests: Requests,
    pub(super) budget: MemoryBudget,
    pub(super) hash: HashFunc,
}

impl SegmentPlace for OutputPlace {
    fn output(&self, id: BlockId) -> Result<Box<dyn SegmentOutput>> {
        Ok(Box::new(RemoteOutput {
            block: id,
            requests: self.requests.clone(),
            hash: self.hash,
            segment: None,
            _lease: self.budget.lease(OUTPUT_BYTES)?,
        }))
    }
}

/// The kernel's end: the part that is filled.
#[derive(Debug)]
struct RemoteOutput {
    block: BlockId,
    requests: Requests,
    hash: HashFunc,
    segment: Option<OpenSegment>,
    _lease: Lease,
}

#[derive(Debug)]
struct OpenSegment {
    name: String,
    part: Vec<u8>,
    len_bytes: u64,
    hasher: Option<Sha256>,
}

impl RemoteOutput {
    fn send(&self, part: Vec<u8>) -> Result<()> {
        let (block, part) = (self.block, Bytes::from(part));
        self.requests
            .ask(|reply| Request::Part { block, part, reply })
    }

    fn open(&mut self) -> Result<&mut OpenSegment> {
        let segment = self.segment.as_mut();
        segment.ok_or_else(|| Error::internal("no segment was begun"))
    }
}

impl SegmentOutput for RemoteOutput {
    fn begin(&mut self, name: &str) -> Result<()> {
        let (block, object) = (self.block, name.to_owned());
        self.requests.ask(|reply| Request::Begin {
            block,
            name: object,
            reply,
        })?;
        self.segment = Some(OpenSegment {
            name: name.to_owned(),
            part: Vec::new(),
            len_bytes: 0,
            hasher: (self.hash == HashFunc::Sha256).then(Sha256::new),
        });
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let segment = self.open()?;
            let room = PART_BYTES - segment.part.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            segment.part.extend_from_slice(now);
            segment.len_bytes += now.len() as u64;
            if let Some(hasher) = &mut segment.hasher {
                hasher.update(now);
            }
            if segment.part.len() == PART_BYTES {
                let part = std::mem::replace(&mut segment.part, Vec::with_capacity(PART_BYTES));
                self.send(part)?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let segment = self.segment.take();
        let segment = segment.ok_or_else(|| Error::internal("no segment was begun"))?;
        if !segment.part.is_empty() {
            self.send(segment.part)?;
        }
        let hash = |hasher: Sha256| FileHash {
            func: HashFunc::Sha256.as_str().to_owned(),
            value: hexadecimal(&hasher.finalize()),
        };
        let (block, file) = (
            self.block,
            BlockFile {
                rel_path: format!("chunks/{}", segment.name),
                size_bytes: segment.len_bytes,
                hash: segment.hasher.map(hash),
            },
        );
        self.requests
            .ask(|reply| Request::End { block, file, reply })
    }

    fn finish(&mut self) -> Result<()> {
        let block = self.block;
        self.requests.ask(|reply| Request::Finish { block, reply })
    }
}

/// The bucket's end: the uploads of one new block.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    open: Option<Upload>,
    /// The upload of the segment before, all of which has been handed over.
    ending: Option<Task<Result<()>>>,
    files: Vec<BlockFile>,
}

#[derive(Debug)]
struct Upload {
    parts: Sender<Piece>,
    task: Task<Result<()>>,
}

/// What comes of a segment. Without an end it is not to become an object.
#[derive(Debug)]
enum Piece {
    Part(Bytes),
    End,
}

impl Uploads {
    pub(super) async fn begin(&mut self, bucket: &Bucket, object: String) -> Result<()> {
        let (parts, coming) = channel(1);
        let task = Task::spawn(send_segment(bucket.clone(), object, coming));
        self.open = Some(Upload { parts, task });
        Ok(())
    }

    pub(super) async fn part(&mut self, part: Bytes) -> Result<()> {
        self.hand_over(Piece::Part(part)).await
    }

    pub(super) async fn end(&mut self, file: BlockFile) -> Result<()> {
        self.hand_over(Piece::End).await?;
        self.finish().await?;
        self.ending = self.open.take().map(|upload| upload.task);
        self.files.push(file);
        Ok(())
    }

    /// Waits until all segments that have ended are objects.
    pub(super) async fn finish(&mut self) -> Result<()> {
        match self.ending.take() {
            Some(ending) => ending.join().await?.map_err(in_words),
            None => Ok(()),
        }
    }

    async fn hand_over(&mut self, piece: Piece) -> Result<()> {
        let Some(open) = &self.open else {
            return Err(Error::internal("no segment was begun"));
        };
        if open.parts.send(piece).await.is_ok() {
            return Ok(());
        }
        // The upload has ended before it should have.
        let ended = match self.open.take() {
            Some(upload) => upload.task.join().await?,
            None => Ok(()),
        };
        let why = ended.err();
        Err(in_words(why.unwrap_or_else(|| {
            Error::internal("an upload has ended early")
        })))
    }

    /// Waits until what has not ended is given up.
    pub(super) async fn give_up(self) {
        let ending = self.ending.into_iter();
        let open = self.open.map(|upload| {
            drop(upload.parts);
            upload.task
        });
        for task in ending.chain(open) {
            if let Ok(Err(error)) = task.join().await {
                tracing::debug!(%error, "an upload was given up");
            }
        }
    }

    pub(super) fn into_files(self) -> Vec<BlockFile> {
        self.files
    }
}

fn in_words(error: Error) -> Error {
    error.context("upload chunks")
}

/// Makes an object of the pieces.
async fn send_segment(bucket: Bucket, object: String, mut pieces: Receiver<Piece>) -> Result<()> {
    let (first, second) = (pieces.recv().await, pieces.recv().await);
    let (first, second) = match (first, second) {
        (Some(Piece::Part(first)), Some(Piece::End)) => return bucket.put(&object, first).await,
        (Some(Piece::Part(first)), Some(Piece::Part(second))) => (first, second),
        _ => return Err(given_up()),
    };
    // Whoever asks for a part after the error gets none.
    let rest = unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Part(part)) => Some((Ok(part), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(given_up()), None)),
        }
    });
    let parts = futures::stream::iter([Ok(first), Ok(second)]);
    let parts = futures::StreamExt::chain(parts, rest);
    bucket.put_parts(&object, parts).await
}

fn given_up() -> Error {
    Error::cancelled("the segment was given up")
}
