//! Functions of neighbouring samples: `changes`, `resets`, `irate`, `idelta`.
//!
//! Source: Prometheus `promql/functions.go`, `funcChanges`, `funcResets` and `instantValue`.

use std::sync::Arc;

use thanos_core::histogram::{CounterResetHint, FloatHistogram};

use super::columns::{Columns, Window, secs};
use super::remarks::{Remark, Remarks};
use super::{Kernel, combine};
use crate::error::Result;
use crate::exec::tile::Cell;
use crate::value::SampleValue;

/// Counts the samples of a window that differ in some way from the one before.
pub(super) struct PairCount<F> {
    is_counted: F,
    is_anchored: bool,
    /// How many samples count, up to each of them.
    counts: Vec<u32>,
}

impl<F: Fn(Columns<'_>, usize) -> bool> PairCount<F> {
    pub(super) fn new(is_counted: F, is_anchored: bool) -> Self {
        Self {
            is_counted,
            is_anchored,
            counts: Vec::new(),
        }
    }
}

impl<F: Fn(Columns<'_>, usize) -> bool> Kernel for PairCount<F> {
    type Out = f64;

    fn prepare(&mut self, series: Columns<'_>) {
        let mut count = 0;
        self.counts.extend((0..series.times.len()).map(|at| {
            count += u32::from(at > 0 && (self.is_counted)(series, at));
            count
        }));
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<f64> {
        let mut from = window.from;
        if self.is_anchored {
            let times = window.samples().times;
            let inside = times.partition_point(|time| *time <= window.start_ms);
            if inside == times.len() {
                return None;
            }
            // The last sample before the window is the one that the others are measured by.
            from += inside.saturating_sub(1);
        }
        Some(f64::from(self.counts[window.to - 1] - self.counts[from]))
    }
}

/// Reports whether sample `at` has another value than the one before.
pub(super) fn is_change(series: Columns<'_>, at: usize) -> bool {
    match (series.cell(at - 1), series.cell(at)) {
        (Cell::Float(before), Cell::Float(now)) => {
            before != now && !(before.is_nan() && now.is_nan())
        }
        (Cell::Histogram(before), Cell::Histogram(now)) => {
            !Arc::ptr_eq(before, now) && !now.same_data(before)
        }
        (Cell::Float(_), Cell::Histogram(_)) | (Cell::Histogram(_), Cell::Float(_)) => true,
    }
}

/// Reports whether the counter was reset between sample `at` and the one before.
pub(super) fn is_reset(series: Columns<'_>, at: usize) -> bool {
    match (series.cell(at - 1), series.cell(at)) {
        (Cell::Float(before), Cell::Float(now)) => now < before || series.has_start_reset(at),
        (Cell::Histogram(before), Cell::Histogram(now)) => {
            series.has_start_reset(at) || now.detect_reset(before)
        }
        (Cell::Float(_), Cell::Histogram(_)) | (Cell::Histogram(_), Cell::Float(_)) => true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstantKind {
    Irate,
    Idelta,
}

/// `irate` and `idelta`: the difference between the last two samples.
#[derive(Debug)]
pub(super) struct LastTwo {
    kind: InstantKind,
    remarks: Remarks,
}

impl LastTwo {
    pub(super) fn new(kind: InstantKind) -> Self {
        Self {
            kind,
            remarks: Remarks::default(),
        }
    }

    fn histograms(
        &mut self,
        series: Columns<'_>,
        at: usize,
        [before, now]: [&Arc<FloatHistogram>; 2],
    ) -> Option<FloatHistogram> {
        let gauges = [before, now].map(|one| one.counter_reset_hint == CounterResetHint::Gauge);
        let mut result = FloatHistogram::clone(now);
        let is_reset = match self.kind {
            InstantKind::Irate => {
                self.remarks
                    .add_if(gauges.contains(&true), Remark::NotCounter);
                series.has_start_reset(at) || now.detect_reset(before)
            }
            InstantKind::Idelta => {
                self.remarks
                    .add_if(gauges.contains(&false), Remark::NotGauge);
                false
            }
        };
        if !is_reset {
            combine::subtract(&mut result, before, &mut self.remarks)?;
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact(0);
        Some(result)
    }
}

impl Kernel for LastTwo {
    type Out = SampleValue;

    fn eval(&mut self, window: &Window<'_>) -> Option<SampleValue> {
        if window.len() < 2 {
            return None;
        }
        let (series, at) = (window.series, window.to - 1);
        let interval = secs(series.times[at] - series.times[at - 1]);
        match (series.cell(at - 1), series.cell(at)) {
            (Cell::Float(before), Cell::Float(now)) => {
                let is_rate = self.kind == InstantKind::Irate;
                let is_reset = is_rate && (now < before || series.has_start_reset(at));
                let difference = if is_reset { now } else { now - before };
                Some(SampleValue::Float(if is_rate {
                    difference / interval
                } else {
                    difference
                }))
            }
            (Cell::Histogram(before), Cell::Histogram(now)) => {
                let mut result = self.histograms(series, at, [before, now])?;
                if self.kind == InstantKind::Irate {
                    result.divide(interval);
                }
                Some(SampleValue::Histogram(Arc::new(result)))
            }
            (Cell::Float(_), Cell::Histogram(_)) | (Cell::Histogram(_), Cell::Float(_)) => {
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
