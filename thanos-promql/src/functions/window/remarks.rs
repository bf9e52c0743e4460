//! What kernels have to say about a series besides results.
//!
//! Kernels set bits; whoever knows metric and place makes annotations of them, once for a series.

use std::collections::BTreeSet;

/// The most different quantiles that are remembered for a series.
const QUANTILES_MAX: usize = 1000;

/// Something that users should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Floats and histograms in one window.
    MixedKinds,
    /// Histograms were left out of a window with floats.
    HistogramsIgnored,
    /// A gauge histogram where a counter is wanted.
    NotCounter,
    /// A counter histogram where a gauge is wanted.
    NotGauge,
    /// Exponential and custom buckets that would have to be put together.
    MixedBuckets,
    /// Custom bounds made the same in a sum.
    BoundsReconciledInAddition,
    /// Custom bounds made the same in a difference.
    BoundsReconciledInSubtraction,
    /// Custom bounds made the same in a sum or mean over time.
    BoundsReconciledInAggregation,
    /// One histogram follows a reset and another does not.
    HintCollision,
}

impl Remark {
    const ALL: [Self; 9] = [
        Self::MixedKinds,
        Self::HistogramsIgnored,
        Self::NotCounter,
        Self::NotGauge,
        Self::MixedBuckets,
        Self::BoundsReconciledInAddition,
        Self::BoundsReconciledInSubtraction,
        Self::BoundsReconciledInAggregation,
        Self::HintCollision,
    ];
}

/// The remarks about a series.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    bits: u16,
    overlaps: u64,
    /// As bits, which have an order.
    quantiles: BTreeSet<u64>,
}

impl Remarks {
    /// Returns the set with `remark` alone.
    pub(super) fn only(remark: Remark) -> Self {
        let mut remarks = Self::default();
        remarks.add(remark);
        remarks
    }

    pub(super) fn add(&mut self, remark: Remark) {
        self.bits |= 1 << remark as u16;
    }

    pub(super) fn add_if(&mut self, condition: bool, remark: Remark) {
        if condition {
            self.add(remark);
        }
    }

    /// Counts windows in which a start timestamp overlaps the sample before it.
    pub(super) fn add_overlaps(&mut self, windows: u64) {
        self.overlaps += windows;
    }

    /// Adds a quantile that is none.
    pub(super) fn add_quantile(&mut self, quantile: f64) {
        if self.quantiles.len() < QUANTILES_MAX {
            self.quantiles.insert(quantile.to_bits());
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.bits |= other.bits;
        self.overlaps += other.overlaps;
        self.quantiles.extend(&other.quantiles);
    }

    /// Reports whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.bits == 0 && self.overlaps == 0 && self.quantiles.is_empty()
    }

    /// Returns the remarks without details.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Remark> {
        let bits = self.bits;
        let is_set = move |remark: &Remark| bits & 1 << *remark as u16 != 0;
        Remark::ALL.into_iter().filter(is_set)
    }

    /// Returns the number of windows with an overlap.
    pub(crate) fn overlaps(&self) -> u64 {
        self.overlaps
    }

    /// Returns the quantiles outside 0 to 1.
    pub(crate) fn quantiles(&self) -> impl Iterator<Item = f64> {
        self.quantiles.iter().map(|bits| f64::from_bits(*bits))
    }
}
