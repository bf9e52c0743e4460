//! What an operator makes of the values of two series, which may be native histograms.
//!
//! Rows of floats have loops of their own in [`arith`](crate::exec::arith). Source: Prometheus `promql/engine.go`,
//! `vectorElemBinop`.

use std::sync::Arc;

use thanos_core::histogram::{Combined, CounterResetHint, FloatHistogram, Keep};

use crate::annotations::{Annotation, HistogramOperation};
use crate::exec::arith::{Side, arithmetic, combine_rows, compare, is_trim};
use crate::exec::bits;
use crate::exec::context::Context;
use crate::exec::tile::{Cell, Row, RowMut};
use crate::parser::{BinaryOp, Span};

/// The type of a value, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellType {
    Float,
    Histogram,
}

impl CellType {
    fn of(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Float(_) => Self::Float,
            Cell::Histogram(_) => Self::Histogram,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Histogram => "histogram",
        }
    }
}

/// What there is to say about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// The operator has no meaning for these types.
    Types(CellType, CellType),
    /// The buckets are of different kinds.
    Layouts,
    /// The histograms contradict each other about a counter reset.
    CounterResets,
    /// Custom bounds were made the same.
    Bounds,
}

impl Remark {
    fn annotation(self, op: BinaryOp, span: Span) -> Annotation {
        let operation = match op {
            BinaryOp::Sub => HistogramOperation::Subtraction,
            _ => HistogramOperation::Addition,
        };
        match self {
            Self::Types(lhs, rhs) => {
                Annotation::incompatible_types(lhs.as_str(), op.as_str(), rhs.as_str(), span)
            }
            Self::Layouts => Annotation::incompatible_bucket_layout(op.as_str(), span),
            Self::CounterResets => Annotation::counter_reset_collision(operation, span),
            Self::Bounds => Annotation::mismatched_custom_buckets(operation, span),
        }
    }
}

/// The last remark of each step: Prometheus makes one at most.
#[derive(Debug, Default)]
pub(crate) struct Remarks(Vec<Option<Remark>>);

impl Remarks {
    /// Makes a remark at `step` of `steps`.
    pub(crate) fn add(&mut self, step: usize, steps: usize, remark: Remark) {
        self.0.resize(steps, None);
        self.0[step] = Some(remark);
    }

    /// Hands the remarks on.
    pub(crate) fn finish(self, cx: &Context, op: BinaryOp, span: Span) {
        let mut known = Vec::new();
        for remark in self.0.into_iter().flatten() {
            if !known.contains(&remark) {
                cx.annotate(remark.annotation(op, span));
                known.push(remark);
            }
        }
    }
}

/// An operator between the values of two series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    /// Whether a comparison gives 0 or 1 instead of filtering.
    pub(crate) return_bool: bool,
}

impl Operation {
    /// Combines `row` with `other`, which stands on `side`, at the steps where `row` has a value.
    ///
    /// The results take the place of the values of `row`, which are also what a comparison keeps. Returns the
    /// steps, if any, at which the values do not go together, which is as if there were none.
    pub(crate) fn apply(
        self,
        row: &mut RowMut<'_>,
        (side, other): (Side, Row<'_>),
        remarks: &mut Remarks,
    ) -> Option<Vec<u64>> {
        if row.histograms.is_empty() && other.is_float_only() && !is_trim(self.op) {
            combine_rows(
                self.op,
                self.return_bool,
                row.values,
                (side, other.values),
                row.valid,
            );
            return None;
        }
        let steps = row.values.len();
        let mut failed = None;
        let steps_with_value = row.valid.to_vec();
        for step in bits::ones(&steps_with_value) {
            if let Some(remark) = self.apply_at(step, row, (side, other.cell(step))) {
                remarks.add(step, steps, remark);
                if !bits::get(row.valid, step) {
                    let failed = failed.get_or_insert_with(|| vec![0; row.valid.len()]);
                    bits::set(failed, step);
                }
            }
        }
        failed
    }

    fn apply_at(
        self,
        step: usize,
        row: &mut RowMut<'_>,
        (side, other): (Side, Cell<'_>),
    ) -> Option<Remark> {
        let value = row.as_row().cell(step);
        let (lhs, rhs) = match side {
            Side::Left => (other, value),
            Side::Right => (value, other),
        };
        match combine(self.op, lhs, rhs) {
            Element::Float(value) => row.set(step, value),
            Element::Histogram(histogram, remark) => {
                row.set_histogram(step, histogram);
                return remark;
            }
            Element::Comparison(holds) if self.return_bool => {
                row.set(step, f64::from(u8::from(holds)));
            }
            Element::Comparison(true) => {}
            Element::Comparison(false) => bits::clear(row.valid, step),
            Element::Nothing(remark) => {
                bits::clear(row.valid, step);
                return Some(remark);
            }
        }
        None
    }
}

/// What an operator makes of two values.
#[derive(Debug)]
enum Element {
    Float(f64),
    Histogram(Arc<FloatHistogram>, Option<Remark>),
    /// A comparison, and whether it holds.
    Comparison(bool),
    /// No result.
    Nothing(Remark),
}

fn combine(op: BinaryOp, lhs: Cell<'_>, rhs: Cell<'_>) -> Element {
    match (op, lhs, rhs) {
        (op, Cell::Float(a), Cell::Float(b)) if !is_trim(op) => match compare(op, a, b) {
            Some(holds) => Element::Comparison(holds),
            None => Element::Float(arithmetic(op, a, b)),
        },
        (BinaryOp::Mul, Cell::Float(factor), Cell::Histogram(histogram))
        | (BinaryOp::Mul, Cell::Histogram(histogram), Cell::Float(factor)) => {
            changed(histogram, |copy| copy.multiply(factor))
        }
        (BinaryOp::Div, Cell::Histogram(histogram), Cell::Float(divisor)) => {
            changed(histogram, |copy| copy.divide(divisor))
        }
        (BinaryOp::TrimUpper, Cell::Histogram(histogram), Cell::Float(at)) => {
            trimmed(histogram, Keep::Below, at)
        }
        (BinaryOp::TrimLower, Cell::Histogram(histogram), Cell::Float(at)) => {
            trimmed(histogram, Keep::Above, at)
        }
        (BinaryOp::Add, Cell::Histogram(a), Cell::Histogram(b)) => {
            let mut sum = FloatHistogram::clone(a);
            let combined = sum.add(b);
            combination(sum, combined)
        }
        (BinaryOp::Sub, Cell::Histogram(a), Cell::Histogram(b)) => {
            let mut difference = FloatHistogram::clone(a);
            let combined = difference.subtract(b);
            difference.counter_reset_hint = CounterResetHint::Gauge;
            combination(difference, combined)
        }
        (BinaryOp::Equal, Cell::Histogram(a), Cell::Histogram(b)) => {
            Element::Comparison(a.same_data(b))
        }
        (BinaryOp::NotEqual, Cell::Histogram(a), Cell::Histogram(b)) => {
            Element::Comparison(!a.same_data(b))
        }
        (_, lhs, rhs) => Element::Nothing(Remark::Types(CellType::of(lhs), CellType::of(rhs))),
    }
}

fn changed(histogram: &FloatHistogram, change: impl FnOnce(&mut FloatHistogram)) -> Element {
    let mut copy = histogram.clone();
    change(&mut copy);
    copy.compact(0);
    Element::Histogram(Arc::new(copy), None)
}

fn trimmed(histogram: &FloatHistogram, keep: Keep, at: f64) -> Element {
    let mut copy = histogram.clone();
    copy.trim(keep, at);
    Element::Histogram(Arc::new(copy), None)
}

/// COMPAT: between vectors, a contradiction about a counter reset leaves no result; it is handled like an error.
fn combination(mut result: FloatHistogram, combined: thanos_core::Result<Combined>) -> Element {
    let Ok(combined) = combined else {
        return Element::Nothing(Remark::Layouts);
    };
    if combined.hint_collision {
        return Element::Nothing(Remark::CounterResets);
    }
    result.compact(0);
    let remark = combined.bounds_reconciled.then_some(Remark::Bounds);
    Element::Histogram(Arc::new(result), remark)
}
