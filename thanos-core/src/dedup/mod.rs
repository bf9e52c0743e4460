//! Deduplication: the samples of replicas of one series made into those of one.
//!
//! Two Prometheus servers that scrape the same targets record the same series at slightly different times. A
//! [`Dedup`] says which sample of which replica makes the answer; it looks at times and floats only, so that it serves
//! queries and compaction, floats and histograms alike.
//!
//! ```text
//! chunks of one series -> split_overlapping -> replicas -> penalty or chain -> picks: (replica, sample, shift)
//! ```
//!
//! # Example
//!
//! ```
//! use thanos_core::chunk::Samples;
//! use thanos_core::dedup::Dedup;
//! use thanos_core::time::Timestamp;
//!
//! let replica = |samples: &[(i64, f64)]| {
//!     let mut columns = Samples::new();
//!     for (time, value) in samples {
//!         columns.push_float(Timestamp::from_millis(*time), *value);
//!     }
//!     columns
//! };
//! let a = replica(&[(0, 1.0), (15_000, 2.0), (45_000, 4.0)]);
//! let b = replica(&[(15_000, 2.0), (30_000, 3.0), (60_000, 5.0)]);
//! let times = |dedup: Dedup| -> Vec<i64> {
//!     let picks = dedup.pick(&[&a, &b]);
//!     picks.iter().map(|pick| [&a, &b][pick.replica].times()[pick.sample]).collect()
//! };
//! assert_eq!(times(Dedup::Penalty), [0, 15_000, 45_000]);
//! assert_eq!(times(Dedup::Chain), [0, 15_000, 30_000, 45_000, 60_000]);
//! ```

mod chain;
mod counter;
mod follow;
#[cfg(test)]
mod laws;
mod penalty;
mod split;
#[cfg(test)]
mod tests;

use crate::chunk::Samples;

pub(crate) use split::split_by_rhythm;
pub use split::split_overlapping;

/// The times of a replica in ascending order, and its floats.
pub trait Replica {
    /// Returns the times in milliseconds, strictly ascending.
    fn times(&self) -> &[i64];

    /// Returns the value of the sample at `index`, unless that is a histogram.
    fn float(&self, index: usize) -> Option<f64>;
}

impl Replica for Samples {
    fn times(&self) -> &[i64] {
        self.times()
    }

    fn float(&self, index: usize) -> Option<f64> {
        match self.histogram(index) {
            Some(_) => None,
            None => self.values().get(index).copied(),
        }
    }
}

/// A sample of the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The position of the replica among those that were given.
    pub replica: usize,
    /// The position of the sample in it.
    pub sample: usize,
    /// What has to be added to a float, so that a counter does not seem to go back where the replica changes. 0 but
    /// for [`Dedup::PenaltyOfCounter`] and [`Dedup::Counter`].
    pub shift: f64,
}

/// How replicas are made into one.
///
/// Source: the rules and vectors of Thanos' `pkg/dedup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dedup {
    /// One replica as long as it has samples; another one after a gap that is longer than the last two samples were
    /// apart, twice. It keeps the rate of samples that a single replica has.
    #[default]
    Penalty,
    /// The same, and the values of a counter are shifted where the replica changes, so that they do not go back.
    PenaltyOfCounter,
    /// One replica of a counter until it is silent, then whichever is next; values are shifted so that the answer is a
    /// running total. It is ours, for `rate` and its like, and differs from [`PenaltyOfCounter`](Self::PenaltyOfCounter)
    /// only around samples that are missing. The floats of the replicas are those of one counter, not totals.
    Counter,
    /// Every time that any replica has, once.
    Chain,
}

impl Dedup {
    /// Returns the samples of the answer in the order of their times, each time once.
    ///
    /// The order of `replicas` matters where times are equal, and for the penalty in which of them is begun with.
    pub fn pick<R: Replica>(self, replicas: &[&R]) -> Vec<Pick> {
        match (self, replicas) {
            (_, []) => Vec::new(),
            // A total even of one replica.
            (Self::Counter, _) => follow::pick(replicas),
            (_, [only]) => (0..only.times().len()).map(|at| Pick::new(0, at)).collect(),
            (Self::Penalty, _) => penalty::pick(replicas),
            (Self::PenaltyOfCounter, _) => counter::pick(replicas),
            (Self::Chain, _) => chain::pick(replicas),
        }
    }
}

impl Pick {
    fn new(replica: usize, sample: usize) -> Self {
        Self {
            replica,
            sample,
            shift: 0.0,
        }
    }
}
