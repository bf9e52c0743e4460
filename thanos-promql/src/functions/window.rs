//! Functions over the samples of a window.
//!
//! A kernel sees one window at a time as two slices; windows of one series come in time order. What a kernel
//! can know about the whole series beforehand (such as: it has no counter reset) it learns in
//! [`Kernel::prepare`], so that the common case costs the same however wide the window is.

use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;

use super::quantile::quantile;
use super::sum::{CompensatedSum, Mean};
use crate::error::{Error, Result};
use crate::exec::tile::Cell;

/// The samples that windows may fold between two looks at the deadline: some milliseconds of work.
const CHECK_SAMPLES: usize = 1 << 20;

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
}

impl<'a> Columns<'a> {
    /// Returns columns of floats.
    #[cfg(test)]
    pub(crate) fn floats(times: &'a [i64], values: &'a [f64]) -> Self {
        Self {
            times,
            values,
            histograms: &[],
            starts: &[],
        }
    }

    /// Reports whether there is no histogram.
    pub(crate) fn is_float_only(self) -> bool {
        self.histograms.is_empty()
    }

    /// Returns the value of sample `index`.
    pub(crate) fn cell(self, index: usize) -> Cell<'a> {
        match self.histograms.get(index).and_then(Option::as_ref) {
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
        }
    }

    fn iter(self) -> impl Iterator<Item = (i64, f64)> + 'a {
        self.times.iter().copied().zip(self.values.iter().copied())
    }
}

/// One window of a series: the samples with `start_ms < time <= end_ms`, at least one.
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
    fn samples(&self) -> Columns<'a> {
        self.series.slice(self.from, self.to)
    }
}

/// A function over windows.
pub(crate) trait Kernel {
    /// Looks at a whole series before its windows come.
    fn prepare(&mut self, _series: Columns<'_>) {}

    /// Returns the result for one window, or nothing.
    fn eval(&self, window: &Window<'_>) -> Option<f64>;
}

/// The functions over ranges of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowFn {
    AvgOverTime,
    Changes,
    CountOverTime,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    FirstOverTime,
    Idelta,
    Increase,
    Irate,
    LastOverTime,
    MadOverTime,
    MaxOverTime,
    MinOverTime,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rate,
    Resets,
    StddevOverTime,
    StdvarOverTime,
    SumOverTime,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
}

impl WindowFn {
    /// Returns the function `name`; `absent_over_time` only asks whether there is a sample.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::AvgOverTime,
            "changes" => Self::Changes,
            "count_over_time" => Self::CountOverTime,
            "delta" => Self::Delta,
            "deriv" => Self::Deriv,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "first_over_time" => Self::FirstOverTime,
            "idelta" => Self::Idelta,
            "increase" => Self::Increase,
            "irate" => Self::Irate,
            "last_over_time" => Self::LastOverTime,
            "mad_over_time" => Self::MadOverTime,
            "max_over_time" => Self::MaxOverTime,
            "min_over_time" => Self::MinOverTime,
            "predict_linear" => Self::PredictLinear,
            "absent_over_time" | "present_over_time" => Self::PresentOverTime,
            "quantile_over_time" => Self::QuantileOverTime,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "stddev_over_time" => Self::StddevOverTime,
            "stdvar_over_time" => Self::StdvarOverTime,
            "sum_over_time" => Self::SumOverTime,
            "ts_of_first_over_time" => Self::TsOfFirstOverTime,
            "ts_of_last_over_time" => Self::TsOfLastOverTime,
            "ts_of_max_over_time" => Self::TsOfMaxOverTime,
            "ts_of_min_over_time" => Self::TsOfMinOverTime,
            _ => return None,
        })
    }

    /// Reports whether the result is still the metric, so that it keeps its name.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, Self::LastOverTime | Self::FirstOverTime)
    }

    /// Reports whether only a counter makes sense here.
    pub(crate) fn wants_counter_name(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }

    /// Checks the scalar parameters of a step.
    ///
    /// # Errors
    ///
    /// In Prometheus' words when the function cannot take them.
    pub(crate) fn check_params(self, params: [f64; 2]) -> Result<()> {
        if self != Self::DoubleExponentialSmoothing {
            return Ok(());
        }
        for (name, short, value) in [("smoothing", "sf", params[0]), ("trend", "tf", params[1])] {
            // The comparison lets NaN pass, as Prometheus' does.
            if value <= 0.0 || value >= 1.0 {
                return Err(Error::execution(format!(
                    "invalid {name} factor. Expected: 0 < {short} < 1, got: {value:.6}"
                )));
            }
        }
        Ok(())
    }
}

/// The windows of one series over some steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep<'a> {
    /// The steps: (time of the step, inclusive end of its window), both ascending.
    pub(crate) steps: &'a [(i64, i64)],
    /// The width of the windows, in milliseconds.
    pub(crate) range_ms: i64,
    /// For each scalar parameter one value for each step, or one for all.
    pub(crate) params: [&'a [f64]; 2],
}

impl WindowFn {
    /// Calls `out(step, result)` for every step that has one and returns the samples seen in all windows.
    ///
    /// # Errors
    ///
    /// Those of `check`, which is called now and then to see whether the results are still wanted.
    pub(crate) fn sweep(
        self,
        series: Columns<'_>,
        sweep: Sweep<'_>,
        out: impl FnMut(usize, f64),
        check: impl Fn() -> Result<()>,
    ) -> Result<usize> {
        // One call for each kernel, so that the loop is compiled for each.
        match self {
            Self::AvgOverTime => run(Each(avg), series, sweep, out, check),
            Self::Changes => run(Each(changes), series, sweep, out, check),
            Self::CountOverTime => run(Each(count), series, sweep, out, check),
            Self::Delta => run(Rate::new(RateKind::Delta), series, sweep, out, check),
            Self::Deriv => run(Each(deriv), series, sweep, out, check),
            Self::DoubleExponentialSmoothing => run(Each(smooth), series, sweep, out, check),
            Self::FirstOverTime => run(Each(first), series, sweep, out, check),
            Self::Idelta => run(Each(idelta), series, sweep, out, check),
            Self::Increase => run(Rate::new(RateKind::Increase), series, sweep, out, check),
            Self::Irate => run(Each(irate), series, sweep, out, check),
            Self::LastOverTime => run(Each(last), series, sweep, out, check),
            Self::MadOverTime => run(Each(mad), series, sweep, out, check),
            Self::MaxOverTime => run(Each(max), series, sweep, out, check),
            Self::MinOverTime => run(Each(min), series, sweep, out, check),
            Self::PredictLinear => run(Each(predict_linear), series, sweep, out, check),
            Self::PresentOverTime => run(Each(present), series, sweep, out, check),
            Self::QuantileOverTime => run(Each(quantile_over_time), series, sweep, out, check),
            Self::Rate => run(Rate::new(RateKind::Rate), series, sweep, out, check),
            Self::Resets => run(Each(resets), series, sweep, out, check),
            Self::StddevOverTime => run(Each(stddev), series, sweep, out, check),
            Self::StdvarOverTime => run(Each(stdvar), series, sweep, out, check),
            Self::SumOverTime => run(Each(sum), series, sweep, out, check),
            Self::TsOfFirstOverTime => run(Each(ts_of_first), series, sweep, out, check),
            Self::TsOfLastOverTime => run(Each(ts_of_last), series, sweep, out, check),
            Self::TsOfMaxOverTime => run(Each(ts_of_max), series, sweep, out, check),
            Self::TsOfMinOverTime => run(Each(ts_of_min), series, sweep, out, check),
        }
    }
}

fn run<K: Kernel>(
    mut kernel: K,
    series: Columns<'_>,
    sweep: Sweep<'_>,
    mut out: impl FnMut(usize, f64),
    check: impl Fn() -> Result<()>,
) -> Result<usize> {
    kernel.prepare(series);
    let (mut from, mut to, mut seen, mut checked) = (0, 0, 0, 0);
    for (step, &(step_ms, end_ms)) in sweep.steps.iter().enumerate() {
        let start_ms = end_ms.saturating_sub(sweep.range_ms);
        while series.times.get(to).is_some_and(|time| *time <= end_ms) {
            to += 1;
        }
        while from < to && series.times[from] <= start_ms {
            from += 1;
        }
        if from == to {
            continue;
        }
        seen += to - from;
        if seen - checked >= CHECK_SAMPLES {
            check()?;
            checked = seen;
        }
        let window = Window {
            series,
            from,
            to,
            start_ms,
            end_ms,
            step_ms,
            params: sweep
                .params
                .map(|values| values.get(step).or(values.first()).copied().unwrap_or(0.0)),
        };
        if let Some(value) = kernel.eval(&window) {
            out(step, value);
        }
    }
    Ok(seen)
}

/// A kernel that folds every window anew.
struct Each<F>(F);

impl<F: Fn(&Window<'_>) -> Option<f64>> Kernel for Each<F> {
    fn eval(&self, window: &Window<'_>) -> Option<f64> {
        (self.0)(window)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RateKind {
    Rate,
    Increase,
    Delta,
}

/// `rate`, `increase` and `delta`: the difference over the window, extrapolated to its borders.
///
/// Source: Prometheus `promql/functions.go`, `extrapolatedRate`.
struct Rate {
    kind: RateKind,
    /// The samples that are lower than their predecessor.
    resets: Vec<usize>,
}

impl Rate {
    fn new(kind: RateKind) -> Self {
        Self {
            kind,
            resets: Vec::new(),
        }
    }

    /// Returns the difference between the ends, resets undone when this is a counter.
    fn difference(&self, window: &Window<'_>) -> f64 {
        let values = window.series.values;
        let mut difference = values[window.to - 1] - values[window.from];
        if self.kind != RateKind::Delta && !self.resets.is_empty() {
            let first = self.resets.partition_point(|at| *at <= window.from);
            for &at in self.resets[first..]
                .iter()
                .take_while(|at| **at < window.to)
            {
                difference += values[at - 1];
            }
        }
        difference
    }
}

impl Kernel for Rate {
    fn prepare(&mut self, series: Columns<'_>) {
        if self.kind != RateKind::Delta {
            let pairs = series.values.windows(2).enumerate();
            self.resets.extend(
                pairs
                    .filter(|(_, pair)| pair[1] < pair[0])
                    .map(|(i, _)| i + 1),
            );
        }
    }

    fn eval(&self, window: &Window<'_>) -> Option<f64> {
        let samples = window.samples();
        let [first_ms, .., last_ms] = *samples.times else {
            return None;
        };
        let difference = self.difference(window);
        let mut to_start = secs(first_ms - window.start_ms);
        let mut to_end = secs(window.end_ms - last_ms);
        let sampled = secs(last_ms - first_ms);
        let between = sampled / count_of(samples.times.len() - 1);
        let threshold = between * 1.1;
        if to_start >= threshold {
            to_start = between / 2.0;
        }
        if self.kind != RateKind::Delta {
            // A counter cannot be below zero: do not extrapolate to before it was.
            let mut to_zero = to_start;
            if difference > 0.0 && samples.values[0] >= 0.0 {
                to_zero = sampled * (samples.values[0] / difference);
            }
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if to_end >= threshold {
            to_end = between / 2.0;
        }
        let mut factor = if sampled == 0.0 {
            1.0
        } else {
            (sampled + to_start + to_end) / sampled
        };
        if self.kind == RateKind::Rate {
            factor /= secs(window.end_ms - window.start_ms);
        }
        Some(difference * factor)
    }
}

fn secs(ms: i64) -> f64 {
    super::math::millis_to_secs(ms)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of samples in memory is far below 2^53"
)]
fn count_of(len: usize) -> f64 {
    len as f64
}

fn first(window: &Window<'_>) -> Option<f64> {
    window.samples().values.first().copied()
}

fn last(window: &Window<'_>) -> Option<f64> {
    window.samples().values.last().copied()
}

fn present(_: &Window<'_>) -> Option<f64> {
    Some(1.0)
}

fn stddev(window: &Window<'_>) -> Option<f64> {
    stdvar(window).map(f64::sqrt)
}

fn ts_of_first(window: &Window<'_>) -> Option<f64> {
    window.samples().times.first().map(|ms| secs(*ms))
}

fn ts_of_last(window: &Window<'_>) -> Option<f64> {
    window.samples().times.last().map(|ms| secs(*ms))
}

fn ts_of_max(window: &Window<'_>) -> Option<f64> {
    ts_of(window, |value, best| value >= best)
}

fn ts_of_min(window: &Window<'_>) -> Option<f64> {
    ts_of(window, |value, best| value <= best)
}

fn avg(window: &Window<'_>) -> Option<f64> {
    let (first, rest) = window.samples().values.split_first()?;
    let mut mean = Mean::of(*first);
    rest.iter().for_each(|value| mean.add(*value));
    Some(mean.total())
}

fn sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = CompensatedSum::default();
    let values = window.samples().values;
    values.iter().for_each(|value| sum.add(*value));
    Some(if sum.sum.is_infinite() {
        sum.sum
    } else {
        sum.total()
    })
}

fn count(window: &Window<'_>) -> Option<f64> {
    Some(count_of(window.to - window.from))
}

fn changes(window: &Window<'_>) -> Option<f64> {
    let differs = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    let pairs = window.samples().values.windows(2);
    Some(count_of(pairs.filter(differs).count()))
}

fn resets(window: &Window<'_>) -> Option<f64> {
    let pairs = window.samples().values.windows(2);
    Some(count_of(pairs.filter(|pair| pair[1] < pair[0]).count()))
}

fn max(window: &Window<'_>) -> Option<f64> {
    let values = window.samples().values;
    let pick = |best: f64, value: f64| {
        if value > best || best.is_nan() {
            value
        } else {
            best
        }
    };
    values.iter().copied().reduce(pick)
}

fn min(window: &Window<'_>) -> Option<f64> {
    let values = window.samples().values;
    let pick = |best: f64, value: f64| {
        if value < best || best.is_nan() {
            value
        } else {
            best
        }
    };
    values.iter().copied().reduce(pick)
}

/// Returns the time of the best value, the last one among equals.
fn ts_of(window: &Window<'_>, is_better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let mut best: Option<(i64, f64)> = None;
    for (time, value) in window.samples().iter() {
        if best.is_none_or(|(_, best)| is_better(value, best) || best.is_nan()) {
            best = Some((time, value));
        }
    }
    best.map(|(time, _)| secs(time))
}

fn quantile_over_time(window: &Window<'_>) -> Option<f64> {
    let mut values = window.samples().values.to_vec();
    Some(quantile(window.params[0], &mut values))
}

fn mad(window: &Window<'_>) -> Option<f64> {
    let mut values = window.samples().values.to_vec();
    if values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Some(quantile(0.5, &mut values))
}

/// Welford's variance with compensated sums.
fn stdvar(window: &Window<'_>) -> Option<f64> {
    let mut mean = CompensatedSum::default();
    let mut squares = CompensatedSum::default();
    let mut count = 0.0;
    for &value in window.samples().values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    Some(squares.total() / count)
}

fn last_two(window: &Window<'_>) -> Option<[(i64, f64); 2]> {
    let samples = window.samples();
    let (&[.., t0, t1], &[.., v0, v1]) = (samples.times, samples.values) else {
        return None;
    };
    (t0 != t1).then_some([(t0, v0), (t1, v1)])
}

fn irate(window: &Window<'_>) -> Option<f64> {
    let [(t0, v0), (t1, v1)] = last_two(window)?;
    let difference = if v1 < v0 { v1 } else { v1 - v0 };
    Some(difference / secs(t1 - t0))
}

fn idelta(window: &Window<'_>) -> Option<f64> {
    let [(_, v0), (_, v1)] = last_two(window)?;
    Some(v1 - v0)
}

fn deriv(window: &Window<'_>) -> Option<f64> {
    let samples = window.samples();
    let first_ms = *samples.times.first()?;
    (samples.times.len() >= 2).then(|| linear_regression(samples, first_ms).0)
}

fn predict_linear(window: &Window<'_>) -> Option<f64> {
    let samples = window.samples();
    (samples.times.len() >= 2).then(|| {
        let (slope, intercept) = linear_regression(samples, window.step_ms);
        slope * window.params[0] + intercept
    })
}

/// Returns slope and intercept of the least-squares line, the latter at `intercept_ms`.
///
/// Source: Prometheus `promql/functions.go`, `linearRegression`.
fn linear_regression(samples: Columns<'_>, intercept_ms: i64) -> (f64, f64) {
    let first = samples.values[0];
    if samples.values.iter().all(|value| *value == first) || samples.values.len() == 1 {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let mut n = 0.0;
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [CompensatedSum::default(); 4];
    for (time, y) in samples.iter() {
        n += 1.0;
        let x = secs(time.saturating_sub(intercept_ms));
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(CompensatedSum::total);
    let covariance = xy - x * y / n;
    let variance = xx - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// Double exponential smoothing (Holt-Winters without seasons).
fn smooth(window: &Window<'_>) -> Option<f64> {
    let [smoothing, trend_factor] = window.params;
    let &[first, second, ..] = window.samples().values else {
        return None;
    };
    let (mut before, mut now) = (0.0, first);
    let mut trend = second - first;
    for (i, value) in window.samples().values[1..].iter().enumerate() {
        let x = smoothing * value;
        if i > 0 {
            trend = trend_factor * (now - before) + (1.0 - trend_factor) * trend;
        }
        let y = (1.0 - smoothing) * (now + trend);
        (before, now) = (now, x + y);
    }
    Some(now)
}

#[cfg(test)]
mod tests;
