//! Functions over ranges of native histograms, and the rates of `anchored` and `smoothed` ranges.

use super::evaluate::{Evaluator, millis};
use super::histogram::{Hist, Told};
use super::range::{Window, extrapolation, has_overlapping_starts, is_restart, zero_start};
use super::series::{Cell, Dot, Line, Steps, metric_name};
use crate::error::Result;
use crate::parser::FunctionId as Id;
use crate::parser::ast::{RangeExtension, VectorSelector};
use thanos_core::histogram::CounterResetHint;

/// A sample between which is interpolated.
type At<'a, T> = (i64, &'a T);

impl Evaluator<'_> {
    fn told(&mut self, told: Told) {
        if told.bounds_differ {
            self.inform("custom bounds differ");
        }
    }

    /// Adds or subtracts, telling what there is to tell; nothing when the two do not go together.
    fn added(&mut self, a: &Hist, b: &Hist, is_sum: bool) -> Option<Hist> {
        let result = if is_sum { a.plus(b) } else { a.minus(b) };
        match result {
            Ok((sum, told)) => {
                self.told(told);
                Some(sum.settled())
            }
            Err(_) => {
                self.warn("exponential and custom buckets");
                None
            }
        }
    }

    /// Source: Prometheus `promql/functions.go`, `extrapolatedRate` for histograms.
    pub(super) fn histogram_rate(&mut self, id: Id, metric: &str, window: &Window) -> Option<Hist> {
        let samples = &window.histograms;
        let mut increase = None;
        if samples.len() > 1 {
            increase = Some(self.histogram_increase(id, metric, window)?);
        }
        let times: Vec<i64> = samples.iter().map(|(time, _)| *time).collect();
        let starts = &window.histogram_starts;
        let zero_start = zero_start(id, window, &times, starts);
        if zero_start.is_some() {
            increase = Some(match increase {
                None => samples[0].1.clone(),
                Some(increase) => self.added(&increase, &samples[0].1, true)?,
            });
        }
        let first = samples[0].1.count.total();
        let zero_share = increase.as_ref().and_then(|increase| {
            let count = increase.count.total();
            (count > 0.0 && first >= 0.0).then(|| first / count)
        });
        let factor = extrapolation(id, window, &times, zero_start, zero_share)?;
        increase.map(|increase| increase.multiplied(factor))
    }

    /// Source: Prometheus `promql/functions.go`, `histogramRate`.
    fn histogram_increase(&mut self, id: Id, metric: &str, window: &Window) -> Option<Hist> {
        let samples = &window.histograms;
        let starts = &window.histogram_starts;
        let is_counter = id != Id::Delta;
        let last = &samples[samples.len() - 1].1;
        let mut first = samples[0].1.clone();
        if is_counter && (first.is_gauge() || last.is_gauge()) {
            self.warn(format!("no counter: {metric}"));
        }
        let is_reset = |now: usize, before: &Hist| {
            let times = (
                (starts[now - 1], samples[now - 1].0),
                (starts[now], samples[now].0),
            );
            is_restart(times.0, times.1) || samples[now].1.is_reset_after(before)
        };
        if is_counter && is_reset(1, &first) {
            // What was before a reset at the start is not looked at, not even its buckets.
            first = Hist {
                schema: samples[1].1.schema,
                custom: samples[1].1.custom.clone(),
                ..Hist::default()
            };
        }
        if last.is_custom() != first.is_custom() {
            self.warn("exponential and custom buckets");
            return None;
        }
        let mut schema = last.schema.min(first.schema);
        if is_counter {
            for (_, histogram) in &samples[1..samples.len() - 1] {
                if histogram.is_gauge() {
                    self.warn(format!("no counter: {metric}"));
                }
                schema = schema.min(histogram.schema);
                if histogram.is_custom() != first.is_custom() {
                    self.warn("exponential and custom buckets");
                    return None;
                }
            }
        }
        let mut increase = last.clone();
        increase.reduce(schema);
        increase = self.added(&increase, &first, false)?;
        if is_counter {
            if has_overlapping_starts(samples, starts) {
                self.warn(format!("start times of {metric} overlap"));
            }
            for now in 1..samples.len() {
                let before = if now == 1 {
                    &first
                } else {
                    &samples[now - 1].1
                };
                if is_reset(now, before) {
                    increase = self.added(&increase, before, true)?;
                }
            }
        } else if !samples[0].1.is_gauge() || !last.is_gauge() {
            self.warn(format!("no gauge: {metric}"));
        }
        increase.hint = CounterResetHint::Gauge;
        Some(increase.compacted())
    }

    /// Returns the change between the last two histograms for `irate` and `idelta`.
    pub(super) fn histogram_change(
        &mut self,
        is_rate: bool,
        metric: &str,
        restarted: bool,
        before: &Hist,
        last: &Hist,
    ) -> Option<Hist> {
        let gauges = [before, last].iter().filter(|one| one.is_gauge()).count();
        if is_rate && gauges > 0 {
            self.warn(format!("no counter: {metric}"));
        }
        if !is_rate && gauges < 2 {
            self.warn(format!("no gauge: {metric}"));
        }
        let mut change = last.clone();
        if !is_rate || (!restarted && !last.is_reset_after(before)) {
            change = self.added(last, before, false)?;
        }
        change.hint = CounterResetHint::Gauge;
        Some(change.compacted())
    }

    /// Returns the sum or mean of the histograms of a window.
    pub(super) fn histograms_over_time(&mut self, id: Id, window: &Window) -> Option<Cell> {
        let all: Vec<Hist> = window
            .histograms
            .iter()
            .map(|(_, one)| one.clone())
            .collect();
        let result = self.folded(&all, id == Id::AvgOverTime)?;
        Some(Cell::Histogram(result))
    }

    /// Returns the sum or mean of histograms, telling what there is to tell.
    pub(super) fn folded(&mut self, all: &[Hist], is_mean: bool) -> Option<Hist> {
        let has = |hint| all.iter().any(|one| one.hint == hint);
        let collides =
            has(CounterResetHint::CounterReset) && has(CounterResetHint::NotCounterReset);
        let mut bounds_differ = false;
        let mut total = all[0].clone();
        let mut carries_mean = false;
        for (place, one) in all.iter().enumerate().skip(1) {
            let (before, count) = (place as f64, place as f64 + 1.0);
            if !carries_mean {
                let Ok((next, told)) = total.plus(one) else {
                    self.warn("exponential and custom buckets");
                    return None;
                };
                bounds_differ |= told.bounds_differ;
                if !is_mean || !next.overflows() {
                    total = next;
                    continue;
                }
                carries_mean = true;
                total = total.divided(before);
            }
            let Ok((next, told)) = total.multiplied(before / count).plus(&one.divided(count))
            else {
                self.warn("exponential and custom buckets");
                return None;
            };
            bounds_differ |= told.bounds_differ;
            total = next;
        }
        if collides {
            self.warn("counter resets collide");
        }
        if bounds_differ {
            self.inform("custom bounds differ");
        }
        Some(if is_mean && !carries_mean {
            total.divided(all.len() as f64)
        } else {
            total
        })
    }

    /// Source: Prometheus `promql/functions.go`, `extendedRate` and `extendedHistogramRate`.
    pub(super) fn extended_rate(
        &mut self,
        id: Id,
        metric: &str,
        window: &Window,
        extension: RangeExtension,
    ) -> Option<Cell> {
        let smoothed = extension == RangeExtension::Smoothed;
        if window.histograms.is_empty() {
            let increase = extended_increase(id, window, smoothed)?;
            return Some(Cell::Float(if id == Id::Rate {
                increase / window.seconds()
            } else {
                increase
            }));
        }
        let mut increase = self.extended_histogram(id, metric, window, smoothed)?;
        if id == Id::Rate {
            increase = increase.divided(window.seconds());
        }
        increase.hint = CounterResetHint::Gauge;
        Some(Cell::Histogram(increase.compacted()))
    }

    fn extended_histogram(
        &mut self,
        id: Id,
        metric: &str,
        window: &Window,
        smoothed: bool,
    ) -> Option<Hist> {
        let all = &window.histograms;
        let is_counter = id != Id::Delta;
        let times: Vec<i64> = all.iter().map(|(time, _)| *time).collect();
        let (first, last) = edges(&times, window, smoothed)?;
        for (_, histogram) in &all[first..=last] {
            if histogram.is_custom() != all[first].1.is_custom() {
                self.warn("exponential and custom buckets");
                return None;
            }
            if is_counter && histogram.is_gauge() {
                self.warn(format!("no counter: {metric}"));
            }
        }
        let at = |place: usize| (all[place].0, &all[place].1);
        let mut left = all[first].1.clone();
        if smoothed && all[first].0 < window.start {
            left = self.between(at(first), at(first + 1), window.start, is_counter)?;
        }
        let mut right = all[last].1.clone();
        if smoothed && last > 0 && all[last].0 > window.end {
            right = self.between(at(last - 1), at(last), window.end, is_counter)?;
        }
        let are_gauges = left.is_gauge() && right.is_gauge();
        if !is_counter && !are_gauges {
            self.warn(format!("no gauge: {metric}"));
        }
        let mut increase = self.added(&right, &left, false)?;
        if is_counter
            && let Some(correction) =
                self.histogram_correction(window, (first, last), &left, &right, smoothed)?
        {
            increase = self.added(&increase, &correction, true)?;
        }
        Some(increase)
    }

    /// Returns what to add for resets between the edges; the outer nothing means that it has no answer.
    fn histogram_correction(
        &mut self,
        window: &Window,
        (first, last): (usize, usize),
        left: &Hist,
        right: &Hist,
        smoothed: bool,
    ) -> Option<Option<Hist>> {
        let all = &window.histograms;
        let (mut next, mut before) = (first + 1, left);
        let spans_reset = smoothed
            && all[first].0 < window.start
            && all[first + 1].1.is_reset_after(&all[first].1);
        if spans_reset {
            before = &all[first + 1].1;
            next += 1;
        }
        if next > last {
            return Some(None);
        }
        let inner = all[next..last].iter().map(|(_, histogram)| histogram);
        let mut correction: Option<Hist> = None;
        for now in inner.chain([right]) {
            if now.is_reset_after(before) {
                correction = Some(match correction {
                    None => before.clone(),
                    Some(sum) => self.added(&sum, before, true)?,
                });
            }
            before = now;
        }
        Some(correction)
    }

    /// Source: Prometheus `promql/functions.go`, `interpolateHistograms`.
    fn between(
        &mut self,
        (t1, h1): At<'_, Hist>,
        (t2, h2): At<'_, Hist>,
        time: i64,
        is_counter: bool,
    ) -> Option<Hist> {
        if time == t1 {
            return Some(h1.clone());
        }
        if time == t2 {
            return Some(h2.clone());
        }
        let share = (time - t1) as f64 / (t2 - t1) as f64;
        if is_counter && h2.is_reset_after(h1) {
            return Some(h2.multiplied(share));
        }
        let difference = self.added(h2, h1, false)?;
        self.added(&difference.multiplied(share), h1, true)
    }

    /// Evaluates a `smoothed` selector of vectors: values are interpolated between the samples around a step.
    ///
    /// Source: Prometheus `promql/engine.go`, `smoothSeries`.
    pub(super) fn smoothed_selector(
        &mut self,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Result<Vec<Line>> {
        let place = self.place(&selector.shift)?;
        let mut lines = self.matching(selector)?;
        for line in &mut lines {
            let mut dots = Vec::new();
            for time in steps.times() {
                let cell = self.smoothed_at(line, place.of(time));
                dots.extend(cell.map(|cell| Dot {
                    time,
                    start: 0,
                    cell,
                }));
            }
            line.dots = dots;
        }
        lines.retain(|line| !line.dots.is_empty());
        Ok(lines)
    }

    fn smoothed_at(&mut self, line: &Line, time: i64) -> Option<Cell> {
        let lookback = millis(self.options.lookback);
        let is_near = |dot: &&Dot| {
            dot.time > time - lookback && dot.time <= time + lookback && !dot.cell.is_stale()
        };
        let near: Vec<&Dot> = line.dots.iter().filter(is_near).collect();
        let floats = near.iter().filter(|dot| dot.cell.float().is_some()).count();
        if floats > 0 && floats < near.len() {
            self.warn(format!(
                "floats and histograms around {}",
                metric_name(&line.labels)
            ));
            return None;
        }
        let next = near.iter().find(|dot| dot.time >= time).copied();
        if let Some(exact) = next.filter(|dot| dot.time == time) {
            return Some(exact.cell.clone());
        }
        let before = near.iter().rev().find(|dot| dot.time < time).copied()?;
        match (&before.cell, next.map(|next| (next.time, &next.cell))) {
            (Cell::Float(value), None) => Some(Cell::Float(*value)),
            (Cell::Float(a), Some((t2, Cell::Float(b)))) => {
                Some(Cell::Float(line_between((before.time, *a), (t2, *b), time)))
            }
            (Cell::Histogram(histogram), None) => {
                let mut histogram = histogram.clone();
                histogram.hint = CounterResetHint::Unknown;
                Some(Cell::Histogram(histogram))
            }
            (Cell::Histogram(a), Some((t2, Cell::Histogram(b)))) => {
                let is_counter = !a.is_gauge() || !b.is_gauge();
                if a.is_custom() != b.is_custom() {
                    self.warn("exponential and custom buckets");
                    return None;
                }
                let between = self.between((before.time, a), (t2, b), time, is_counter)?;
                Some(Cell::Histogram(between))
            }
            _ => None,
        }
    }
}

fn line_between((t1, y1): (i64, f64), (t2, y2): (i64, f64), time: i64) -> f64 {
    y1 + (y2 - y1) * (time - t1) as f64 / (t2 - t1) as f64
}

/// Returns the places of the first and last sample that an extended window takes into account.
fn edges(times: &[i64], window: &Window, smoothed: bool) -> Option<(usize, usize)> {
    let end = times.len() - 1;
    // As upstream searches: the very last sample stands for "none of the others".
    let after_start = times[..end].iter().position(|time| *time > window.start);
    let first = after_start.unwrap_or(end).saturating_sub(1);
    let mut last = end;
    if smoothed {
        let at_end = times[..end].iter().position(|time| *time >= window.end);
        last = at_end.unwrap_or(end);
    }
    let is_outside = times[last] <= window.start || (smoothed && times[first] > window.end);
    (!is_outside).then_some((first, last))
}

fn extended_increase(id: Id, window: &Window, smoothed: bool) -> Option<f64> {
    let floats = &window.floats;
    let is_counter = id != Id::Delta;
    let times: Vec<i64> = floats.iter().map(|(time, _)| *time).collect();
    let (first, last) = edges(&times, window, smoothed)?;
    let between = |a: (i64, f64), b: (i64, f64), time| {
        let a = if is_counter && b.1 < a.1 {
            (a.0, 0.0)
        } else {
            a
        };
        line_between(a, b, time)
    };
    let mut left = floats[first].1;
    if smoothed && floats[first].0 < window.start {
        left = between(floats[first], floats[first + 1], window.start);
    }
    let mut right = floats[last].1;
    if smoothed && last > 0 && floats[last].0 > window.end {
        right = between(floats[last - 1], floats[last], window.end);
    }
    let mut increase = right - left;
    if is_counter {
        let inner = floats[first..=last]
            .iter()
            .filter(|(time, _)| *time > window.start && *time < window.end);
        let (mut before, mut lost) = (left, 0.0);
        for value in inner.map(|(_, value)| *value).chain([right]) {
            if value < before {
                lost += before;
            }
            before = value;
        }
        increase += lost;
    }
    Some(increase)
}
