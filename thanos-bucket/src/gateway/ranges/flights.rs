//! Reads that are under way: who wants the same bytes at the same time waits for the same request.
//!
//! The request goes on as long as anybody waits for it and is dropped with the last one.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use thanos_core::{Error, Result};

use super::Trust;
use crate::Bucket;

type Read = BoxFuture<'static, std::result::Result<Bytes, Arc<Error>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FlightKey {
    object: Arc<str>,
    range: Range<u64>,
    /// Who wants to know what the bucket says must not wait for what a cache said.
    trust: Trust,
}

/// The reads that are under way.
#[derive(Default)]
pub(in super::super) struct Flights {
    under_way: Arc<Mutex<HashMap<FlightKey, WeakShared<Read>>>>,
}

impl Flights {
    /// Returns the read of `range` that is under way, or a new one.
    pub(super) fn join(
        &self,
        bucket: &Bucket,
        object: &str,
        range: &Range<u64>,
        trust: Trust,
    ) -> Flight {
        let key = FlightKey {
            object: object.into(),
            range: range.clone(),
            trust,
        };
        let mut under_way = self.under_way.lock();
        let known = under_way.get(&key).and_then(WeakShared::upgrade);
        let is_first = known.is_none();
        let read = known.unwrap_or_else(|| {
            let bucket = match trust {
                Trust::Caches => bucket.clone(),
                Trust::Bucket => bucket.clone().past_caches(),
            };
            let key = key.clone();
            let read = async move {
                bucket
                    .read_range_up_to(&key.object, key.range)
                    .await
                    .map_err(Arc::new)
            };
            read.boxed().shared()
        });
        if is_first && let Some(weak) = read.downgrade() {
            under_way.insert(key.clone(), weak);
        }
        Flight {
            read: Some(read),
            is_first,
            key,
            under_way: Arc::clone(&self.under_way),
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.under_way.lock().len();
        f.debug_struct("Flights")
            .field("under_way", &under_way)
            .finish()
    }
}

/// A place in a read that is under way.
pub(super) struct Flight {
    read: Option<Shared<Read>>,
    is_first: bool,
    key: FlightKey,
    under_way: Arc<Mutex<HashMap<FlightKey, WeakShared<Read>>>>,
}

impl Flight {
    /// Reports whether this one began the read.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Returns what was read.
    pub(super) async fn bytes(mut self) -> Result<Bytes> {
        let read = self.read.as_mut().expect("taken by drop only");
        read.await.map_err(|error| like(&error))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // The table forgets the read with the last who waits for it; a newer one under the same key stays.
        drop(self.read.take());
        let mut under_way = self.under_way.lock();
        if let Some(read) = under_way.get(&self.key)
            && read.upgrade().is_none()
        {
            under_way.remove(&self.key);
        }
    }
}

/// Returns an error that says the same: all who wait get one, and an error cannot be copied with its source.
fn like(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    if let Some(file) = error.file() {
        copy = copy.in_file(file);
    }
    if let Some(offset) = error.offset() {
        copy = copy.at(offset);
    }
    copy
}
