//! The walk over the syntax tree: every node becomes the series that it is at the given steps.

use std::collections::BTreeSet;
use std::time::Duration;

use super::NaiveTimes;
use super::series::{Cell, Dot, Joined, Line, Member, Steps, merge_equal, vector_at, without_name};
use crate::annotations::Severity;
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::parser::ast::{self, AtModifier, DurationValue, TimeShift, UnaryExpr};
use crate::parser::{Expr, FunctionId as Id, UnaryOp};
use thanos_core::labels::Labels;

/// The evaluation of one query.
#[derive(Debug)]
pub(super) struct Evaluator<'a> {
    pub(super) options: &'a EngineOptions,
    /// The stored series.
    pub(super) lines: &'a [Line],
    pub(super) times: NaiveTimes,
    pub(super) notes: BTreeSet<(Severity, String)>,
}

/// Where a selector or subquery looks, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: Option<i64>,
    offset: i64,
}

impl Place {
    /// Returns the time that is looked at when `time` is evaluated.
    pub(super) fn of(self, time: i64) -> i64 {
        self.at.unwrap_or(time) - self.offset
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(options: &'a EngineOptions, lines: &'a [Line], times: NaiveTimes) -> Self {
        Self {
            options,
            lines,
            times,
            notes: BTreeSet::new(),
        }
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.notes.insert((Severity::Warning, text.into()));
    }

    pub(super) fn inform(&mut self, text: impl Into<String>) {
        self.notes.insert((Severity::Info, text.into()));
    }

    /// Evaluates a scalar or a vector at each of `steps`; a scalar is one series without labels.
    pub(super) fn eval(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Line>> {
        if steps.end < steps.start {
            return Ok(Vec::new());
        }
        if steps.times().nth(1).is_some() && is_invariant(expr) {
            return self.once(expr, steps);
        }
        match expr {
            Expr::Paren(node) => self.eval(&node.expr, steps),
            Expr::Number(node) => Ok(constant(node.value, steps)),
            Expr::Vector(node) => self.instant_selector(node, steps),
            Expr::Unary(node) => self.unary(node, steps),
            Expr::Binary(node) => self.binary(node, steps),
            Expr::Aggregate(node) => self.aggregate(node, steps),
            Expr::Call(node) => self.call(node, steps),
            // Matrices are arguments or the whole query, texts are arguments; neither is evaluated by steps.
            Expr::Matrix(_) | Expr::Subquery(_) | Expr::String(_) => Err(Error::new(
                crate::error::ErrorKind::Internal,
                "a matrix or text has no value at a step",
            )),
        }
    }

    /// Evaluates what is the same at all steps at the first one, and says it again at the others.
    fn once(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Line>> {
        let first = Steps {
            end: steps.start,
            ..steps
        };
        let mut lines = self.eval(expr, first)?;
        for line in &mut lines {
            let cell = line.dots.first().map(|dot| dot.cell.clone());
            let again = |cell: Cell| {
                steps.times().map(move |time| Dot {
                    time,
                    start: 0,
                    cell: cell.clone(),
                })
            };
            line.dots = cell.into_iter().flat_map(again).collect();
        }
        Ok(lines)
    }

    /// Computes a vector at each of `steps` from the vectors that `inputs` are there.
    pub(super) fn by_step(
        &mut self,
        inputs: &[Vec<Line>],
        steps: Steps,
        mut compute: impl FnMut(&mut Self, i64, &[Vec<Member>]) -> Result<Vec<Member>>,
    ) -> Result<Vec<Line>> {
        let mut joined = Joined::default();
        for time in steps.times() {
            let vectors: Vec<_> = inputs.iter().map(|lines| vector_at(lines, time)).collect();
            let vector = compute(self, time, &vectors)?;
            joined.add(time, vector)?;
        }
        Ok(joined.finish())
    }

    /// Drops the name of a series, or marks it for the end of the query.
    pub(super) fn drop_name(&self, labels: Labels) -> Labels {
        if self.options.delayed_name_removal {
            labels
        } else {
            without_name(&labels)
        }
    }

    fn unary(&mut self, node: &UnaryExpr, steps: Steps) -> Result<Vec<Line>> {
        let mut lines = self.eval(&node.expr, steps)?;
        if node.op == UnaryOp::Plus {
            return Ok(lines);
        }
        for line in &mut lines {
            line.labels = self.drop_name(line.labels.clone());
            line.drop_name = true;
            for dot in &mut line.dots {
                dot.cell = match &dot.cell {
                    Cell::Float(value) => Cell::Float(-value),
                    Cell::Histogram(histogram) => Cell::Histogram(histogram.multiplied(-1.0)),
                };
            }
        }
        if self.options.delayed_name_removal {
            return Ok(lines);
        }
        merge_equal(lines)
    }

    /// Drops the names that were kept until the end of the query.
    pub(super) fn cleaned(&self, mut lines: Vec<Line>) -> Result<Vec<Line>> {
        if !self.options.delayed_name_removal {
            return Ok(lines);
        }
        for line in lines.iter_mut().filter(|line| line.drop_name) {
            line.labels = without_name(&line.labels);
        }
        merge_equal(lines)
    }

    pub(super) fn place(&self, shift: &TimeShift) -> Result<Place> {
        let at = match shift.at {
            None => None,
            Some(AtModifier::Timestamp(time)) => Some(time),
            Some(AtModifier::Start) => Some(self.times.start),
            Some(AtModifier::End) => Some(self.times.end),
        };
        let offset = match &shift.offset {
            None => 0,
            Some(offset) => offset.millis(self.duration_times()).map_err(invalid)?,
        };
        Ok(Place {
            at: at.map(thanos_core::time::Timestamp::as_millis),
            offset,
        })
    }

    /// Returns a range or step in milliseconds.
    pub(super) fn length(&self, value: &DurationValue) -> Result<i64> {
        value
            .positive_millis(self.duration_times())
            .map_err(invalid)
    }

    fn duration_times(&self) -> ast::QueryTimes {
        let range = self.times.end - self.times.start;
        ast::QueryTimes {
            step: self.times.step.unwrap_or_default(),
            range: Duration::from_millis(u64::try_from(range).unwrap_or(0)),
        }
    }
}

/// Reports whether an expression is the same at all steps because `@` fixes all of its selectors.
///
/// COMPAT: the parameter of an aggregation is not looked at (Prometheus `promql/engine.go`,
/// `preprocessExprHelper`).
pub(in crate::testkit) fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(node) => node.shift.at.is_some(),
        Expr::Matrix(node) => node.selector.shift.at.is_some(),
        Expr::Subquery(node) => node.shift.at.is_some(),
        Expr::Paren(node) => is_invariant(&node.expr),
        Expr::Unary(node) => is_invariant(&node.expr),
        Expr::Aggregate(node) => is_invariant(&node.expr),
        Expr::Binary(node) => is_invariant(&node.lhs) && is_invariant(&node.rhs),
        Expr::Call(node) => {
            let depends_on_time = match node.func.id {
                Id::Time
                | Id::PredictLinear
                | Id::Minute
                | Id::Hour
                | Id::DayOfWeek
                | Id::DayOfMonth
                | Id::DayOfYear
                | Id::DaysInMonth
                | Id::Month
                | Id::Year => true,
                Id::Timestamp => !matches!(node.args[0].without_parens(), Expr::Vector(_)),
                _ => false,
            };
            !depends_on_time && node.args.iter().all(is_invariant)
        }
    }
}

fn invalid(error: crate::parser::ParseError) -> Error {
    Error::invalid(error.message)
}

/// Returns a number that is the same at all steps.
pub(super) fn constant(value: f64, steps: Steps) -> Vec<Line> {
    let dot = |time| Dot {
        time,
        start: 0,
        cell: Cell::Float(value),
    };
    vec![Line {
        labels: Labels::empty(),
        drop_name: false,
        dots: steps.times().map(dot).collect(),
    }]
}

/// Returns the number that a scalar is at `time`.
pub(super) fn number_at(lines: &[Line], time: i64) -> f64 {
    number(&vector_at(lines, time))
}

/// Returns the number that a scalar is, given as vector.
pub(super) fn number(vector: &[Member]) -> f64 {
    let first = vector.first().and_then(|member| member.cell.float());
    first.unwrap_or(f64::NAN)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
