//! Operators between scalars and vectors.
//!
//! Source: Prometheus `promql/engine.go`, `VectorBinop`, `VectorscalarBinop` and `vectorElemBinop`.

use super::evaluate::{Evaluator, number};
use super::histogram::{Hist, Incompatible, Told};
use super::observations::{Keep, trimmed};
use super::series::{Cell, Line, Member, Steps, labels_where, without_name};
use crate::error::{Error, Result};
use crate::parser::ast::{BinaryExpr, Cardinality, VectorMatching};
use crate::parser::{BinaryOp as Op, ValueType};
use thanos_core::histogram::CounterResetHint;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};

/// What an operator makes of two values: a value, and whether a filter keeps it.
type Computed = Option<(Cell, bool)>;

/// Why an operator makes nothing of two values, or what else there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remark {
    Types,
    Layout,
    Collision,
    Bounds,
}

impl Evaluator<'_> {
    /// Evaluates an operator at each of `steps`.
    pub(super) fn binary(&mut self, node: &BinaryExpr, steps: Steps) -> Result<Vec<Line>> {
        let inputs = [self.eval(&node.lhs, steps)?, self.eval(&node.rhs, steps)?];
        let is_vector = [&node.lhs, &node.rhs].map(|side| side.value_type() == ValueType::Vector);
        self.by_step(&inputs, steps, |evaluator, _, sides| {
            let (lhs, rhs) = (&sides[0], &sides[1]);
            match is_vector {
                [false, false] => {
                    let value = between_scalars(node.op, number(lhs), number(rhs))?;
                    Ok(vec![Member::of_float(Labels::empty(), value)])
                }
                [true, false] => Ok(evaluator.with_scalar(node, lhs, number(rhs), false)),
                [false, true] => Ok(evaluator.with_scalar(node, rhs, number(lhs), true)),
                [true, true] => evaluator.between_vectors(node, lhs, rhs),
            }
        })
    }

    fn with_scalar(
        &mut self,
        node: &BinaryExpr,
        vector: &[Member],
        scalar: f64,
        is_scalar_left: bool,
    ) -> Vec<Member> {
        let mut out = Vec::new();
        let mut last_remark = None;
        for member in vector {
            let scalar = Cell::Float(scalar);
            let sides = if is_scalar_left {
                (&scalar, &member.cell)
            } else {
                (&member.cell, &scalar)
            };
            let (computed, remark) = compute(node.op, sides.0, sides.1);
            last_remark = remark.or(last_remark);
            let Some((mut cell, mut is_kept)) = computed else {
                continue;
            };
            if node.op.is_comparison() {
                cell = member.cell.clone();
            }
            if node.return_bool {
                cell = Cell::Float(f64::from(u8::from(is_kept)));
                is_kept = true;
            }
            if !is_kept {
                continue;
            }
            let mut member = member.clone();
            member.cell = cell;
            if changes_meaning(node.op) || node.return_bool {
                member.labels = self.drop_name(member.labels);
                member.drop_name = true;
            }
            out.push(member);
        }
        self.remark(last_remark);
        out
    }

    /// Tells the remark that an operator made last at a step.
    fn remark(&mut self, remark: Option<Remark>) {
        match remark {
            None => {}
            Some(Remark::Types) => self.inform("incompatible types in an operation"),
            Some(Remark::Layout) => self.warn("incompatible buckets in an operation"),
            Some(Remark::Collision) => self.warn("counter resets collide"),
            Some(Remark::Bounds) => self.inform("custom bounds differ"),
        }
    }

    fn between_vectors(
        &mut self,
        node: &BinaryExpr,
        lhs: &[Member],
        rhs: &[Member],
    ) -> Result<Vec<Member>> {
        let matching = node.matching.clone().unwrap_or_default();
        let key = |member: &Member| match_key(&matching, &member.labels);
        let has = |side: &[Member], wanted: &Labels| side.iter().any(|m| key(m) == *wanted);
        let of_left = |wanted: bool| {
            let left = lhs.iter();
            left.filter(move |member| has(rhs, &key(member)) == wanted)
                .cloned()
        };
        match node.op {
            Op::And => Ok(of_left(true).collect()),
            Op::Unless => Ok(of_left(false).collect()),
            Op::Or => {
                let more = rhs.iter().filter(|member| !has(lhs, &key(member)));
                Ok(lhs.iter().chain(more).cloned().collect())
            }
            _ => self.join(node, &matching, lhs, rhs),
        }
    }

    fn join(
        &mut self,
        node: &BinaryExpr,
        matching: &VectorMatching,
        lhs: &[Member],
        rhs: &[Member],
    ) -> Result<Vec<Member>> {
        let fills = (matching.fill_left, matching.fill_right);
        if lhs.is_empty() && rhs.is_empty()
            || (lhs.is_empty() || rhs.is_empty()) && fills == (None, None)
        {
            return Ok(Vec::new());
        }
        let is_swapped = matching.card == Cardinality::OneToMany;
        let (many, one) = if is_swapped { (rhs, lhs) } else { (lhs, rhs) };
        let key = |member: &Member| match_key(matching, &member.labels);
        for (place, member) in one.iter().enumerate() {
            if one[..place].iter().any(|other| key(other) == key(member)) {
                return Err(Error::execution("many-to-many matching not allowed"));
            }
        }
        let mut pairs = Vec::new();
        for member in many {
            let partner = one.iter().find(|other| key(other) == key(member)).cloned();
            let filled = || Some(filler(matching, member, fills.1?));
            if let Some(partner) = partner.or_else(filled) {
                pairs.push((member.clone(), partner));
            }
        }
        let mut join = Join {
            node,
            matching,
            is_swapped,
            matched: Vec::new(),
            out: Vec::new(),
            last_remark: None,
        };
        for (many, one) in pairs {
            join.pair(self, &many, &one)?;
        }
        if let Some(fill) = fills.0 {
            for member in one {
                if !join.has_matched(&key(member)) {
                    join.pair(self, &filler(matching, member, fill), member)?;
                }
            }
        }
        self.remark(join.last_remark);
        Ok(join.out)
    }
}

/// The state of a join of two vectors.
#[derive(Debug)]
struct Join<'a> {
    node: &'a BinaryExpr,
    matching: &'a VectorMatching,
    is_swapped: bool,
    /// What has a result already: the key, and the labels of the result.
    matched: Vec<(Labels, Labels)>,
    out: Vec<Member>,
    last_remark: Option<Remark>,
}

impl Join<'_> {
    fn has_matched(&self, key: &Labels) -> bool {
        self.matched.iter().any(|(known, _)| known == key)
    }

    fn pair(&mut self, evaluator: &Evaluator<'_>, many: &Member, one: &Member) -> Result<()> {
        let sides = if self.is_swapped {
            (&one.cell, &many.cell)
        } else {
            (&many.cell, &one.cell)
        };
        let (computed, remark) = compute(self.node.op, sides.0, sides.1);
        self.last_remark = remark.or(self.last_remark);
        let Some((mut cell, is_kept)) = computed else {
            return Ok(());
        };
        if self.node.return_bool {
            cell = Cell::Float(f64::from(u8::from(is_kept)));
        }
        let drops_name = changes_meaning(self.node.op)
            || (self.node.return_bool && !evaluator.options.delayed_name_removal);
        let labels = result_labels(self.matching, many, one, drops_name);
        let key = match_key(self.matching, &many.labels);
        let is_again = if self.matching.card == Cardinality::OneToOne {
            self.has_matched(&key)
        } else {
            self.matched.contains(&(key.clone(), labels.clone()))
        };
        if is_again {
            return Err(Error::execution("multiple matches for labels"));
        }
        self.matched.push((key, labels.clone()));
        if is_kept || self.node.return_bool {
            self.out.push(Member {
                labels,
                drop_name: self.node.return_bool,
                cell,
            });
        }
        Ok(())
    }
}

/// Returns the labels by which the series of two vectors find each other.
fn match_key(matching: &VectorMatching, labels: &Labels) -> Labels {
    labels_where(labels, |name| {
        let is_listed = matching.labels.iter().any(|label| &**label == name);
        if matching.on {
            is_listed
        } else {
            !is_listed && name != METRIC_NAME
        }
    })
}

/// Returns what stands for the missing partner of a series.
fn filler(matching: &VectorMatching, of: &Member, value: f64) -> Member {
    Member::of_float(match_key(matching, &of.labels), value)
}

fn result_labels(
    matching: &VectorMatching,
    many: &Member,
    one: &Member,
    drops_name: bool,
) -> Labels {
    let mut labels = many.labels.clone();
    if drops_name {
        labels = without_name(&labels);
    }
    if matching.card == Cardinality::OneToOne {
        labels = labels_where(&labels, |name| {
            matching.labels.iter().any(|label| &**label == name) == matching.on
        });
    }
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    for name in &matching.include {
        builder.set(name, &one.labels.get(name).unwrap_or_default());
    }
    builder.build()
}

/// Reports whether the result is no longer what the metric's name says.
fn changes_meaning(op: Op) -> bool {
    matches!(
        op,
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow | Op::Atan2
    )
}

fn between_scalars(op: Op, lhs: f64, rhs: f64) -> Result<f64> {
    match floats(op, lhs, rhs) {
        Some((_, is_kept)) if op.is_comparison() => Ok(f64::from(u8::from(is_kept))),
        Some((value, _)) => Ok(value),
        None => Err(Error::trim_of_scalars(op)),
    }
}

/// Computes an operator between two floats, and whether a filter keeps the left one.
fn floats(op: Op, lhs: f64, rhs: f64) -> Option<(f64, bool)> {
    Some(match op {
        Op::Add => (lhs + rhs, true),
        Op::Sub => (lhs - rhs, true),
        Op::Mul => (lhs * rhs, true),
        Op::Div => (lhs / rhs, true),
        Op::Mod => (lhs % rhs, true),
        Op::Pow => (lhs.powf(rhs), true),
        Op::Atan2 => (lhs.atan2(rhs), true),
        Op::Equal => (lhs, lhs == rhs),
        Op::NotEqual => (lhs, lhs != rhs),
        Op::Greater => (lhs, lhs > rhs),
        Op::Less => (lhs, lhs < rhs),
        Op::GreaterEqual => (lhs, lhs >= rhs),
        Op::LessEqual => (lhs, lhs <= rhs),
        Op::TrimUpper | Op::TrimLower | Op::And | Op::Or | Op::Unless => return None,
    })
}

fn compute(op: Op, lhs: &Cell, rhs: &Cell) -> (Computed, Option<Remark>) {
    let types = (None, Some(Remark::Types));
    let kept = |histogram: Hist| (Some((Cell::Histogram(histogram), true)), None);
    match (lhs, rhs) {
        (Cell::Float(lhs), Cell::Float(rhs)) => match floats(op, *lhs, *rhs) {
            Some((value, is_kept)) => (Some((Cell::Float(value), is_kept)), None),
            None => types,
        },
        (Cell::Float(factor), Cell::Histogram(histogram)) => match op {
            Op::Mul => kept(histogram.multiplied(*factor).compacted()),
            _ => types,
        },
        (Cell::Histogram(histogram), Cell::Float(number)) => match op {
            Op::Mul => kept(histogram.multiplied(*number).compacted()),
            Op::Div => kept(histogram.divided(*number).compacted()),
            Op::TrimUpper => kept(trimmed(histogram, *number, Keep::Below)),
            Op::TrimLower => kept(trimmed(histogram, *number, Keep::Above)),
            _ => types,
        },
        (Cell::Histogram(lhs), Cell::Histogram(rhs)) => match op {
            Op::Add => summed(lhs.plus(rhs), |sum| sum),
            Op::Sub => summed(lhs.minus(rhs), |mut difference| {
                difference.hint = CounterResetHint::Gauge;
                difference
            }),
            Op::Equal | Op::NotEqual => {
                let is_kept = lhs.equals(rhs) == (op == Op::Equal);
                (Some((Cell::Histogram(lhs.clone()), is_kept)), None)
            }
            _ => types,
        },
    }
}

fn summed(
    result: std::result::Result<(Hist, Told), Incompatible>,
    finish: impl Fn(Hist) -> Hist,
) -> (Computed, Option<Remark>) {
    let Ok((sum, told)) = result else {
        return (None, Some(Remark::Layout));
    };
    // A collision hides that bounds differ: upstream returns one error at most, and no value with it.
    if told.collision {
        return (None, Some(Remark::Collision));
    }
    let remark = told.bounds_differ.then_some(Remark::Bounds);
    (
        Some((Cell::Histogram(finish(sum.settled()).compacted()), true)),
        remark,
    )
}
