//! `rate`, `increase` and `delta` where there are native histograms.
//!
//! Source: Prometheus `promql/functions.go`, `extrapolatedRate` and `histogramRate`.

use std::borrow::Cow;
use std::sync::Arc;

use thanos_core::histogram::{
    BucketLayout, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram,
};

use super::columns::{Columns, HistogramCounts, Kinds, Window};
use super::pairs::is_reset;
use super::rate::{Rate, RateKind, factor};
use super::remarks::{Remark, Remarks};
use super::{Kernel, combine};
use crate::error::Result;
use crate::value::SampleValue;

/// The kernel for series that are not all floats.
///
/// What the windows need to know of the samples between their ends is found once for the series, so that a
/// window costs a few histograms however many samples it has.
#[derive(Debug)]
pub(super) struct MixedRate {
    kind: RateKind,
    counts: HistogramCounts,
    floats: Rate,
    resets: Vec<usize>,
    overlaps: Vec<usize>,
    gauges: Vec<usize>,
    schemas: Vec<SchemaRun>,
    windows_with_overlap: u64,
    remarks: Remarks,
}

/// Samples in a row with the same schema, up to the next run.
#[derive(Debug, Clone, Copy)]
struct SchemaRun {
    from: usize,
    schema: i32,
}

impl MixedRate {
    pub(super) fn new(kind: RateKind) -> Self {
        Self {
            kind,
            counts: HistogramCounts::default(),
            floats: Rate::new(kind),
            resets: Vec::new(),
            overlaps: Vec::new(),
            gauges: Vec::new(),
            schemas: Vec::new(),
            windows_with_overlap: 0,
            remarks: Remarks::default(),
        }
    }

    /// Returns the result for a window of histograms.
    fn histograms(&mut self, window: &Window<'_>) -> Option<FloatHistogram> {
        let since = if self.kind.is_counter() {
            window.counts_since()
        } else {
            None
        };
        let first = histogram(window, window.from);
        if window.len() < 2 {
            since?;
            let mut result = first.clone();
            result.multiply(factor(self.kind, window, since, first.count, 0.0));
            return Some(result);
        }
        let mut remarks = Remarks::default();
        let result = self.increase(window, &mut remarks);
        if window.has_later(&self.overlaps) && result.is_some() {
            self.windows_with_overlap += 1;
        }
        let result = result.and_then(|mut result| {
            let factor = factor(self.kind, window, since, first.count, result.count);
            if since.is_some() {
                combine::add(&mut result, first, &mut remarks)?;
            }
            result.multiply(factor);
            Some(result)
        });
        self.remarks.merge(&remarks);
        result
    }

    /// Returns the difference between the ends of a window of two histograms at least, resets undone when this
    /// is a counter; nothing when the buckets do not go together.
    fn increase(&self, window: &Window<'_>, remarks: &mut Remarks) -> Option<FloatHistogram> {
        let at = window.from;
        let (first, last) = (histogram(window, at), histogram(window, window.to - 1));
        let is_counter = self.kind.is_counter();
        if is_counter {
            remarks.add_if(is_gauge(first) || is_gauge(last), Remark::NotCounter);
        }
        // Before a reset it does not matter what the first sample was.
        let second = histogram(window, at + 1);
        let is_first_gone = is_counter && self.resets.binary_search(&(at + 1)).is_ok();
        let base = if is_first_gone {
            Cow::Owned(nothing_like(second))
        } else {
            Cow::Borrowed(first)
        };
        let layout = base.layout();
        if last.layout().has_custom_buckets() != layout.has_custom_buckets() {
            remarks.add(Remark::MixedBuckets);
            return None;
        }
        let mut schema = layout.schema.min(last.layout().schema);
        if is_counter {
            let Some(lowest) = self.lowest_schema_between(window, schema) else {
                // COMPAT: of such a window nothing else is told, here and below.
                *remarks = Remarks::only(Remark::MixedBuckets);
                return None;
            };
            schema = lowest;
            let gauges = window.later(&self.gauges);
            let is_between = |at: &usize| *at < window.to - 1;
            remarks.add_if(gauges.iter().any(is_between), Remark::NotCounter);
        }
        let gone = is_first_gone.then_some(&*base);
        let Some(mut result) = self.difference(window, schema, &base, gone, remarks) else {
            *remarks = Remarks::only(Remark::MixedBuckets);
            return None;
        };
        if !is_counter {
            remarks.add_if(!is_gauge(first) || !is_gauge(last), Remark::NotGauge);
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact(0);
        Some(result)
    }

    /// Returns the lowest schema of the samples between the ends, or `schema` if that is lower; nothing when
    /// there are exponential buckets and custom ones.
    fn lowest_schema_between(&self, window: &Window<'_>, schema: i32) -> Option<i32> {
        let (from, to) = (window.from + 1, window.to - 1);
        let run = self.schemas.partition_point(|run| run.from <= from);
        let mut lowest = schema;
        for run in &self.schemas[run.saturating_sub(1)..] {
            if from >= to || run.from >= to {
                break;
            }
            let is_custom = run.schema == CUSTOM_BUCKETS_SCHEMA;
            if is_custom != (schema == CUSTOM_BUCKETS_SCHEMA) {
                return None;
            }
            lowest = lowest.min(run.schema);
        }
        Some(lowest)
    }

    /// Returns the last histogram less `base`, with what the counter had counted at each reset. `gone` is what
    /// stands for the first sample when the second one follows a reset.
    fn difference(
        &self,
        window: &Window<'_>,
        schema: i32,
        base: &FloatHistogram,
        gone: Option<&FloatHistogram>,
        remarks: &mut Remarks,
    ) -> Option<FloatHistogram> {
        let mut result = histogram(window, window.to - 1).clone();
        if schema < result.layout().schema {
            result.reduce_resolution(schema).ok()?;
        }
        combine::subtract(&mut result, base, remarks)?;
        for &at in window.later(&self.resets) {
            let before = match gone {
                Some(gone) if at == window.from + 1 => {
                    let second = histogram(window, at);
                    if !window.series.has_start_reset(at) && !second.detect_reset(gone) {
                        continue;
                    }
                    gone
                }
                _ => histogram(window, at - 1),
            };
            combine::add(&mut result, before, remarks)?;
        }
        Some(result)
    }
}

/// Returns histogram `at` of a window that has only histograms.
fn histogram<'a>(window: &Window<'a>, at: usize) -> &'a FloatHistogram {
    window
        .series
        .histogram(at)
        .expect("the window has only histograms")
}

pub(super) fn is_gauge(histogram: &FloatHistogram) -> bool {
    histogram.counter_reset_hint == CounterResetHint::Gauge
}

/// Returns an empty histogram with the kind of buckets that `other` has.
fn nothing_like(other: &FloatHistogram) -> FloatHistogram {
    let layout = BucketLayout {
        schema: other.layout().schema,
        custom_values: other.layout().custom_values.clone(),
        ..BucketLayout::default()
    };
    FloatHistogram::new(Arc::new(layout), &[], &[]).expect("there are neither spans nor buckets")
}

impl Kernel for MixedRate {
    type Out = SampleValue;

    fn prepare(&mut self, series: Columns<'_>) {
        self.counts = HistogramCounts::of(series);
        self.floats.prepare(series);
        if !self.kind.is_counter() {
            return;
        }
        self.overlaps = series.start_overlaps();
        for at in 0..series.times.len() {
            let Some(histogram) = series.histogram(at) else {
                continue;
            };
            if is_gauge(histogram) {
                self.gauges.push(at);
            }
            let schema = histogram.layout().schema;
            if self.schemas.last().is_none_or(|run| run.schema != schema) {
                self.schemas.push(SchemaRun { from: at, schema });
            }
            if at > 0 && is_reset(series, at) {
                self.resets.push(at);
            }
        }
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
        remarks.add_overlaps(self.windows_with_overlap);
        self.floats.finish(remarks)
    }
}
