//! Functions over ranges: one number (or histogram) from the samples of one window.

use super::evaluate::{Evaluator, millis, number_at};
use super::histogram::Hist;
use super::selector::Ranges;
use super::series::{Cell, Dot, Line, Steps, check_unique, metric_name, without_name};
use super::sums;
use crate::error::{Error, Result};
use crate::parser::ast::{Call, RangeExtension};
use crate::parser::{Expr, FunctionId as Id, ValueType};

/// The samples of one series that a function sees at one step.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The time of evaluation.
    pub(super) time: i64,
    /// The window is after `start` and up to `end`; `anchored` and `smoothed` see samples beyond it, too.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) floats: Vec<(i64, f64)>,
    pub(super) float_starts: Vec<i64>,
    pub(super) histograms: Vec<(i64, Hist)>,
    pub(super) histogram_starts: Vec<i64>,
}

impl Window {
    pub(super) fn new(time: i64, start: i64, end: i64) -> Self {
        Self {
            time,
            start,
            end,
            floats: Vec::new(),
            float_starts: Vec::new(),
            histograms: Vec::new(),
            histogram_starts: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    pub(super) fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }

    /// Returns the length of the window in seconds.
    pub(super) fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }

    pub(super) fn values(&self) -> Vec<f64> {
        self.floats.iter().map(|(_, value)| *value).collect()
    }

    /// Returns all samples in the order of time.
    pub(super) fn samples(&self) -> Vec<Dot> {
        let floats = self.floats.iter().zip(&self.float_starts);
        let histograms = self.histograms.iter().zip(&self.histogram_starts);
        let mut all: Vec<Dot> = floats
            .map(|((time, value), start)| Dot {
                time: *time,
                start: *start,
                cell: Cell::Float(*value),
            })
            .chain(histograms.map(|((time, histogram), start)| Dot {
                time: *time,
                start: *start,
                cell: Cell::Histogram(histogram.clone()),
            }))
            .collect();
        all.sort_by_key(|dot| dot.time);
        all
    }
}

/// Reports whether the start time of a sample says that the counter was reset after the sample before it.
///
/// Source: Prometheus `promql/functions.go`, `isStartTimestampReset`.
pub(super) fn is_restart(before: (i64, i64), now: (i64, i64)) -> bool {
    let ((before_start, before_time), (start, time)) = (before, now);
    if start == 0 || start >= time || start < before_time {
        return false;
    }
    // A start at the very time of the sample before is a delta, unless that one does not know its own start.
    start > before_time || (before_start != 0 && before_start < before_time)
}

/// What a function over ranges is called with, beside the window.
#[derive(Debug)]
struct Arguments<'a> {
    id: Id,
    params: &'a [f64],
    metric: &'a str,
}

impl Evaluator<'_> {
    /// Evaluates a call with a matrix argument at each of `steps`.
    pub(super) fn range_call(&mut self, call: &Call, steps: Steps) -> Result<Vec<Line>> {
        let is_matrix = |place: &usize| call.args[*place].value_type() == ValueType::Matrix;
        let place = (0..call.args.len()).find(is_matrix).unwrap_or(0);
        let mut ranges = self.ranges(&call.args[place], steps)?;
        if matches!(call.args[place].without_parens(), Expr::Subquery(_)) {
            Self::forget_hints(&mut ranges.lines);
        }
        let mut params = Vec::new();
        for (other, arg) in call.args.iter().enumerate() {
            if other != place {
                params.push(self.eval(arg, steps)?);
            }
        }
        check_extension(call.func.id, ranges.extension)?;
        if call.func.id == Id::AbsentOverTime {
            return Ok(self.absent_over_time(&ranges, steps));
        }
        let mut out = Vec::new();
        for line in &ranges.lines {
            let line = self.range_series(call.func.id, &ranges, line, &params, steps)?;
            out.extend(line);
        }
        if !self.options.delayed_name_removal {
            check_unique(&out)?;
        }
        Ok(out)
    }

    fn range_series(
        &mut self,
        id: Id,
        ranges: &Ranges,
        line: &Line,
        params: &[Vec<Line>],
        steps: Steps,
    ) -> Result<Option<Line>> {
        let lookback = millis(self.options.lookback);
        let metric = metric_name(&line.labels);
        let mut dots = Vec::new();
        for time in steps.times() {
            let window = ranges.window(line, time, lookback);
            if window.is_empty() {
                continue;
            }
            let params: Vec<f64> = params.iter().map(|param| number_at(param, time)).collect();
            let arguments = Arguments {
                id,
                params: &params,
                metric: &metric,
            };
            let cell = self.over_window(&arguments, &window, ranges.extension)?;
            dots.extend(cell.map(|cell| Dot {
                time,
                start: 0,
                cell,
            }));
        }
        if matches!(id, Id::Rate | Id::Increase) {
            self.check_counter_name(line, &metric, &dots);
        }
        let drop_name = line.drop_name || !matches!(id, Id::LastOverTime | Id::FirstOverTime);
        let labels = if drop_name && !self.options.delayed_name_removal {
            without_name(&line.labels)
        } else {
            line.labels.clone()
        };
        Ok((!dots.is_empty()).then_some(Line {
            labels,
            drop_name,
            dots,
        }))
    }

    fn check_counter_name(&mut self, line: &Line, metric: &str, dots: &[Dot]) {
        if metric.is_empty() || dots.iter().all(|dot| dot.cell.float().is_none()) {
            return;
        }
        let is_counter = if self.options.type_and_unit_labels {
            let kind = line.labels.get("__type__").unwrap_or_default();
            ["counter", "histogram"].contains(&&*kind)
        } else {
            ["_total", "_sum", "_count", "_bucket"]
                .iter()
                .any(|end| metric.ends_with(end))
        };
        if !is_counter {
            self.inform(format!("possibly no counter: {metric}"));
        }
    }

    fn absent_over_time(&mut self, ranges: &Ranges, steps: Steps) -> Vec<Line> {
        let lookback = millis(self.options.lookback);
        let is_absent = |time: &i64| {
            let mut lines = ranges.lines.iter();
            lines.all(|line| ranges.window(line, *time, lookback).is_empty())
        };
        let dot = |time| Dot {
            time,
            start: 0,
            cell: Cell::Float(1.0),
        };
        let dots: Vec<Dot> = steps.times().filter(is_absent).map(dot).collect();
        let line = Line {
            labels: ranges.absent.clone(),
            drop_name: true,
            dots,
        };
        if line.dots.is_empty() {
            Vec::new()
        } else {
            vec![line]
        }
    }

    fn over_window(
        &mut self,
        call: &Arguments<'_>,
        window: &Window,
        extension: Option<RangeExtension>,
    ) -> Result<Option<Cell>> {
        Ok(match call.id {
            Id::Rate | Id::Increase | Id::Delta => {
                self.rate(call.id, call.metric, window, extension)
            }
            Id::Irate | Id::Idelta => self.instant_rate(call.id, call.metric, window),
            Id::Changes | Id::Resets => count_between(call.id, window, extension),
            Id::CountOverTime => {
                let count = window.floats.len() + window.histograms.len();
                Some(Cell::Float(count as f64))
            }
            Id::PresentOverTime => Some(Cell::Float(1.0)),
            Id::FirstOverTime => window.samples().into_iter().next().map(|dot| dot.cell),
            Id::LastOverTime => window.samples().into_iter().next_back().map(|dot| dot.cell),
            Id::TsOfFirstOverTime => seconds(window.samples().first()),
            // COMPAT: the later one of the last float and the last histogram, 0 for the kind that there is none of.
            Id::TsOfLastOverTime => window.samples().last().map(|dot| {
                let is_one_kind = !window.is_mixed();
                let time = if is_one_kind {
                    dot.time.max(0)
                } else {
                    dot.time
                };
                Cell::Float(time as f64 / 1000.0)
            }),
            Id::SumOverTime | Id::AvgOverTime if window.is_mixed() => {
                self.warn(format!(
                    "floats and histograms in a window of {}",
                    call.metric
                ));
                None
            }
            Id::SumOverTime | Id::AvgOverTime if window.floats.is_empty() => {
                self.histograms_over_time(call.id, window)
            }
            Id::SumOverTime => Some(Cell::Float(sums::sum(&window.values()))),
            Id::AvgOverTime => Some(Cell::Float(sums::mean(&window.values()))),
            _ => self.over_floats(call, window)?.map(Cell::Float),
        })
    }

    /// Computes a function that ignores histograms.
    fn over_floats(&mut self, call: &Arguments<'_>, window: &Window) -> Result<Option<f64>> {
        let values = window.values();
        let mut needed = 1;
        match call.id {
            Id::DoubleExponentialSmoothing => {
                check_factor("smoothing", call.params[0])?;
                check_factor("trend", call.params[1])?;
                needed = 2;
            }
            Id::Deriv | Id::PredictLinear => needed = 2,
            _ => {}
        }
        if !values.is_empty() && !window.histograms.is_empty() {
            self.inform(format!("histograms ignored in a window of {}", call.metric));
        }
        if values.len() < needed {
            return Ok(None);
        }
        let param = call.params.first().copied().unwrap_or(f64::NAN);
        Ok(Some(match call.id {
            Id::MinOverTime => extreme(window, |value, best| value < best).1,
            Id::MaxOverTime => extreme(window, |value, best| value > best).1,
            Id::TsOfMinOverTime => extreme(window, |value, best| value <= best).0 as f64 / 1000.0,
            Id::TsOfMaxOverTime => extreme(window, |value, best| value >= best).0 as f64 / 1000.0,
            Id::StdvarOverTime => sums::variance_over_time(&values),
            Id::StddevOverTime => sums::variance_over_time(&values).sqrt(),
            Id::QuantileOverTime => {
                if !(0.0..=1.0).contains(&param) {
                    self.warn(format!("no quantile: {param}"));
                }
                sums::quantile(param, &values)
            }
            Id::MadOverTime => median_deviation(&values),
            Id::Deriv => sums::regression(&window.floats, window.floats[0].0).0,
            Id::PredictLinear => {
                let (slope, value) = sums::regression(&window.floats, window.time);
                slope * param + value
            }
            Id::DoubleExponentialSmoothing => smoothed(&values, call.params[0], call.params[1]),
            other => {
                return Err(Error::unimplemented(format!(
                    "{other:?} in the naive evaluator"
                )));
            }
        }))
    }

    /// Source: Prometheus `promql/functions.go`, `extrapolatedRate`.
    fn rate(
        &mut self,
        id: Id,
        metric: &str,
        window: &Window,
        extension: Option<RangeExtension>,
    ) -> Option<Cell> {
        if window.is_mixed() {
            self.warn(format!("floats and histograms in a window of {metric}"));
            return None;
        }
        if let Some(extension) = extension {
            return self.extended_rate(id, metric, window, extension);
        }
        if window.floats.is_empty() {
            return self.histogram_rate(id, metric, window).map(Cell::Histogram);
        }
        let mut increase = float_increase(id, window);
        if id != Id::Delta && has_overlapping_starts(&window.floats, &window.float_starts) {
            self.warn(format!("start times of {metric} overlap"));
        }
        let times: Vec<i64> = window.floats.iter().map(|(time, _)| *time).collect();
        let first = window.floats[0].1;
        let zero_start = zero_start(id, window, &times, &window.float_starts);
        if zero_start.is_some() {
            increase += first;
        }
        let zero_share = (increase > 0.0 && first >= 0.0).then(|| first / increase);
        let factor = extrapolation(id, window, &times, zero_start, zero_share)?;
        Some(Cell::Float(increase * factor))
    }

    /// Source: Prometheus `promql/functions.go`, `instantValue`.
    fn instant_rate(&mut self, id: Id, metric: &str, window: &Window) -> Option<Cell> {
        let samples = window.samples();
        let [.., before, last] = &samples[..] else {
            return None;
        };
        let seconds = (last.time - before.time) as f64 / 1000.0;
        let is_rate = id == Id::Irate;
        let restarted = is_restart((before.start, before.time), (last.start, last.time));
        match (&before.cell, &last.cell) {
            (Cell::Float(before), Cell::Float(last)) => {
                let is_reset = is_rate && (last < before || restarted);
                let change = if is_reset { *last } else { last - before };
                Some(Cell::Float(if is_rate { change / seconds } else { change }))
            }
            (Cell::Histogram(before), Cell::Histogram(last)) => {
                let change = self.histogram_change(is_rate, metric, restarted, before, last)?;
                Some(Cell::Histogram(if is_rate {
                    change.divided(seconds)
                } else {
                    change
                }))
            }
            _ => {
                self.warn(format!("floats and histograms in a window of {metric}"));
                None
            }
        }
    }
}

fn seconds(dot: Option<&Dot>) -> Option<Cell> {
    dot.map(|dot| Cell::Float(dot.time as f64 / 1000.0))
}

fn check_extension(id: Id, extension: Option<RangeExtension>) -> Result<()> {
    let allowed: &[Id] = match extension {
        None => return Ok(()),
        Some(RangeExtension::Anchored) => {
            &[Id::Changes, Id::Delta, Id::Increase, Id::Rate, Id::Resets]
        }
        Some(RangeExtension::Smoothed) => &[Id::Delta, Id::Increase, Id::Rate],
    };
    if allowed.contains(&id) {
        return Ok(());
    }
    Err(Error::execution(format!(
        "the modifier does not go with {id:?}"
    )))
}

fn check_factor(what: &str, factor: f64) -> Result<()> {
    // Not-a-number passes upstream, too.
    if factor <= 0.0 || factor >= 1.0 {
        return Err(Error::execution(format!("invalid {what} factor: {factor}")));
    }
    Ok(())
}

/// Returns the best sample: a later one wins when it is better, anything wins over not-a-number.
fn extreme(window: &Window, is_better: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let mut best = window.floats[0];
    for sample in &window.floats {
        if is_better(sample.1, best.1) || best.1.is_nan() {
            best = *sample;
        }
    }
    best
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = sums::quantile(0.5, values);
    let deviations: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    sums::quantile(0.5, &deviations)
}

/// Source: Prometheus `promql/functions.go`, `funcDoubleExponentialSmoothing`.
fn smoothed(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let (mut before, mut level) = (0.0, values[0]);
    let mut trend = values[1] - values[0];
    for (place, value) in values.iter().enumerate().skip(1) {
        if place > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    level
}

fn float_increase(id: Id, window: &Window) -> f64 {
    let (floats, starts) = (&window.floats, &window.float_starts);
    let mut increase = floats[floats.len() - 1].1 - floats[0].1;
    if id == Id::Delta {
        return increase;
    }
    for now in 1..floats.len() {
        let ((before_time, before), (time, value)) = (floats[now - 1], floats[now]);
        let is_restarted = is_restart((starts[now - 1], before_time), (starts[now], time));
        if value < before || is_restarted {
            increase += before;
        }
    }
    increase
}

/// Reports whether a sample claims to have started before the sample before it was taken.
pub(super) fn has_overlapping_starts<T>(samples: &[(i64, T)], starts: &[i64]) -> bool {
    (1..samples.len()).any(|now| {
        let start = starts[now];
        start != 0 && start < samples[now - 1].0 && start != starts[now - 1]
    })
}

/// Returns the start time of the first sample when it lies in the window, so that the counter was zero there.
pub(super) fn zero_start(id: Id, window: &Window, times: &[i64], starts: &[i64]) -> Option<i64> {
    let start = *starts.first()?;
    let is_inside = start != 0 && start > window.start && start < times[0];
    (id != Id::Delta && is_inside).then_some(start)
}

/// Returns what an increase between the first and last sample is multiplied by.
///
/// `zero_share` is the value of the first sample in increases, where the counter may have begun at zero.
pub(super) fn extrapolation(
    id: Id,
    window: &Window,
    times: &[i64],
    zero_start: Option<i64>,
    zero_share: Option<f64>,
) -> Option<f64> {
    let (first, last) = (times[0], times[times.len() - 1]);
    let gaps = times.len() as f64 - 1.0;
    let mut sampled = (last - first) as f64 / 1000.0;
    let average = if gaps > 0.0 { sampled / gaps } else { 0.0 };
    let threshold = average * 1.1;
    let mut to_start = (first - window.start) as f64 / 1000.0;
    let mut to_end = (window.end - last) as f64 / 1000.0;
    if let Some(zero) = zero_start {
        to_start = 0.0;
        sampled = (last - zero) as f64 / 1000.0;
    } else if times.len() == 1 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        let to_zero = zero_share.map_or(to_start, |share| sampled * share);
        if id != Id::Delta && to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = 1.0;
    if sampled != 0.0 {
        factor = (sampled + to_start + to_end) / sampled;
    }
    if id == Id::Rate {
        factor /= window.seconds();
    }
    Some(factor)
}

/// Counts how often a series changed or was reset.
fn count_between(id: Id, window: &Window, extension: Option<RangeExtension>) -> Option<Cell> {
    let mut samples = window.samples();
    if extension.is_some() {
        // The last sample before the window is where it is anchored.
        let anchor = samples.iter().rposition(|dot| dot.time <= window.start);
        if samples.last()?.time <= window.start {
            return None;
        }
        samples.drain(..anchor.unwrap_or(0));
    }
    let counts = |pair: &&[Dot]| {
        let (before, now) = (&pair[0], &pair[1]);
        let restarted = is_restart((before.start, before.time), (now.start, now.time));
        match (&before.cell, &now.cell) {
            (Cell::Float(a), Cell::Float(b)) if id == Id::Changes => {
                a != b && !(a.is_nan() && b.is_nan())
            }
            (Cell::Histogram(a), Cell::Histogram(b)) if id == Id::Changes => !b.equals(a),
            (Cell::Float(a), Cell::Float(b)) => b < a || restarted,
            (Cell::Histogram(a), Cell::Histogram(b)) => restarted || b.is_reset_after(a),
            _ => true,
        }
    };
    let count = samples.windows(2).filter(counts).count();
    Some(Cell::Float(count as f64))
}
