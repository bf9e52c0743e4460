//! The samples of a series and the windows over them.

use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;

use crate::exec::tile::Cell;

/// The samples of a series, or of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// Ascending, in milliseconds.
    pub(crate) times: &'a [i64],
    /// One for each time; no stale markers. Meaningless where there is a histogram.
    pub(crate) values: &'a [f64],
    /// Empty when all samples are floats; else one for each time, there where the sample is a histogram.
    pub(crate) histograms: &'a [Option<Arc<FloatHistogram>>],
    /// The start timestamps in milliseconds, 0 where it is not known; empty when none is known.
    pub(crate) starts: &'a [i64],
    /// The width of the downsampled windows that samples stand for, in milliseconds; 0 when all are raw.
    pub(crate) window_ms: i64,
}

impl<'a> Columns<'a> {
    /// Returns columns of floats.
    pub(crate) fn floats(times: &'a [i64], values: &'a [f64]) -> Self {
        Self {
            times,
            values,
            histograms: &[],
            starts: &[],
            window_ms: 0,
        }
    }

    /// Reports whether there is no histogram.
    pub(crate) fn is_float_only(self) -> bool {
        self.histograms.is_empty()
    }

    /// Returns the histogram of sample `index`, or nothing for a float.
    pub(crate) fn histogram(self, index: usize) -> Option<&'a Arc<FloatHistogram>> {
        self.histograms.get(index).and_then(Option::as_ref)
    }

    /// Returns the value of sample `index`.
    pub(crate) fn cell(self, index: usize) -> Cell<'a> {
        match self.histogram(index) {
            None => Cell::Float(self.values[index]),
            Some(histogram) => Cell::Histogram(histogram),
        }
    }

    /// Returns the samples `from..to`.
    pub(crate) fn slice(self, from: usize, to: usize) -> Self {
        Self {
            times: &self.times[from..to],
            values: &self.values[from..to],
            histograms: self.histograms.get(from..to).unwrap_or_default(),
            starts: self.starts.get(from..to).unwrap_or_default(),
            window_ms: self.window_ms,
        }
    }

    /// Returns the samples after `open_ms` and up to `close_ms`.
    pub(crate) fn between(self, open_ms: i64, close_ms: i64) -> Self {
        let from = self.times.partition_point(|time| *time <= open_ms);
        let to = self.times.partition_point(|time| *time <= close_ms);
        let found = self.slice(from, to.max(from));
        let is_float_only = found.histograms.iter().all(Option::is_none);
        Self {
            histograms: if is_float_only { &[] } else { found.histograms },
            ..found
        }
    }

    /// Returns time and value of all samples, which are floats.
    pub(super) fn iter(self) -> impl Iterator<Item = (i64, f64)> + 'a {
        self.times.iter().copied().zip(self.values.iter().copied())
    }
}

/// One window of a series: the samples with `start_ms < time <= end_ms` and those around that the function asked
/// for, at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// All samples of the series.
    pub(crate) series: Columns<'a>,
    /// Where the window begins in `series`.
    pub(crate) from: usize,
    /// Where it ends.
    pub(crate) to: usize,
    /// Exclusive.
    pub(crate) start_ms: i64,
    /// Inclusive.
    pub(crate) end_ms: i64,
    /// The time of the step that the result is for.
    pub(crate) step_ms: i64,
    /// The scalar parameters of the function at this step.
    pub(crate) params: [f64; 2],
}

impl<'a> Window<'a> {
    /// Returns the samples.
    pub(super) fn samples(&self) -> Columns<'a> {
        self.series.slice(self.from, self.to)
    }

    /// Returns the number of samples.
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    /// Returns the width in seconds.
    pub(super) fn range_secs(&self) -> f64 {
        secs(self.end_ms - self.start_ms)
    }
}

/// How many of the samples of a series are histograms, up to each of them.
#[derive(Debug, Default)]
pub(super) struct HistogramCounts(Vec<u32>);

/// What the samples of a window are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinds {
    Floats,
    Histograms,
    Both,
}

impl HistogramCounts {
    pub(super) fn of(series: Columns<'_>) -> Self {
        let mut count = 0;
        let counts = series.histograms.iter().map(|histogram| {
            count += u32::from(histogram.is_some());
            count
        });
        Self(std::iter::once(0).chain(counts).collect())
    }

    /// Returns what there is in a window.
    pub(super) fn kinds(&self, window: &Window<'_>) -> Kinds {
        let up_to = |end: usize| self.0.get(end).copied().unwrap_or(0) as usize;
        match up_to(window.to) - up_to(window.from) {
            0 => Kinds::Floats,
            histograms if histograms == window.len() => Kinds::Histograms,
            _ => Kinds::Both,
        }
    }
}

/// Returns a time or duration in seconds.
pub(super) fn secs(ms: i64) -> f64 {
    crate::functions::math::millis_to_secs(ms)
}

/// Returns a number of samples as a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of samples in memory is far below 2^53"
)]
pub(super) fn count_of(len: usize) -> f64 {
    len as f64
}
