//! Functions over windows that may hold native histograms, apart from those of counters.

use std::sync::Arc;

use thanos_core::histogram::{FloatHistogram, HistogramMean, HistogramSum};

use super::columns::{Columns, HistogramCounts, Kinds, Window};
use super::remarks::{Remark, Remarks};
use super::total::TotalKind;
use super::{Kernel, fold};
use crate::error::Result;
use crate::value::SampleValue;

/// `first_over_time`.
pub(super) fn first(window: &Window<'_>) -> Option<SampleValue> {
    Some(window.series.cell(window.from).to_value())
}

/// `last_over_time`.
pub(super) fn last(window: &Window<'_>) -> Option<SampleValue> {
    Some(window.series.cell(window.to - 1).to_value())
}

/// `sum_over_time` and `avg_over_time`.
#[derive(Debug)]
pub(super) struct Total {
    kind: TotalKind,
    counts: HistogramCounts,
    remarks: Remarks,
}

/// The total of a window, and whether the counter-reset hints in it contradict each other.
type Totalled = thanos_core::Result<(Arc<FloatHistogram>, bool)>;

impl Total {
    pub(super) fn new(kind: TotalKind) -> Self {
        Self {
            kind,
            counts: HistogramCounts::default(),
            remarks: Remarks::default(),
        }
    }

    fn histograms(&mut self, window: &Window<'_>) -> Option<SampleValue> {
        let mut all = window.samples().histograms.iter().flatten();
        let first = Arc::clone(all.next()?);
        let mut remarks = Remarks::default();
        let total = match self.kind {
            TotalKind::Sum => sum(first, all, &mut remarks),
            TotalKind::Mean => mean(first, all, &mut remarks),
        };
        match total {
            Ok((total, hints_collide)) => {
                remarks.add_if(hints_collide, Remark::HintCollision);
                self.remarks.merge(&remarks);
                Some(SampleValue::Histogram(total))
            }
            Err(_) => {
                // COMPAT: of such a window nothing else is told.
                self.remarks.add(Remark::MixedBuckets);
                None
            }
        }
    }
}

fn sum<'a>(
    first: Arc<FloatHistogram>,
    rest: impl Iterator<Item = &'a Arc<FloatHistogram>>,
    remarks: &mut Remarks,
) -> Totalled {
    let mut sum = HistogramSum::new(first);
    for histogram in rest {
        let done = sum.add(histogram)?;
        remarks.add_if(
            done.bounds_reconciled,
            Remark::BoundsReconciledInAggregation,
        );
    }
    Ok((sum.total(), sum.hints_collide()))
}

fn mean<'a>(
    first: Arc<FloatHistogram>,
    rest: impl Iterator<Item = &'a Arc<FloatHistogram>>,
    remarks: &mut Remarks,
) -> Totalled {
    let mut mean = HistogramMean::new(first);
    for histogram in rest {
        let done = mean.add(histogram)?;
        remarks.add_if(
            done.bounds_reconciled,
            Remark::BoundsReconciledInAggregation,
        );
    }
    Ok((mean.mean(), mean.hints_collide()))
}

impl Kernel for Total {
    type Out = SampleValue;

    fn prepare(&mut self, series: Columns<'_>) {
        self.counts = HistogramCounts::of(series);
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<SampleValue> {
        match (self.counts.kinds(window), self.kind) {
            (Kinds::Floats, TotalKind::Sum) => fold::sum(window).map(SampleValue::Float),
            (Kinds::Floats, TotalKind::Mean) => fold::avg(window).map(SampleValue::Float),
            (Kinds::Histograms, _) => self.histograms(window),
            (Kinds::Both, _) => {
                self.remarks.add(Remark::MixedKinds);
                None
            }
        }
    }

    fn finish(self, remarks: &mut Remarks) -> Result<()> {
        remarks.merge(&self.remarks);
        Ok(())
    }
}

/// The floats of a series that has histograms too.
#[derive(Debug, Default)]
pub(super) struct FloatsOnly {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl FloatsOnly {
    pub(super) fn of(series: Columns<'_>) -> Self {
        let mut floats = Self::default();
        for (at, time) in series.times.iter().enumerate() {
            if series.histogram(at).is_none() {
                floats.times.push(*time);
                floats.values.push(series.values[at]);
            }
        }
        floats
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        Columns::floats(&self.times, &self.values)
    }
}
