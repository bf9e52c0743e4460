//! Sums and differences of histograms, with remarks about what had to be done to their buckets.
//!
//! Hints of counter resets may contradict each other here: kernels look for resets explicitly.

use thanos_core::histogram::FloatHistogram;

use super::remarks::{Remark, Remarks};

/// Adds `other` to `total`; nothing when their buckets do not go together.
pub(super) fn add(
    total: &mut FloatHistogram,
    other: &FloatHistogram,
    remarks: &mut Remarks,
) -> Option<()> {
    let Ok(done) = total.add(other) else {
        remarks.add(Remark::MixedBuckets);
        return None;
    };
    remarks.add_if(done.bounds_reconciled, Remark::BoundsReconciledInAddition);
    Some(())
}

/// Subtracts `other` from `total`; nothing when their buckets do not go together.
pub(super) fn subtract(
    total: &mut FloatHistogram,
    other: &FloatHistogram,
    remarks: &mut Remarks,
) -> Option<()> {
    let Ok(done) = total.subtract(other) else {
        remarks.add(Remark::MixedBuckets);
        return None;
    };
    remarks.add_if(
        done.bounds_reconciled,
        Remark::BoundsReconciledInSubtraction,
    );
    Some(())
}
