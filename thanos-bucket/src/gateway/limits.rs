//! What one request may take: series, samples, downloaded bytes (row ST-22 of the specification).
//!
//! The texts are Thanos' own, because users have alerts on them, with the name of the flag behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thanos_core::{Error, Result};

/// How many samples a chunk is taken for when samples are limited, as in Thanos.
const SAMPLES_PER_CHUNK: u64 = 120;

/// Limits of one `Series` or label call; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestLimits {
    /// The most series that matchers may select (`--store.limits.request-series`).
    pub series: u64,
    /// The most samples that may be read (`--store.limits.request-samples`), counted as chunks of 120.
    pub samples: u64,
    /// The most bytes that may be fetched or come from caches (`--store.grpc.downloaded-bytes-limit`).
    pub downloaded_bytes: u64,
}

/// A thing that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Limited {
    Series,
    Chunks,
    Bytes,
}

impl Limited {
    /// Returns the word in messages, and the label `reason` of `thanos_bucket_store_queries_dropped_total`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Chunks => "chunks",
            Self::Bytes => "bytes",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Series => "--store.limits.request-series",
            Self::Chunks => "--store.limits.request-samples",
            Self::Bytes => "--store.grpc.downloaded-bytes-limit",
        }
    }
}

/// Counts what one request takes of one thing.
#[derive(Debug)]
pub(super) struct Limiter {
    what: Limited,
    /// 0 means none.
    limit: u64,
    taken: AtomicU64,
    is_known: AtomicBool,
}

impl Limiter {
    /// Returns what counts `what` of a request.
    pub(super) fn new(what: Limited, limits: &RequestLimits) -> Self {
        let limit = match what {
            Limited::Series => limits.series,
            // COMPAT: less than a chunk is no limit in Thanos, because the division yields 0; here it is one chunk.
            Limited::Chunks if limits.samples > 0 => (limits.samples / SAMPLES_PER_CHUNK).max(1),
            Limited::Chunks => 0,
            Limited::Bytes => limits.downloaded_bytes,
        };
        Self {
            what,
            limit,
            taken: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
        }
    }

    /// Takes `count` more; `while_doing` goes into the message.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when that is more than allowed. What was taken stays taken: the request is over.
    pub(super) fn take(&self, count: u64, while_doing: &str) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let sum = |taken: u64| Some(taken.saturating_add(count));
        let relaxed = Ordering::Relaxed;
        let before = self.taken.fetch_update(relaxed, relaxed, sum);
        let taken = before.unwrap_or_default().saturating_add(count);
        if taken <= self.limit {
            return Ok(());
        }
        Err(Error::limit_exceeded(format!(
            "exceeded {} limit{while_doing}: limit {} violated (got {taken}), set by {}",
            self.what.as_str(),
            self.limit,
            self.what.flag(),
        )))
    }

    /// Reports whether nobody asked this before: steps that go on at once hit the same limit together.
    pub(super) fn is_first_violation(&self) -> bool {
        !self.is_known.swap(true, Ordering::Relaxed)
    }

    /// Reports whether the limit was hit and somebody knows.
    pub(super) fn is_violated(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    pub(super) fn what(&self) -> Limited {
        self.what
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::ErrorKind;

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        series: 10,
        samples: 1000,
        downloaded_bytes: 100,
    };

    /// ST-22.
    #[test]
    fn a_limit_holds_what_it_says_and_one_more_is_an_error_that_names_the_flag() {
        for (what, limit, flag) in [
            (Limited::Series, 10, "--store.limits.request-series"),
            (Limited::Chunks, 8, "--store.limits.request-samples"),
            (Limited::Bytes, 100, "--store.grpc.downloaded-bytes-limit"),
        ] {
            let limiter = Limiter::new(what, &LIMITS);
            limiter.take(limit - 1, "").unwrap();
            limiter.take(1, "").unwrap();
            let error = limiter.take(1, " while fetching series").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            let word = what.as_str();
            let wanted = format!(
                "exceeded {word} limit while fetching series: limit {limit} violated (got {}), set by {flag}",
                limit + 1
            );
            assert_eq!(error.to_string(), wanted);
            assert!(limiter.is_first_violation() && !limiter.is_first_violation());
        }
    }

    #[test]
    fn zero_is_no_limit_and_few_samples_are_one_chunk() {
        for what in [Limited::Series, Limited::Chunks, Limited::Bytes] {
            let limiter = Limiter::new(what, &RequestLimits::default());
            limiter.take(u64::MAX, "").unwrap();
            limiter.take(u64::MAX, "").unwrap();
        }
        let few = RequestLimits {
            samples: 1,
            ..RequestLimits::default()
        };
        let limiter = Limiter::new(Limited::Chunks, &few);
        limiter.take(1, "").unwrap();
        assert!(limiter.take(1, "").is_err());
    }

    #[test]
    fn counting_does_not_wrap_around() {
        let limiter = Limiter::new(Limited::Bytes, &LIMITS);
        assert!(limiter.take(u64::MAX, "").is_err());
        assert!(limiter.take(2, "").is_err());
    }
}
