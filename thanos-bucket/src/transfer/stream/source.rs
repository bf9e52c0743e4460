//! Segments of a block in the bucket, read in windows that grow while they follow each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use thanos_core::block::segment::{SegmentFile, SegmentSource};
use thanos_core::budget::Lease;
use thanos_core::{Error, Result};

use super::requests::{Place, Request, Requests};
use crate::Bucket;
use crate::compute::Task;

/// The first window, and the next one after a jump: whoever jumps may do so again.
const WINDOW_BYTES_MIN: u64 = 128 << 10;
/// The longest window, which many reads in a row come to.
const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// What a source holds: the window that is worked on, the one that comes, and the one before, of which series that were
/// read ahead may still have chunks.
pub(crate) const SOURCE_BYTES: u64 = 3 * WINDOW_BYTES_MAX;
/// How often a read is tried: much is lost with a job that has come far.
const ATTEMPTS: u32 = 4;
/// How long a failed read waits for its first repetition; each further one waits twice as long.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The kernel's end: what is worked on.
#[derive(Debug)]
pub(super) struct RemoteSegments {
    number: usize,
    segments: Arc<[SegmentFile]>,
    requests: Requests,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    segment: usize,
    /// Where `bytes` begin.
    start: u64,
    bytes: Bytes,
    /// What lies just before `start`, copied from the window before: a chunk that is in both.
    head: Bytes,
    lease: Lease,
}

impl RemoteSegments {
    pub(super) fn new(
        number: usize,
        segments: Arc<[SegmentFile]>,
        requests: Requests,
        lease: Lease,
    ) -> Self {
        let window = Window {
            segment: 0,
            start: 0,
            bytes: Bytes::new(),
            head: Bytes::new(),
            lease,
        };
        Self {
            number,
            segments,
            requests,
            window: Mutex::new(window),
        }
    }

    fn fetch(&self, segment: usize, offset: u64, len_min: usize) -> Result<Bytes> {
        let place = Place {
            source: self.number,
            segment,
            offset,
            len_min,
        };
        self.requests.ask(|reply| Request::Read { place, reply })
    }
}

impl SegmentSource for RemoteSegments {
    fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    fn read(&self, segment: usize, offset: u64, len_min: usize) -> Result<Bytes> {
        let Some(file) = self.segments.get(segment) else {
            return Err(Error::internal("there is no such segment"));
        };
        let window = &mut *self.window.lock();
        if window.segment != segment {
            window.reset(segment, offset, Bytes::new())?;
        }
        loop {
            if let Some(found) = window.get(offset, len_min, file.len_bytes) {
                return Ok(found);
            }
            let tail = window.tail(offset);
            let at = offset + tail.len() as u64;
            // What is held of a chunk longer than a window is not bounded by windows.
            window.lease.resize(SOURCE_BYTES + 2 * len_min as u64)?;
            let bytes = self.fetch(segment, at, len_min.saturating_sub(tail.len()))?;
            if bytes.is_empty() {
                return Err(Error::internal("nothing was read of a segment"));
            }
            window.reset(segment, at, bytes)?;
            window.head = tail;
        }
    }
}

impl Window {
    fn reset(&mut self, segment: usize, start: u64, bytes: Bytes) -> Result<()> {
        (self.segment, self.start) = (segment, start);
        (self.bytes, self.head) = (bytes, Bytes::new());
        self.lease.resize(SOURCE_BYTES + self.bytes.len() as u64)
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Returns at least `len_min` bytes at `offset`, or those up to the end of the segment.
    fn get(&self, offset: u64, len_min: usize, segment_len: u64) -> Option<Bytes> {
        let is_enough = |len: usize| len >= len_min || self.end() == segment_len;
        if let Some(at) = offset.checked_sub(self.start) {
            let at = usize::try_from(at)
                .ok()
                .filter(|at| *at < self.bytes.len())?;
            return is_enough(self.bytes.len() - at).then(|| self.bytes.slice(at..));
        }
        let head = self.head_from(offset)?;
        let rest = len_min.saturating_sub(head.len()).min(self.bytes.len());
        let is_there = is_enough(head.len() + rest);
        is_there.then(|| joined(&head, &self.bytes[..rest]))
    }

    /// Returns a copy of what there is from `offset` on; nothing when that is not here.
    fn tail(&self, offset: u64) -> Bytes {
        if let Some(at) = offset.checked_sub(self.start) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            return Bytes::copy_from_slice(self.bytes.get(at..).unwrap_or_default());
        }
        let head = self.head_from(offset);
        head.map(|head| joined(&head, &self.bytes))
            .unwrap_or_default()
    }

    /// Returns what of `head` lies at `offset`, which is before `start`, and after.
    fn head_from(&self, offset: u64) -> Option<Bytes> {
        let before = usize::try_from(self.start - offset).ok()?;
        let at = self.head.len().checked_sub(before)?;
        Some(self.head.slice(at..))
    }
}

fn joined(a: &[u8], b: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(a.len() + b.len());
    joined.extend_from_slice(a);
    joined.extend_from_slice(b);
    joined.freeze()
}

/// The bucket's end: what is read.
#[derive(Debug)]
pub(super) struct SourceReader {
    bucket: Bucket,
    segments: Arc<[SegmentFile]>,
    window_bytes: u64,
    /// Where the next window begins if nobody jumps.
    next: Option<(usize, u64)>,
    ahead: Option<Ahead>,
}

/// A window on its way.
#[derive(Debug)]
struct Ahead {
    segment: usize,
    range: Range<u64>,
    bytes: Task<Result<Bytes>>,
}

impl SourceReader {
    pub(super) fn new(bucket: Bucket, segments: Arc<[SegmentFile]>) -> Self {
        Self {
            bucket,
            segments,
            window_bytes: WINDOW_BYTES_MIN,
            next: Some((0, 0)),
            ahead: None,
        }
    }

    /// Returns the bytes at `place`, a window of them.
    pub(super) async fn read(&mut self, place: &Place) -> Result<Bytes> {
        let (segment, offset, len_min) = (place.segment, place.offset, place.len_min as u64);
        let end = self.segments.get(segment).map_or(0, |file| file.len_bytes);
        if offset >= end {
            let message = "bytes are asked for after the end of a segment";
            return Err(Error::internal(message));
        }
        if let Some(ahead) = self.ahead.take()
            && ahead.segment == segment
            && ahead.range.contains(&offset)
            && ahead.range.end >= end.min(offset + len_min)
        {
            let skipped = usize::try_from(offset - ahead.range.start).unwrap_or(usize::MAX);
            let bytes = ahead.bytes.join().await??;
            self.read_ahead(segment, ahead.range.end);
            return Ok(bytes.slice(skipped..));
        }
        let follows = self.next.is_some_and(|(at, next)| {
            at == segment && (next..next.saturating_add(self.window_bytes)).contains(&offset)
        });
        if !follows {
            self.window_bytes = WINDOW_BYTES_MIN;
        }
        let to = end.min(offset + self.window_bytes.max(len_min));
        let bytes = read_whole(self.bucket.clone(), self.name(segment), offset..to).await?;
        self.next = Some((segment, to));
        if follows {
            self.read_ahead(segment, to);
        }
        Ok(bytes)
    }

    fn name(&self, segment: usize) -> String {
        let file = self.segments.get(segment);
        file.map(|file| file.name.clone()).unwrap_or_default()
    }

    /// Begins to read what comes after `at` of `segment`.
    fn read_ahead(&mut self, segment: usize, at: u64) {
        let is_at_end = self
            .segments
            .get(segment)
            .is_none_or(|file| file.len_bytes <= at);
        let (segment, at) = if is_at_end {
            (segment + 1, 0)
        } else {
            (segment, at)
        };
        self.window_bytes = (2 * self.window_bytes).min(WINDOW_BYTES_MAX);
        let Some(file) = self.segments.get(segment) else {
            self.next = None;
            return;
        };
        let range = at..file.len_bytes.min(at + self.window_bytes);
        self.next = Some((segment, range.end));
        let reading = read_whole(self.bucket.clone(), file.name.clone(), range.clone());
        self.ahead = Some(Ahead {
            segment,
            range,
            bytes: Task::spawn(reading),
        });
    }
}

/// Returns all of `range`, tried again when that is worth it.
async fn read_whole(bucket: Bucket, object: String, range: Range<u64>) -> Result<Bytes> {
    let mut delay = RETRY_DELAY;
    for _ in 1..ATTEMPTS {
        match read_once(&bucket, &object, range.clone()).await {
            Err(error) if error.is_retryable() => {
                tracing::debug!(object, ?range, %error, "read of a segment failed, will retry");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(delay).await;
        delay *= 2;
    }
    read_once(&bucket, &object, range).await
}

async fn read_once(bucket: &Bucket, object: &str, range: Range<u64>) -> Result<Bytes> {
    let wanted = range.end - range.start;
    let bytes = bucket.read_range_up_to(object, range).await?;
    if bytes.len() as u64 == wanted {
        return Ok(bytes);
    }
    // The object has the bytes, as its length says.
    let message = format!("{} of {wanted} bytes came", bytes.len());
    Err(Error::unavailable(message).in_file(object))
}
