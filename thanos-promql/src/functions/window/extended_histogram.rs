//! `anchored` and `smoothed` windows that may hold native histograms.
//!
//! Source: Prometheus `promql/functions.go`, `extendedHistogramRate`; `promql/engine.go`, `smoothSeries`.

use std::sync::Arc;

use thanos_core::histogram::{CounterResetHint, FloatHistogram};

use super::columns::{Columns, HistogramCounts, Kinds, Window};
use super::extended::{Ends, ExtendedRate, interpolate, millis};
use super::histogram_rate::is_gauge;
use super::rate::RateKind;
use super::remarks::{Remark, Remarks};
use super::{Kernel, combine};
use crate::error::Result;
use crate::parser::ast::RangeExtension;
use crate::value::SampleValue;

/// Returns the histogram at `time_ms` on the line between the samples `left` and the next one; nothing when
/// their buckets do not go together.
///
/// A counter that was reset in between is taken to have begun at zero at the first sample.
fn interpolate_histograms(
    samples: Columns<'_>,
    left: usize,
    time_ms: i64,
    is_counter: bool,
    remarks: &mut Remarks,
) -> Option<Arc<FloatHistogram>> {
    let [before, after] = [histogram(samples, left), histogram(samples, left + 1)];
    let [t0, t1] = [samples.times[left], samples.times[left + 1]];
    if time_ms == t0 {
        return Some(Arc::clone(before));
    }
    if time_ms == t1 {
        return Some(Arc::clone(after));
    }
    let fraction = millis(time_ms - t0) / millis(t1 - t0);
    let mut result = FloatHistogram::clone(after);
    if is_counter && after.detect_reset(before) {
        result.multiply(fraction);
        return Some(Arc::new(result));
    }
    combine::subtract(&mut result, before, remarks)?;
    result.multiply(fraction);
    combine::add(&mut result, before, remarks)?;
    Some(Arc::new(result))
}

/// Returns histogram `at` of samples that are all histograms.
fn histogram<'a>(samples: Columns<'a>, at: usize) -> &'a Arc<FloatHistogram> {
    samples
        .histogram(at)
        .expect("all samples here are histograms")
}

/// `rate`, `increase` and `delta` over extended windows.
#[derive(Debug)]
pub(super) struct MixedExtendedRate {
    kind: RateKind,
    extension: RangeExtension,
    counts: HistogramCounts,
    floats: ExtendedRate,
    remarks: Remarks,
}

impl MixedExtendedRate {
    pub(super) fn new(kind: RateKind, extension: RangeExtension) -> Self {
        Self {
            kind,
            extension,
            counts: HistogramCounts::default(),
            floats: ExtendedRate::new(kind, extension),
            remarks: Remarks::default(),
        }
    }

    fn histograms(&mut self, window: &Window<'_>) -> Option<FloatHistogram> {
        let samples = window.samples();
        let ends = Ends::find(
            samples.times,
            (window.start_ms, window.end_ms),
            self.extension,
        )?;
        let is_smoothed = self.extension == RangeExtension::Smoothed;
        if is_smoothed && samples.times[ends.first] > window.end_ms {
            return None;
        }
        let mut remarks = Remarks::default();
        let result = self.difference(window, ends, &mut remarks);
        self.remarks.merge(&remarks);
        result
    }

    fn difference(
        &self,
        window: &Window<'_>,
        ends: Ends,
        remarks: &mut Remarks,
    ) -> Option<FloatHistogram> {
        let samples = window.samples();
        self.check(samples, ends, remarks)?;
        let left = self.left(window, ends, remarks)?;
        let right = self.right(window, ends, remarks)?;
        let is_counter = self.kind.is_counter();
        if !is_counter {
            remarks.add_if(!is_gauge(&left) || !is_gauge(&right), Remark::NotGauge);
        }
        let mut result = FloatHistogram::clone(&right);
        combine::subtract(&mut result, &left, remarks)?;
        if is_counter {
            let correction = self.correction(window, ends, [&left, &right], remarks)?;
            if let Some(correction) = correction {
                combine::add(&mut result, &correction, remarks)?;
            }
        }
        if self.kind == RateKind::Rate {
            result.divide(window.range_secs());
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact(0);
        Some(result)
    }

    /// Checks that all samples have the same kind of buckets.
    fn check(&self, samples: Columns<'_>, ends: Ends, remarks: &mut Remarks) -> Option<()> {
        let has_custom = |at| histogram(samples, at).layout().has_custom_buckets();
        let first = has_custom(ends.first);
        for at in ends.first..=ends.last {
            if has_custom(at) != first {
                remarks.add(Remark::MixedBuckets);
                return None;
            }
            let is_wrong = self.kind.is_counter() && is_gauge(histogram(samples, at));
            remarks.add_if(is_wrong, Remark::NotCounter);
        }
        Some(())
    }

    fn left(
        &self,
        window: &Window<'_>,
        ends: Ends,
        remarks: &mut Remarks,
    ) -> Option<Arc<FloatHistogram>> {
        let samples = window.samples();
        if !self.is_left_interpolated(window, ends) {
            return Some(Arc::clone(histogram(samples, ends.first)));
        }
        let is_counter = self.kind.is_counter();
        interpolate_histograms(samples, ends.first, window.start_ms, is_counter, remarks)
    }

    fn is_left_interpolated(&self, window: &Window<'_>, ends: Ends) -> bool {
        self.extension == RangeExtension::Smoothed
            && window.samples().times[ends.first] < window.start_ms
    }

    fn right(
        &self,
        window: &Window<'_>,
        ends: Ends,
        remarks: &mut Remarks,
    ) -> Option<Arc<FloatHistogram>> {
        let samples = window.samples();
        let is_smoothed = self.extension == RangeExtension::Smoothed;
        if !is_smoothed || ends.last == 0 || samples.times[ends.last] <= window.end_ms {
            return Some(Arc::clone(histogram(samples, ends.last)));
        }
        let is_counter = self.kind.is_counter();
        interpolate_histograms(samples, ends.last - 1, window.end_ms, is_counter, remarks)
    }

    /// Returns what the counter had counted at the resets that the histograms at the borders do not account
    /// for, if there are any; `None` when the buckets do not go together.
    ///
    /// The last sample never takes part: `right` is that sample, or has its hint.
    fn correction(
        &self,
        window: &Window<'_>,
        ends: Ends,
        [left, right]: [&Arc<FloatHistogram>; 2],
        remarks: &mut Remarks,
    ) -> Option<Option<FloatHistogram>> {
        let samples = window.samples();
        let mut before: &FloatHistogram = left;
        let mut from = ends.first + 1;
        if self.is_left_interpolated(window, ends) {
            let next = histogram(samples, from);
            if next.detect_reset(histogram(samples, ends.first)) {
                // The value at the border begins after this reset already.
                before = next;
                from += 1;
            }
        }
        if from > ends.last {
            return Some(None);
        }
        let between = (from..ends.last).map(|at| &**histogram(samples, at));
        let mut correction: Option<FloatHistogram> = None;
        for now in between.chain(std::iter::once(&**right)) {
            if now.detect_reset(before) {
                match &mut correction {
                    None => correction = Some(before.clone()),
                    Some(sum) => combine::add(sum, before, remarks)?,
                }
            }
            before = now;
        }
        Some(correction)
    }
}

impl Kernel for MixedExtendedRate {
    type Out = SampleValue;

    fn prepare(&mut self, series: Columns<'_>) {
        self.counts = HistogramCounts::of(series);
        self.floats.prepare(series);
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<SampleValue> {
        match self.counts.kinds(window) {
            Kinds::Floats => self.floats.eval(window).map(SampleValue::Float),
            Kinds::Histograms => {
                let result = self.histograms(window)?;
                Some(SampleValue::Histogram(Arc::new(result)))
            }
            Kinds::Both => {
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

/// A `smoothed` instant selector: the value at the end of the window, between the samples around it.
#[derive(Debug, Default)]
pub(super) struct Smoothed {
    counts: HistogramCounts,
    remarks: Remarks,
}

/// Where a time is among samples.
enum Place {
    At(usize),
    /// Between the sample and the next one.
    After(usize),
    /// After the last sample.
    AfterLast(usize),
}

/// Returns the place of `time_ms`, or nothing when it is before the first sample.
fn place_of(times: &[i64], time_ms: i64) -> Option<Place> {
    let at = times.partition_point(|time| *time < time_ms);
    match times.get(at) {
        Some(time) if *time == time_ms => Some(Place::At(at)),
        Some(_) => at.checked_sub(1).map(Place::After),
        None => at.checked_sub(1).map(Place::AfterLast),
    }
}

impl Smoothed {
    fn histogram(&mut self, window: &Window<'_>, place: &Place) -> Option<Arc<FloatHistogram>> {
        let samples = window.samples();
        match *place {
            Place::At(at) => Some(Arc::clone(histogram(samples, at))),
            Place::AfterLast(at) => {
                // The hint is about the sample before, not about the value.
                let mut copy = Arc::clone(histogram(samples, at));
                if copy.counter_reset_hint != CounterResetHint::Unknown {
                    Arc::make_mut(&mut copy).counter_reset_hint = CounterResetHint::Unknown;
                }
                Some(copy)
            }
            Place::After(at) => {
                let [before, after] = [at, at + 1].map(|at| histogram(samples, at));
                let [a, b] = [before, after].map(|one| one.layout().has_custom_buckets());
                if a != b {
                    self.remarks.add(Remark::MixedBuckets);
                    return None;
                }
                let is_counter = !is_gauge(before) || !is_gauge(after);
                let remarks = &mut self.remarks;
                interpolate_histograms(samples, at, window.end_ms, is_counter, remarks)
            }
        }
    }
}

impl Kernel for Smoothed {
    type Out = SampleValue;

    fn prepare(&mut self, series: Columns<'_>) {
        self.counts = HistogramCounts::of(series);
    }

    fn eval(&mut self, window: &Window<'_>) -> Option<SampleValue> {
        let samples = window.samples();
        let kinds = self.counts.kinds(window);
        if kinds == Kinds::Both {
            self.remarks.add(Remark::MixedKinds);
            return None;
        }
        let place = place_of(samples.times, window.end_ms)?;
        if kinds == Kinds::Histograms {
            let result = self.histogram(window, &place)?;
            return Some(SampleValue::Histogram(result));
        }
        Some(SampleValue::Float(match place {
            Place::At(at) | Place::AfterLast(at) => samples.values[at],
            Place::After(at) => interpolate(samples, at, window.end_ms, false),
        }))
    }

    fn finish(self, remarks: &mut Remarks) -> Result<()> {
        remarks.merge(&self.remarks);
        Ok(())
    }
}
