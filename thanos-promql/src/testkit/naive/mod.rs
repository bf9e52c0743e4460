//! A naive evaluator: PromQL straight from its definition, to compare the engine with.
//!
//! It is written to be read, not to be fast, and shares nothing with the engine but the syntax tree, labels, the
//! texts of numbers and the format of native histograms: series are plain lists, every window is summed anew at
//! every step, joins compare every series with every other. The definition is Prometheus HEAD,
//! `promql/engine.go` and `promql/functions.go`.

mod aggregate;
mod binary;
mod calendar;
mod call;
mod classic;
mod evaluate;
mod histogram;
mod labels;
mod observations;
mod pick;
mod range;
mod range_histogram;
mod selector;
mod series;
mod stored;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thanos_core::time::Timestamp;

use crate::annotations::Severity;
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::parser::{self, Expr, ValueType};
use crate::value::{HistogramPoint, Point, Sample, SampleValue, Series, Value};
use evaluate::Evaluator;
pub(super) use evaluate::is_invariant;
use histogram::Hist;
use series::{Cell, Dot, Line, Steps};
pub use stored::{StoredSample, StoredSeries};

/// The times of a query: the first and last, and the distance of the steps; none for an instant query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NaiveTimes {
    /// The first step.
    pub start: Timestamp,
    /// The last step is at or before it.
    pub end: Timestamp,
    /// The distance of the steps; none for an instant query.
    pub step: Option<Duration>,
}

/// What the naive evaluator answers.
#[derive(Debug, Clone, PartialEq)]
pub struct NaiveResult {
    /// The value.
    pub value: Value,
    /// What there is to say about the query, by severity.
    pub notes: BTreeSet<(Severity, String)>,
}

/// Evaluates queries over stored series, slowly and plainly.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_core::time::Timestamp;
/// use thanos_promql::EngineOptions;
/// use thanos_promql::testkit::naive::{Naive, NaiveTimes, StoredSample, StoredSeries};
/// use thanos_promql::value::{SampleValue, Value};
///
/// let time = Timestamp::from_millis(60_000);
/// let sample = StoredSample { time, start: None, value: SampleValue::Float(3.0) };
/// let up = StoredSeries { labels: Labels::from_pairs([("__name__", "up")]), samples: vec![sample] };
/// let naive = Naive::new(EngineOptions::default(), vec![up]);
/// let times = NaiveTimes { start: time, end: time, step: None };
/// let Value::Vector(vector) = naive.query("up * 2", times)?.value else { panic!() };
/// assert_eq!(vector[0].value, SampleValue::Float(6.0));
/// # Ok::<(), thanos_promql::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Naive {
    options: EngineOptions,
    lines: Vec<Line>,
}

impl Naive {
    /// Returns an evaluator over `series`, with the options that say what queries mean.
    pub fn new(options: EngineOptions, series: Vec<StoredSeries>) -> Self {
        let mut lines: Vec<Line> = series.into_iter().map(line_of).collect();
        lines.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self { options, lines }
    }

    /// Returns the same evaluator with the series in reverse order.
    ///
    /// Where its answers differ, the language does not define them: sums of numbers that rounding changes, the
    /// members of `limitk`.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut reversed = self.clone();
        reversed.lines.reverse();
        reversed
    }

    /// Evaluates `text`.
    ///
    /// # Errors
    ///
    /// `Invalid` when the query is wrong, `Execution` when it fails over this data.
    pub fn query(&self, text: &str, times: NaiveTimes) -> Result<NaiveResult> {
        let expr = parser::parse(text, &self.options.parser)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let kind = expr.value_type();
        if times.step.is_some() && !matches!(kind, ValueType::Vector | ValueType::Scalar) {
            return Err(Error::invalid(
                "only scalars and vectors have a value at each step",
            ));
        }
        let mut evaluator = Evaluator::new(&self.options, &self.lines, times);
        let value = self.value(&mut evaluator, &expr, times)?;
        Ok(NaiveResult {
            value,
            notes: evaluator.notes,
        })
    }

    fn value(
        &self,
        evaluator: &mut Evaluator<'_>,
        expr: &Expr,
        times: NaiveTimes,
    ) -> Result<Value> {
        let steps = evaluator.query_steps();
        let time = times.start;
        if let Expr::String(text) = expr.without_parens() {
            return Ok(Value::String(time, text.value.to_string()));
        }
        if expr.value_type() == ValueType::Matrix {
            let lines = evaluator.matrix(expr, steps.start)?;
            return Ok(Value::Matrix(series_of(evaluator.cleaned(lines)?)));
        }
        let lines = evaluator.eval(expr, steps)?;
        let lines = evaluator.cleaned(lines)?;
        Ok(match (expr.value_type(), times.step) {
            (ValueType::Scalar, None) => Value::Scalar(Point {
                time,
                value: evaluate::number_at(&lines, steps.start),
            }),
            (_, None) => Value::Vector(samples_of(lines, time)),
            (_, Some(_)) => Value::Matrix(series_of(lines)),
        })
    }
}

fn line_of(series: StoredSeries) -> Line {
    let dot = |sample: StoredSample| Dot {
        time: sample.time.as_millis(),
        start: sample.start.map_or(0, Timestamp::as_millis),
        cell: match sample.value {
            SampleValue::Float(value) => Cell::Float(value),
            SampleValue::Histogram(histogram) => Cell::Histogram(Hist::of(&histogram)),
        },
    };
    Line {
        labels: series.labels,
        drop_name: false,
        dots: series.samples.into_iter().map(dot).collect(),
    }
}

fn samples_of(lines: Vec<Line>, time: Timestamp) -> Vec<Sample> {
    let sample = |line: Line| {
        let value = match &line.dots.first()?.cell {
            Cell::Float(value) => SampleValue::Float(*value),
            Cell::Histogram(histogram) => SampleValue::Histogram(Arc::new(histogram.to_float())),
        };
        Some(Sample {
            labels: line.labels,
            time,
            value,
        })
    };
    lines.into_iter().filter_map(sample).collect()
}

fn series_of(lines: Vec<Line>) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for line in lines.into_iter().filter(|line| !line.dots.is_empty()) {
        let mut series = Series {
            labels: line.labels,
            ..Series::default()
        };
        for dot in line.dots {
            let time = Timestamp::from_millis(dot.time);
            match dot.cell {
                Cell::Float(value) => series.points.push(Point { time, value }),
                Cell::Histogram(histogram) => series.histograms.push(HistogramPoint {
                    time,
                    histogram: Arc::new(histogram.to_float()),
                }),
            }
        }
        all.push(series);
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

impl Evaluator<'_> {
    /// Returns the steps of the whole query.
    fn query_steps(&self) -> Steps {
        Steps {
            start: self.times.start.as_millis(),
            end: self.times.end.as_millis(),
            step: self.times.step.map_or(1, evaluate::millis),
        }
    }
}
