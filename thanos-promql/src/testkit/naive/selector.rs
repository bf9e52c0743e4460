//! Selectors and subqueries: which samples an expression sees.

use super::evaluate::{Evaluator, millis};
use super::range::Window;
use super::series::{Cell, Dot, Line, Steps};
use crate::error::{Error, Result};
use crate::parser::Expr;
use crate::parser::ast::{MatrixSelector, RangeExtension, SubqueryExpr, VectorSelector};
use thanos_core::histogram::CounterResetHint;
use thanos_core::labels::Labels;

/// The series of a matrix argument, and where its windows lie.
#[derive(Debug)]
pub(super) struct Ranges {
    pub(super) lines: Vec<Line>,
    pub(super) place: super::evaluate::Place,
    pub(super) range: i64,
    pub(super) extension: Option<RangeExtension>,
    /// The labels that the selector asks for exactly; none for a subquery.
    pub(super) absent: Labels,
}

impl Ranges {
    /// Returns the window of a series that is seen when `time` is evaluated.
    pub(super) fn window(&self, line: &Line, time: i64, lookback: i64) -> Window {
        let end = self.place.of(time);
        let start = end - self.range;
        let (before, after) = match self.extension {
            None => (0, 0),
            Some(RangeExtension::Anchored) => (lookback, 0),
            Some(RangeExtension::Smoothed) => (lookback, lookback),
        };
        let mut window = Window::new(time, start, end);
        for dot in &line.dots {
            if dot.time <= start - before || dot.time > end + after || dot.cell.is_stale() {
                continue;
            }
            match &dot.cell {
                Cell::Float(value) => window.floats.push((dot.time, *value)),
                Cell::Histogram(histogram) => window.histograms.push((dot.time, histogram.clone())),
            }
            match &dot.cell {
                Cell::Float(_) => window.float_starts.push(dot.start),
                Cell::Histogram(_) => window.histogram_starts.push(dot.start),
            }
        }
        window
    }
}

impl Evaluator<'_> {
    /// Returns the stored series that match.
    pub(super) fn matching(&self, selector: &VectorSelector) -> Result<Vec<Line>> {
        let matchers = selector
            .compile_matchers()
            .map_err(|error| Error::invalid(error.to_string()))?;
        let is_match = |line: &&Line| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(line.labels.as_ref()))
        };
        Ok(self.lines.iter().filter(is_match).cloned().collect())
    }

    /// Evaluates a selector of the newest sample at each of `steps`.
    pub(super) fn instant_selector(
        &mut self,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Result<Vec<Line>> {
        if selector.extension == Some(RangeExtension::Smoothed) {
            return self.smoothed_selector(selector, steps);
        }
        self.selected(selector, steps, |time, dot| Dot {
            time,
            start: 0,
            cell: dot.cell.clone(),
        })
    }

    /// Returns what `make` makes of the newest sample of each series at each of `steps`.
    pub(super) fn selected(
        &self,
        selector: &VectorSelector,
        steps: Steps,
        make: impl Fn(i64, &Dot) -> Dot,
    ) -> Result<Vec<Line>> {
        let place = self.place(&selector.shift)?;
        let lookback = millis(self.options.lookback);
        let mut lines = self.matching(selector)?;
        for line in &mut lines {
            let newest = |time: i64| {
                let until = place.of(time);
                let dot = line.dots.iter().rev().find(|dot| dot.time <= until)?;
                let is_seen = dot.time > until - lookback && !dot.cell.is_stale();
                is_seen.then(|| make(time, dot))
            };
            line.dots = steps.times().filter_map(newest).collect();
        }
        lines.retain(|line| !line.dots.is_empty());
        Ok(lines)
    }

    /// Evaluates a matrix argument: the series whose windows a function of `steps` sees.
    pub(super) fn ranges(&mut self, expr: &Expr, steps: Steps) -> Result<Ranges> {
        match expr.without_parens() {
            Expr::Matrix(node) => self.selector_ranges(node),
            Expr::Subquery(node) => self.subquery_ranges(node, steps),
            other => Err(Error::invalid(format!("{other} is no range vector"))),
        }
    }

    fn selector_ranges(&self, node: &MatrixSelector) -> Result<Ranges> {
        let mut lines = self.matching(&node.selector)?;
        if !self.options.start_timestamps {
            let dots = lines.iter_mut().flat_map(|line| &mut line.dots);
            dots.for_each(|dot| dot.start = 0);
        }
        Ok(Ranges {
            lines,
            place: self.place(&node.selector.shift)?,
            range: self.length(&node.range)?,
            extension: node.selector.extension,
            absent: super::labels::absent_labels(&node.selector),
        })
    }

    fn subquery_ranges(&mut self, node: &SubqueryExpr, steps: Steps) -> Result<Ranges> {
        let place = self.place(&node.shift)?;
        let range = self.length(&node.range)?;
        let step = match &node.step {
            Some(step) => self.length(step)?.max(1),
            None => millis(self.options.subquery_step),
        };
        let first = place.of(steps.start) - range;
        let last = steps.times().last().unwrap_or(steps.start);
        // The inner steps are multiples of their distance, whenever the outer ones are.
        let mut start = step * (first / step);
        if start <= first {
            start += step;
        }
        let inner = Steps {
            start,
            end: place.of(last),
            step,
        };
        let lines = self.eval(&node.expr, inner)?;
        Ok(Ranges {
            lines,
            place,
            range,
            extension: None,
            absent: Labels::empty(),
        })
    }

    /// Forgets what hints say about the sample before, which a subquery may have left out.
    pub(super) fn forget_hints(lines: &mut [Line]) {
        for dot in lines.iter_mut().flat_map(|line| &mut line.dots) {
            if let Cell::Histogram(histogram) = &mut dot.cell
                && !histogram.is_gauge()
            {
                histogram.hint = CounterResetHint::Unknown;
            }
        }
    }

    /// Evaluates a matrix that is the whole query.
    pub(super) fn matrix(&mut self, expr: &Expr, time: i64) -> Result<Vec<Line>> {
        let steps = Steps {
            start: time,
            end: time,
            step: 1,
        };
        let mut ranges = self.ranges(expr, steps)?;
        let end = ranges.place.of(time);
        let start = end - ranges.range;
        for line in &mut ranges.lines {
            line.dots
                .retain(|dot| dot.time > start && dot.time <= end && !dot.cell.is_stale());
        }
        ranges.lines.retain(|line| !line.dots.is_empty());
        Ok(ranges.lines)
    }
}
