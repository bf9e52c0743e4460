//! The requests that a store was asked: what, when, how much; and how many of them had to wait for each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestKind {
    /// The bytes of an object or of a range of it.
    Get,
    /// The size and version of an object.
    Head,
    /// One page of a listing.
    List,
    /// A write.
    Put,
    /// A deletion.
    Delete,
    /// A copy or a change of name inside of the store.
    Copy,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All of the answer was taken.
    Done,
    /// The store answered with an error.
    Failed,
    /// Whoever asked went away before the end of the answer.
    Dropped,
}

/// One request that a store was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// What was asked for.
    pub kind: RequestKind,
    /// The object, or the prefix of a listing.
    pub object: String,
    /// The bytes that were asked for; `None` for a whole object and for what is no read.
    pub range: Option<Range<u64>>,
    /// The bytes that went over the wire: those of a body that was taken, or of a write.
    pub bytes: u64,
    /// When it was asked, since the store was made.
    pub start: Duration,
    /// When its last byte was there; `None` while it is under way.
    pub end: Option<Duration>,
    /// How it ended; meaningless while it is under way.
    pub outcome: Outcome,
}

/// Requests in the order in which they were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The requests.
    pub requests: Vec<RequestRecord>,
}

impl Trace {
    /// Returns the length of the longest chain of requests each of which was asked when its predecessor had ended:
    /// the round trips that somebody had to wait for, one after the other.
    ///
    /// Requests of no duration cannot be told apart: use a latency of at least a millisecond. A request that waited for
    /// a free place among those allowed at once counts like one that waited for an answer.
    pub fn dependent_round_trips(&self) -> usize {
        // The most intervals of which no two overlap: always take the one that ends first.
        let ended = self.requests.iter().filter_map(|request| {
            let end = request.end?;
            Some((end, request.start))
        });
        let mut intervals: Vec<_> = ended.collect();
        intervals.sort_unstable();
        let (mut trips, mut free_at) = (0, Duration::ZERO);
        for (end, start) in intervals {
            if trips == 0 || start >= free_at {
                trips += 1;
                free_at = end;
            }
        }
        trips
    }

    /// Returns how many requests of `kind` there are.
    pub fn count(&self, kind: RequestKind) -> usize {
        let of_kind = |request: &&RequestRecord| request.kind == kind;
        self.requests.iter().filter(of_kind).count()
    }

    /// Returns the bytes that reads took.
    pub fn bytes_read(&self) -> u64 {
        let reads = self.of_kind(RequestKind::Get);
        reads.map(|request| request.bytes).sum()
    }

    /// Returns the requests of `kind`.
    pub fn of_kind(&self, kind: RequestKind) -> impl Iterator<Item = &RequestRecord> {
        self.requests
            .iter()
            .filter(move |request| request.kind == kind)
    }

    /// Returns the requests for objects whose names end in `suffix`.
    #[must_use]
    pub fn of_objects(&self, suffix: &str) -> Self {
        let named = |request: &&RequestRecord| request.object.ends_with(suffix);
        Self {
            requests: self.requests.iter().filter(named).cloned().collect(),
        }
    }

    /// Returns the time from the first question to the last answer.
    pub fn elapsed(&self) -> Duration {
        let first = self.requests.iter().map(|request| request.start).min();
        let last = self.requests.iter().filter_map(|request| request.end).max();
        last.unwrap_or_default()
            .saturating_sub(first.unwrap_or_default())
    }
}

/// Takes notes of requests; clones write into the same book.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    book: Arc<Mutex<Book>>,
    born: Instant,
}

#[derive(Debug, Default)]
struct Book {
    /// How many requests earlier traces took away: the number of the first one here.
    taken: usize,
    trace: Trace,
    in_flight: usize,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            book: Arc::default(),
            born: Instant::now(),
        }
    }

    /// Notes that a request is asked.
    pub(super) fn begin(
        &self,
        kind: RequestKind,
        object: impl Into<String>,
        range: Option<Range<u64>>,
    ) -> Recording {
        let mut book = self.book.lock();
        book.in_flight += 1;
        let number = book.taken + book.trace.requests.len();
        book.trace.requests.push(RequestRecord {
            kind,
            object: object.into(),
            range,
            bytes: 0,
            start: self.born.elapsed(),
            end: None,
            outcome: Outcome::Dropped,
        });
        Recording {
            recorder: self.clone(),
            number,
            bytes: 0,
            outcome: Outcome::Dropped,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.book.lock().in_flight
    }

    pub(super) fn snapshot(&self) -> Trace {
        self.book.lock().trace.clone()
    }

    pub(super) fn take(&self) -> Trace {
        let mut book = self.book.lock();
        let trace = std::mem::take(&mut book.trace);
        book.taken += trace.requests.len();
        trace
    }
}

/// A request that is under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Recording {
    recorder: Recorder,
    number: usize,
    bytes: u64,
    outcome: Outcome,
}

impl Recording {
    /// Counts bytes that went over the wire.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Says how the request would have ended if it ended now.
    pub(super) fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Ends the request with `answer`, which is returned.
    pub(super) fn finish<T, E>(mut self, answer: Result<T, E>) -> Result<T, E> {
        self.set_outcome(match &answer {
            Ok(_) => Outcome::Done,
            Err(_) => Outcome::Failed,
        });
        answer
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut book = self.recorder.book.lock();
        book.in_flight -= 1;
        let end = self.recorder.born.elapsed();
        // A request that was under way when its trace was taken has its end nowhere.
        let place = self.number.checked_sub(book.taken);
        if let Some(record) = place.and_then(|place| book.trace.requests.get_mut(place)) {
            record.bytes = self.bytes;
            record.end = Some(end);
            record.outcome = self.outcome;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(intervals: &[(u64, u64)]) -> Trace {
        let record = |&(start, end): &(u64, u64)| RequestRecord {
            kind: RequestKind::Get,
            object: "o".into(),
            range: None,
            bytes: 1,
            start: Duration::from_millis(start),
            end: Some(Duration::from_millis(end)),
            outcome: Outcome::Done,
        };
        Trace {
            requests: intervals.iter().map(record).collect(),
        }
    }

    #[test]
    fn round_trips_are_those_that_waited_for_another() {
        for (intervals, trips) in [
            (&[][..], 0),
            (&[(0, 10)], 1),
            (&[(0, 10), (0, 10), (5, 15)], 1),
            (&[(0, 10), (10, 20), (20, 30)], 3),
            // The long one overlaps all others, and hides none of their waiting.
            (&[(0, 100), (0, 10), (10, 20)], 2),
            (&[(20, 30), (0, 10), (9, 19), (19, 29)], 2),
        ] {
            assert_eq!(
                trace(intervals).dependent_round_trips(),
                trips,
                "{intervals:?}"
            );
        }
    }
}
